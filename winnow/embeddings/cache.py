"""Finished rows on disk, found by sample: what was embedded once, by whichever job, is not embedded again.

A shelf is the folder of one encoder in one version. On it stand shards of some rows in order of their sample ids: the
ids, the rows, a sha256 of both. A shard's name says which ids it can hold, so that few are opened for few samples. It
appears whole, is never changed, and its mtime says when it was last of use. No table lists the shards and nothing waits
for a lock: two writers at worst write a row twice, equal ids have equal rows, and a damaged file is as good as none.
"""

import errno
import fcntl
import hashlib
import mmap
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

import numpy as np
from numpy.typing import NDArray

from winnow.datasets.atomic import appearing, disk_errors
from winnow.results import Ids

_IN_MEMORY_BYTES: Final = 1 << 30  # of one dataset's vectors
SHARD: Final = 1024  # rows: what a kill can cost at most
_ID_BYTES: Final = 32
_TRAILER_BYTES: Final = 32
_NAME: Final = re.compile(r"([0-9a-f]{16})-([0-9a-f]{16})-([1-9a-f][0-9a-f]{0,3})-[0-9a-f]{16}\.rows")
_CLAIMS: Final = ".claims"
_TAKEN: Final = frozenset({errno.EAGAIN, errno.EACCES})  # any other error is that of a file system without locks
_SMALL: Final = SHARD // 2  # rows; so many shards of fewer rows are worth a merger, and so many are merged at a time:
_MERGED: Final = (64, 256)

Rows = NDArray[Any]  # of the shelf's row type
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Usage:
    """What one encoder's shelf holds; times are of last use, in seconds since 1970."""

    made_by: str
    shards: int
    rows: int
    bytes: int
    oldest: float
    newest: float


