"""Pictures in an object store: listed page by page, read ahead over many connections, nothing kept but the listing.

A sample's id is made of what the store says of its content, so that listing reads no picture. Vectors are shared by id
over all datasets, so an id is either proved by the bytes when they come (the content's SHA-256; else its MD5 and size)
or holds for one bucket alone: an S3 ETag and size, or where the store says nothing of the content, key and version. An
object written in parts has an ETag of its parts, the same for the same bytes cut the same way; cut another way, two
copies of one picture are two samples. What somebody makes to collide in MD5 counts as one sample.
"""

import hashlib
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from winnow.connections import Connection
from winnow.datasets.base import Kind, Limits, canonical_order, in_order, is_picture
from winnow.datasets.pages import Page, Pages
from winnow.datasets.stores import store_for
from winnow.datasets.stores.base import Denied, Found, Missing, Odd, Passing, Stamp, Store
from winnow.errors import (
    ConnectionBroken,
    DatasetEmpty,
    InvalidVectors,
    ItemError,
    SourceGone,
    StoreRefused,
    StoreUnreachable,
    TooManyItems,
    TransientJobError,
    WinnowError,
)
from winnow.results import Ids, ItemFailure, Listing, Report, Vectors

PATIENCE_S: Final = 60.0  # with a store that is slow, throttles or is away
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 8.0
_ID: Final = "winnow object 2"  # the way ids are made; another way has another number

T = TypeVar("T")


