"""A pool of guarded processes that decode; one that dies or hangs costs at most the picture it had in hand."""

import json
import os
import select
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

import numpy as np

from winnow.datasets.decode import Crop, Picture
from winnow.datasets.decoder_process import ANSWER, request
from winnow.errors import ItemError

ITEM_LIMIT_S: Final = 10.0
_STRIKES: Final = 2  # a decoder may die of something else once; twice on one picture is the picture's fault
_PIPE_BYTES: Final = 1 << 20
_AHEAD: Final = 128  # pictures decoded or waiting for it: enough to be busy while a network sees a batch
_AHEAD_BYTES: Final = 128 << 20  # of files, or one file where it is larger
_HOME: Final = str(Path(__file__).parents[2])  # the folder that holds the package, wherever the service was started
_COMMAND: Final = (sys.executable, "-P", "-m", "winnow.datasets.decoder_process")

Item = tuple[str, bytes]
Decoded = tuple[str, Picture | ItemError]


class DecoderPool:
    """`with DecoderPool(...) as pool: pool.decode(items)`: answers in the order of the items, a few ahead at a time."""

    def __init__(
        self,
        processes: int,
        max_pixels: int,
        size: int,
        *,
        crop: Crop | None = None,
        command: Sequence[str] = _COMMAND,
        item_limit_s: float = ITEM_LIMIT_S,
    ) -> None:
        self._max_pixels, self._size, self._crop, self._limit_s = max_pixels, size, crop, item_limit_s
        # The threads start the processes and outlive them: a process is told to die with the thread that made it.
        self._threads = ThreadPoolExecutor(processes, thread_name_prefix="decoder")
        self._all = [_Process(command) for _ in range(processes)]
        self._idle: SimpleQueue[_Process] = SimpleQueue()
        for process in self._all:
            self._idle.put(process)

    def __enter__(self) -> "DecoderPool":
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)
        for process in self._all:
            process.end()

    def decode(self, items: Iterable[Item]) -> Iterator[Decoded]:
        """The decoders work on while the caller is busy with what it has got, as far as `_AHEAD` allows."""
        waiting: deque[tuple[str, int, Future[Picture | ItemError]]] = deque()
        held = 0
        for path, content in items:
            while waiting and (len(waiting) >= _AHEAD or held + len(content) > _AHEAD_BYTES):
                first, size, answer = waiting.popleft()
                held -= size
                yield first, answer.result()
            waiting.append((path, len(content), self._threads.submit(self._decode_one, content)))
            held += len(content)
        for path, _, answer in waiting:
            yield path, answer.result()

    def _decode_one(self, content: bytes) -> Picture | ItemError:
        process = self._idle.get()
        try:
            refusal = ItemError("ITEM_CRASHED_DECODER")
            for _ in range(_STRIKES):
                try:
                    return process.ask(content, self._max_pixels, self._size, self._crop, self._limit_s)
                except TimeoutError:
                    refusal = ItemError("ITEM_TIMEOUT", f"more than {self._limit_s:g} s")
                except (OSError, EOFError):
                    refusal = ItemError("ITEM_CRASHED_DECODER")
                process.end()
            return refusal
        finally:
            self._idle.put(process)


class _Process:
    """One decoder process, started when it is first asked and again after each death."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._running: subprocess.Popen[bytes] | None = None

    def ask(self, content: bytes, max_pixels: int, size: int, crop: Crop | None, limit_s: float) -> Picture | ItemError:
        """TimeoutError where the answer does not come in time, OSError or EOFError where the process is gone."""
        requests, answers = self._pipes()
        deadline = time.monotonic() + limit_s
        _write(requests, request(len(content), max_pixels, size, crop), deadline)
        _write(requests, content, deadline)
        kind, width, height, length = ANSWER.unpack(_read(answers, ANSWER.size, deadline))
        body = _read(answers, length, deadline)
        if kind == b"E":
            return ItemError(*json.loads(body))
        return Picture(np.frombuffer(body, np.uint8).reshape(size, size, 3), width, height)

    def end(self) -> None:
        if self._running is None:
            return
        self._running.kill()
        for pipe in (self._running.stdin, self._running.stdout):
            if pipe is not None:
                pipe.close()
        self._running.wait()
        self._running = None

    def _pipes(self) -> tuple[int, int]:
        if self._running is None:
            self._running = _started(self._command)
        running = self._running
        assert running.stdin is not None and running.stdout is not None  # noqa: S101, PT018 - Popen was given pipes
        return running.stdin.fileno(), running.stdout.fileno()


def _started(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """Of this process's environment, which may hold secrets, a decoder gets nothing."""
    running: subprocess.Popen[Any] = subprocess.Popen(  # noqa: S603 - our own interpreter and module
        command,
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"PATH": os.defpath, "PYTHONPATH": _HOME, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )
    assert running.stdin is not None  # noqa: S101 - Popen was given a pipe
    os.set_blocking(running.stdin.fileno(), False)  # a decoder that does not listen must not hold us up
    return running


def _write(pipe: int, content: bytes, deadline: float) -> None:
    left = memoryview(content)
    while left:
        _wait(pipe, select.POLLOUT, deadline)
        left = left[os.write(pipe, left[:_PIPE_BYTES]) :]


def _read(pipe: int, length: int, deadline: float) -> bytes:
    parts: list[bytes] = []
    while length:
        _wait(pipe, select.POLLIN, deadline)
        part = os.read(pipe, min(length, _PIPE_BYTES))
        if not part:
            raise EOFError
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def _wait(pipe: int, event: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(pipe, event)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise TimeoutError