class ShardCache:
    """All shelves below one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def shelf(self, made_by: str, row_type: np.dtype[Any]) -> "Shelf":
        """Of what `made_by` makes; a change of any bit needs another name."""
        return Shelf(self._folder / quote(made_by, safe="@+=").replace(".", "%2E"), row_type)

    def room(self, rows: int, width: int) -> NDArray[np.float32]:
        """For the vectors of a whole dataset: where they are many and wide, in a file of the cache's disk.

        The file has no name, and is gone with whoever holds it. Its blocks are reserved, since a disk that is full when
        a page is written would end the process.
        """
        if rows * width * 4 <= _IN_MEMORY_BYTES:
            return np.zeros((rows, width), np.float32)
        self._folder.mkdir(parents=True, exist_ok=True)
        with disk_errors(), tempfile.TemporaryFile(dir=self._folder) as file:
            os.posix_fallocate(file.fileno(), 0, rows * width * 4)
            lent = mmap.mmap(file.fileno(), rows * width * 4)
        return np.frombuffer(lent, np.float32).reshape(rows, width)

    def total_bytes(self) -> int:
        return sum(size for _, _, size in _files(self._folder))

    def usage(self) -> list[Usage]:
        """Shelf by shelf, by name."""
        shelves: dict[str, list[tuple[Path, float, int]]] = {}
        for file in _files(self._folder):
            made_by = unquote(file[0].parent.name) if _Shard.of(file[0]) else "an older release"
            shelves.setdefault(made_by, []).append(file)
        return [_usage(made_by, files) for made_by, files in sorted(shelves.items())]

    def prune(self, keep_bytes: int, *, spare_since: float) -> int:
        """Delete what was of no use for the longest, down to `keep_bytes`, and nothing used at `spare_since` or later.

        Returns the bytes that went. A job that would have read them embeds again, to the same bits.
        """
        files = sorted(_files(self._folder), key=lambda file: file[1])
        over = sum(size for _, _, size in files) - keep_bytes
        gone = 0
        for path, used_at, size in files:
            if gone >= over or used_at >= spare_since:
                break
            path.unlink(missing_ok=True)
            gone += size
        return gone

    def merge(self) -> int:
        """Put many small shards together; returns how many there were. Jobs that look on find the rows either way."""
        folders = [path for path in self._folder.glob("*") if path.is_dir()]
        return sum(_merged(folder) for folder in folders)


class Shelf:
    """The rows of one encoder in one version."""

    def __init__(self, folder: Path, row_type: np.dtype[Any]) -> None:
        self._folder, self.row_type = folder, row_type
        self._claims: int | None = None

    def find(self, ids: Ids) -> Iterator[tuple[Places, Rows]]:
        """Of these ids, in rising order, those that are here: their places among them, and their rows."""
        keys = _keys(ids)
        sought = np.ones(len(ids), bool)
        for _ in range(2):  # a shard that was merged while we looked has its rows in another
            complete = True
            for shard in _shards(self._folder):
                places = shard.within(keys)
                places = places[sought[places]]
                if not len(places):
                    continue
                try:
                    found, rows = shard.read(ids[places], self.row_type)
                except FileNotFoundError:
                    complete = False
                    continue
                except OSError:
                    continue  # a bad block of the disk
                sought[places[found]] = False
                yield places[found], rows
            if complete:
                return

    def put(self, ids: Ids, rows: Rows) -> None:
        """Whole or not at all; `ids` are in rising order."""
        if len(ids):
            _write(self._folder, ids, np.ascontiguousarray(rows, self.row_type).tobytes())

    @contextmanager
    def claimed(self, ids: Ids) -> Iterator[NDArray[np.bool_]]:
        """Which of these ids are the caller's to embed while the block lasts, as nobody else is at them; never waits.

        Each is a lock on one byte of a file, which the kernel frees when its holder dies. It is a courtesy: who embeds
        without it does twice what somebody else does. One block at a time.
        """
        file = self._claim_file()
        try:
            yield np.array([_is_free(file, int(key >> np.uint64(2))) for key in _keys(ids)], bool)
        finally:
            with suppress(OSError):
                fcntl.lockf(file, fcntl.LOCK_UN)

    def _claim_file(self) -> int:
        """Open until the process ends: to close it would free every claim."""
        if self._claims is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._claims = os.open(self._folder / _CLAIMS, os.O_RDWR | os.O_CREAT, 0o600)
        return self._claims


@dataclass(frozen=True)
class _Shard:
    """A file of rows, as its name describes it: first key, last key, number of rows, and a part of its hash."""

    path: Path
    first: int
    last: int
    rows: int

    @classmethod
    def of(cls, path: Path) -> "_Shard | None":
        match = _NAME.fullmatch(path.name)
        return cls(path, *(int(part, 16) for part in match.groups())) if match else None

    def within(self, keys: NDArray[np.uint64]) -> Places:
        """The places of the sorted keys that the shard can hold."""
        begin = np.searchsorted(keys, np.uint64(self.first))
        return np.arange(begin, np.searchsorted(keys, np.uint64(self.last), "right"))

    def read(self, ids: Ids, row_type: np.dtype[Any]) -> tuple[Places, Rows]:
        """Which of the ids are here, and their rows; a shard that was of use says so."""
        nothing = np.zeros(0, np.int64), np.zeros(0, row_type)
        with self.path.open("rb") as file:
            head = file.read(self.rows * _ID_BYTES)
            at, found = self._matches(head, ids)
            if not len(found):
                return nothing
            rest = file.read()
        if not _is_whole(head + rest, self.rows, row_type.itemsize):
            self.path.unlink(missing_ok=True)
            return nothing
        with suppress(OSError):
            os.utime(self.path)
        return found, np.frombuffer(rest, row_type, self.rows)[at[found]]

    def _matches(self, head: bytes, ids: Ids) -> tuple[Places, Places]:
        """Where each id is or would be, and which of them are; nothing where the file was cut off."""
        if len(head) < self.rows * _ID_BYTES:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        here = np.frombuffer(head, np.uint8).reshape(-1, _ID_BYTES)
        at = np.minimum(np.searchsorted(_keys(here), _keys(ids)), self.rows - 1)
        return at, np.flatnonzero((here[at] == ids).all(axis=1))


def _is_free(file: int, byte: int) -> bool:
    """Locked by nobody else, and by us from now on."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
    except OSError as error:
        return error.errno not in _TAKEN
    return True


