"""Reads on while what was read is still being worked on, in the order asked for and within bounds of memory."""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

from winnow.errors import ItemError

AHEAD_BYTES: Final = 256 << 20  # read and not yet taken, or one item where it is larger

Key = TypeVar("Key", bound=Hashable)
Read = Callable[[str], bytes]
Ahead = Callable[[Read, Iterable[str]], Iterator[tuple[str, bytes | ItemError]]]


def read_ahead(
    read: Callable[[Key], bytes], keys: Iterable[Key], *, at_once: int, size_of: Callable[[Key], int] = lambda _: 0
) -> Iterator[tuple[Key, bytes | ItemError]]:
    """Each key with its bytes, or why it has none. Any other error comes out where its key's turn is."""
    if at_once <= 1:
        yield from ((key, _tried(read, key)) for key in keys)
        return
    with ThreadPoolExecutor(at_once, thread_name_prefix="read-ahead") as threads:
        try:
            yield from _window(threads, read, keys, 2 * at_once, size_of)
        finally:
            threads.shutdown(wait=False, cancel_futures=True)  # whoever wants an end does not wait for what is queued


def one_by_one(read: Read, paths: Iterable[str]) -> Iterator[tuple[str, bytes | ItemError]]:
    """An `Ahead` that looks no further than the next."""
    return read_ahead(read, paths, at_once=1)


def _window(
    threads: ThreadPoolExecutor,
    read: Callable[[Key], bytes],
    keys: Iterable[Key],
    length: int,
    size_of: Callable[[Key], int],
) -> Iterator[tuple[Key, bytes | ItemError]]:
    waiting: deque[tuple[Key, Future[bytes | ItemError]]] = deque()
    held = 0

    def taken() -> tuple[Key, bytes | ItemError]:
        nonlocal held
        key, answer = waiting.popleft()
        held -= size_of(key)
        return key, answer.result()

    for key in keys:
        while waiting and (len(waiting) >= length or held + size_of(key) > AHEAD_BYTES):
            yield taken()
        waiting.append((key, threads.submit(_tried, read, key)))
        held += size_of(key)
    while waiting:
        yield taken()


def _tried(read: Callable[[Key], bytes], key: Key) -> bytes | ItemError:
    try:
        return read(key)
    except ItemError as error:
        return error
