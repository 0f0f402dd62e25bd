"""A folder of pictures: walked without following directory links, each file opened beneath the root.

Items are the files that `is_picture` names. A link to a file within the root is followed; a link to a folder within the
root is passed over, because what it shows is reached by its own path; a link that leads outside is a failure.
"""

import hashlib
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import numpy as np

from winnow.datasets.base import Kind, Limits, canonical, is_picture, unchanged
from winnow.datasets.beneath import Root, open_file, open_folder, opened_root
from winnow.errors import DatasetEmpty, InvalidVectors, ItemError, SourceGone, TooManyItems
from winnow.results import NO_PTS, Frames, Ids, ItemFailure, Listing, Report, Vectors

_COUNTED: Final = re.compile(r"(\D*)(\d*)", re.ASCII)
_MAX_DEPTH: Final = 200  # folders within folders
_HASHERS: Final = 2  # reading is the slow part; two keep a disk busy
_BATCH: Final = 256  # files between two words to the caller, who may want an end

Hashed = tuple[str, bytes, int]


class FolderReader:
    """`root` is a real path: `allowed_path` has followed its links."""

    kind: Kind = "images"
    reads_at_once = 4  # a folder may be a network's

    def __init__(self, root: Path, limits: Limits, *, sequences: bool = False) -> None:
        """With `sequences` the pictures of each folder are the frames of one recording."""
        self._root, self._limits, self._sequences = root, limits, sequences

    def list(self, report: Report) -> Listing:
        found: list[Hashed] = []
        failures: list[ItemFailure] = []
        with opened_folder(self._root) as root, ThreadPoolExecutor(_HASHERS) as hashers:
            paths = [*Walk(root, self._limits.max_items, failures, report)]
            for begin in range(0, len(paths), _BATCH):
                batch = paths[begin : begin + _BATCH]
                for item in hashers.map(lambda path: self._hashed(root, path), batch):
                    if isinstance(item, ItemFailure):
                        failures.append(item)
                    else:
                        found.append(item)
                report("reading", begin + len(batch), len(paths), len(failures))
        if not found and not failures:
            raise DatasetEmpty("the folder holds no picture (jpg, png, webp, gif, bmp or tiff)")
        frames = _by_folder([path for path, _, _ in found]) if self._sequences else None
        return canonical(found, failures, frames)

    def read(self, path: str, sample_id: bytes) -> bytes:
        return unchanged(self.content(path), sample_id)

    original = read

    def content(self, path: str) -> bytes:
        """The file as it is now."""
        with opened_folder(self._root) as root, open(open_file(root, os.fsencode(path)), "rb") as file:
            try:
                content = file.read(self._limits.max_item_bytes + 1)
            except OSError as error:
                raise ItemError("UNREADABLE", error.strerror or "") from error
        if len(content) > self._limits.max_item_bytes:
            raise ItemError("FILE_TOO_LARGE")
        return content

    def vectors(self) -> tuple[Ids, Vectors]:
        raise InvalidVectors("this dataset holds pictures, not vectors")

    def _hashed(self, root: Root, path: bytes) -> Hashed | ItemFailure:
        try:
            name = path.decode("utf-8")
        except UnicodeDecodeError:
            return ItemFailure(_shown(path), "NAME_NOT_UTF8")
        try:
            with open(open_file(root, path), "rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                if size > self._limits.max_item_bytes:
                    raise ItemError("FILE_TOO_LARGE", f"{size} bytes")
                return name, hashlib.file_digest(file, "sha256").digest(), size
        except ItemError as error:
            return ItemFailure(name, error.code, error.detail)
        except OSError as error:
            return ItemFailure(name, "UNREADABLE", error.strerror or "")


@contextmanager
def opened_folder(path: Path) -> Iterator[Root]:
    """The folder of a dataset, which may have gone since."""
    with ExitStack() as stack:
        try:
            root = stack.enter_context(opened_root(path))
        except OSError as error:
            raise SourceGone(f"the dataset's folder cannot be opened: {error.strerror}") from error
        yield root


class Walk:
    """Paths of would-be items below the root; links that leave it and closed folders become failures."""

    def __init__(
        self,
        root: Root,
        max_items: int,
        failures: list[ItemFailure],
        report: Report,
        wanted: Callable[[str], bool] = is_picture,
    ) -> None:
        self._root, self._max_items, self._failures, self._report = root, max_items, failures, report
        self._wanted = wanted

    def __iter__(self) -> Iterator[bytes]:
        waiting, seen = [b"."], 0
        while waiting:
            folder = waiting.pop()
            for path, mode in self._entries(folder):
                if stat.S_ISDIR(mode):
                    waiting.append(path)
                elif self._is_item(path, mode):
                    seen += 1
                    if seen + len(self._failures) > self._max_items:
                        raise TooManyItems(f"the folder holds more than {self._max_items} items")
                    yield path
            self._report("reading", 0, 0, len(self._failures))

    def _entries(self, folder: bytes) -> Iterator[tuple[bytes, int]]:
        """Path and kind of everything in one folder that is not hidden."""
        if folder.count(b"/") >= _MAX_DEPTH:
            raise TooManyItems(f"the folders lie more than {_MAX_DEPTH} deep")
        prefix = b"" if folder == b"." else folder + b"/"
        try:
            descriptor = open_folder(self._root, folder)
        except ItemError as error:
            self._failures.append(ItemFailure(_shown(folder), error.code, error.detail))
            return
        try:
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    if not entry.name.startswith("."):
                        yield prefix + os.fsencode(entry.name), _kind(entry)
        except OSError as error:
            self._failures.append(ItemFailure(_shown(folder), "UNREADABLE", error.strerror or ""))
        finally:
            os.close(descriptor)

    def _is_item(self, path: bytes, mode: int) -> bool:
        looks_like_one = self._wanted(_shown(path))
        if not stat.S_ISLNK(mode):
            return looks_like_one
        try:
            self._root.resolved(path)
        except ItemError as error:
            if looks_like_one or error.code == "LINK_ESCAPES_ROOT":
                self._failures.append(ItemFailure(_shown(path), error.code, error.detail))
            return False
        return looks_like_one and not (Path(os.fsdecode(self._root.path)) / os.fsdecode(path)).is_dir()


def _by_folder(paths: "list[str]") -> Frames:
    """Each folder a sequence, its pictures in the order people count: frame9 before frame10."""
    folders = [path.rpartition("/")[0] or "." for path in paths]
    numbers = np.zeros(len(paths), np.int64)
    seen: Counter[str] = Counter()
    for row in sorted(range(len(paths)), key=lambda row: _natural(paths[row])):
        numbers[row] = seen[folders[row]]
        seen[folders[row]] += 1
    return Frames(
        videos=folders,
        numbers=numbers,
        pts=np.full(len(paths), NO_PTS),
        times_s=np.full(len(paths), np.nan),
        shapes=np.zeros((len(paths), 2), np.int32),
    )


def _natural(path: str) -> tuple[list[tuple[int, str]], str]:
    """Digits compare as numbers, all else as text; names that differ in leading zeros alone, as they stand."""
    name = path.rpartition("/")[2]
    return [(int(digits or -1), text) for text, digits in _COUNTED.findall(name)], name


def _kind(entry: "os.DirEntry[str]") -> int:
    """The file type without a system call of its own where the folder says it; links are links."""
    if entry.is_symlink():
        return stat.S_IFLNK
    return stat.S_IFDIR if entry.is_dir(follow_symlinks=False) else stat.S_IFREG


def _shown(path: bytes) -> str:
    return path.decode("utf-8", "replace")