def _is_whole(content: bytes, rows: int, row_bytes: int) -> bool:
    long_enough = len(content) == rows * (_ID_BYTES + row_bytes) + _TRAILER_BYTES
    return long_enough and hashlib.sha256(content[:-_TRAILER_BYTES]).digest() == content[-_TRAILER_BYTES:]


def _keys(ids: Ids) -> NDArray[np.uint64]:
    """The first eight bytes of each id as a number: the same order, and as good as never the same twice."""
    return np.ascontiguousarray(ids[:, :8]).view(">u8").reshape(-1).astype(np.uint64)


def _shards(folder: Path) -> list[_Shard]:
    """By their first ids, which the names begin with."""
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 - there may be many, and a name is enough
    except FileNotFoundError:
        return []
    return [shard for name in names if (shard := _Shard.of(folder / name)) is not None]


def _write(folder: Path, ids: Ids, rows: bytes) -> Path:
    body = ids.tobytes() + rows
    digest = hashlib.sha256(body).digest()
    first, last = (int(key) for key in _keys(ids[[0, -1]]))
    path = folder / f"{first:016x}-{last:016x}-{len(ids):x}-{digest[:8].hex()}.rows"
    with appearing(path) as file:
        file.write(body)
        file.write(digest)
    return path


def _merged(folder: Path) -> int:
    """The small shards' rows in shards of the usual size, then the small ones away."""
    enough, at_once = _MERGED
    small = [shard for shard in _shards(folder) if shard.rows < _SMALL][:at_once]
    if len(small) < enough:
        return 0
    written = _rewritten(folder, small)
    for shard in small:
        if shard.path not in written:
            shard.path.unlink(missing_ok=True)
    return len(small)


def _rewritten(folder: Path, shards: list[_Shard]) -> set[Path]:
    """What is whole of them, each id once."""
    records = [content for shard in shards if (content := _records(shard)) is not None]
    if not records:
        return set()
    ids = np.concatenate([ids for ids, _ in records])
    rows = np.concatenate([rows for _, rows in records])
    order = np.unique(ids.view(f"S{_ID_BYTES}").reshape(-1), return_index=True)[1]
    begins = range(0, len(order), SHARD)
    return {_write(folder, ids[at], rows[at].tobytes()) for at in (order[begin : begin + SHARD] for begin in begins)}


def _records(shard: _Shard) -> tuple[Ids, NDArray[np.uint8]] | None:
    """Ids and rows; rows on one shelf are equally wide, whatever they hold."""
    try:
        content = shard.path.read_bytes()
    except OSError:
        return None
    width, odd = divmod(len(content) - _TRAILER_BYTES, shard.rows)
    if odd or not _is_whole(content, shard.rows, width - _ID_BYTES):
        return None
    split = shard.rows * _ID_BYTES
    ids = np.frombuffer(content, np.uint8, split).reshape(shard.rows, _ID_BYTES)
    return ids, np.frombuffer(content[split:-_TRAILER_BYTES], np.uint8).reshape(shard.rows, -1)


def _files(folder: Path) -> Iterator[tuple[Path, float, int]]:
    """Every file of the cache, also of older releases: path, last use, bytes."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path))
            elif entry.name != _CLAIMS and not entry.name.startswith(".tmp."):
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    yield Path(entry.path), status.st_mtime, status.st_size


def _usage(made_by: str, files: list[tuple[Path, float, int]]) -> Usage:
    shards = [_Shard.of(path) for path, _, _ in files]
    used = [used_at for _, used_at, _ in files]
    return Usage(
        made_by=made_by,
        shards=len(files),
        rows=sum(shard.rows for shard in shards if shard is not None),
        bytes=sum(size for _, _, size in files),
        oldest=min(used),
        newest=max(used),
    )