class ObjectsReader:
    """`folder` is the dataset's own, for the pages of a listing under way."""

    kind: Kind = "images"
    reads_at_once = 32  # a store answers in tens of milliseconds, as often as it is asked

    def __init__(
        self,
        connection: Connection,
        prefix: str,
        folder: Path,
        limits: Limits,
        *,
        store: Store | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._prefix = connection.root + prefix
        self._base = self._prefix[: self._prefix.rfind("/") + 1]  # paths begin behind the last whole folder
        self._place = f"{connection.protocol} {connection.endpoint_url or connection.account or ''} {connection.bucket}"
        self._store, self._limits, self._patience_s = store or store_for(connection), limits, patience_s
        self._pages = folder / "pages"

    def list(self, report: Report) -> Listing:
        pages = Pages(self._pages)
        try:
            parts = []
            seen = failed = 0
            for page in self._walked(pages):
                parts.append(page)
                seen, failed = seen + len(page) + len(page.failures), failed + len(page.failures)
                if seen > self._limits.max_items:
                    raise TooManyItems(f"the prefix holds more than {self._limits.max_items} pictures")
                report("reading", seen, 0, failed)
            if not seen:
                raise DatasetEmpty("nothing below this prefix is a picture (jpg, png, webp, gif, bmp or tiff)")
        except TransientJobError:
            raise  # the next attempt goes on with what is here
        except WinnowError:
            pages.clear()
            raise
        report("reading", seen, seen, failed)
        return _joined(parts)

    def read(self, path: str, sample_id: bytes) -> bytes:
        said: list[Stamp] = []

        def is_wanted(stamp: Stamp) -> bool:
            said.append(stamp)
            return sample_id in self._ids_of(path, stamp)

        try:
            content = self._tried(lambda: self._store.read(self._base + path, is_wanted, self._limits.max_item_bytes))
        except Missing as error:
            raise ItemError("UNREADABLE", "the object is no longer there") from error
        except Denied as error:
            raise ItemError("FORBIDDEN") from error
        except Odd as error:
            raise ItemError("UNREADABLE", "the store does not hand it out in this way") from error
        except Passing as error:
            raise self._given_up() from error
        if sample_id not in self._ids_of(path, said[-1].proved(content)):
            raise ItemError("CONTENT_CHANGED", "not the bytes that the store says it holds")
        return content

    original = read

    def vectors(self) -> tuple[Ids, Vectors]:
        raise InvalidVectors("this dataset holds pictures, not vectors")

    def _walked(self, pages: Pages) -> Iterator[Listing]:
        """From the pages that are there, and from the store where they end."""
        begin: str | None = ""
        while begin is not None:
            page = pages.get(begin)
            if page is None:
                page = self._page(begin)
                pages.put(begin, page)
            yield page.listing
            begin = page.next

    def _page(self, begin: str) -> Page:
        try:
            found, following = self._tried(lambda: self._store.page(self._prefix, begin))
        except Denied as error:
            raise StoreRefused("the connection may not list its bucket; ask the administrator") from error
        except Missing as error:
            raise SourceGone("the connection's bucket is not there; ask the administrator") from error
        except Odd as error:
            raise ConnectionBroken("the store makes nothing of the connection; ask the administrator") from error
        except Passing as error:
            raise StoreUnreachable(f"no answer from the object store in {self._patience_s:g} s") from error
        return Page(self._listed(found), following)

    def _listed(self, found: Sequence[Found]) -> Listing:
        rows, failures = [], []
        for entry in found:
            path = entry.key.removeprefix(self._base)
            if not is_picture(path):
                continue
            if not _is_path(path):
                failures.append(ItemFailure(path, "NAME_NOT_A_PATH"))
            elif entry.stamp.size > self._limits.max_item_bytes:
                failures.append(ItemFailure(path, "FILE_TOO_LARGE", f"{entry.stamp.size} bytes"))
            else:
                rows.append((path, self._ids_of(path, entry.stamp)[0], entry.stamp.size))
        return Listing(
            ids=np.frombuffer(b"".join(row[1] for row in rows), np.uint8).reshape(len(rows), 32),
            paths=[row[0] for row in rows],
            sizes=np.array([row[2] for row in rows], np.int64),
            failures=failures,
        )

    def _ids_of(self, path: str, stamp: Stamp) -> tuple[bytes, ...]:
        """What this content may be listed as, the best first: a store need not say everything each time."""
        said: tuple[str, ...]
        if stamp.md5 is not None:
            said = "md5", stamp.md5.hex()
        elif stamp.content is not None:
            said = "content", self._place, stamp.content
        else:
            said = "version", self._place, self._base + path, stamp.version
        made = hashlib.sha256(json.dumps([_ID, stamp.size, *said]).encode()).digest()
        return (stamp.sha256, made) if stamp.sha256 is not None else (made,)

    def _tried(self, call: Callable[[], T]) -> T:
        """As often as the store's troubles may pass, with growing pauses, until patience ends."""
        give_up_at, pause = time.monotonic() + self._patience_s, _FIRST_PAUSE_S
        while True:
            try:
                return call()
            except Passing:
                pause_s = pause * random.uniform(0.5, 1.5)  # noqa: S311 - not a secret
                if time.monotonic() + pause_s > give_up_at:
                    raise
            time.sleep(pause_s)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _given_up(self) -> ItemError | StoreUnreachable:
        """One object that never comes is that object's trouble, if the store still answers for the others."""
        try:
            self._store.page(self._prefix, "")
        except (Passing, Odd, Denied, Missing):
            return StoreUnreachable(f"no answer from the object store in {self._patience_s:g} s")
        return ItemError("UNREADABLE", "the store fails at this object")


def _is_path(path: str) -> bool:
    """Whether a file could have this path: an object's key may be anything."""
    return not path.startswith("/") and not {".", ".."} & set(path.split("/")) and "\0" not in path


def _joined(parts: list[Listing]) -> Listing:
    ids = np.concatenate([part.ids for part in parts])
    paths = [path for part in parts for path in part.paths]
    sizes = np.concatenate([part.sizes for part in parts])
    order = canonical_order(ids, paths)
    return Listing(
        ids=np.ascontiguousarray(ids[order]),
        paths=[paths[position] for position in order],
        sizes=sizes[order],
        failures=in_order(failure for part in parts for failure in part.failures),
    )
