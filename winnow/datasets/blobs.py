"""Pictures kept as files named by their hash, below the dataset's folder; names from outside name nothing.

A sample's id is that hash, so two listings of one dataset at one time write the same files and need no index.
"""

import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from winnow.datasets.atomic import aside, disk_errors
from winnow.datasets.base import Kind, unchanged
from winnow.errors import InvalidVectors, ItemError
from winnow.results import Ids, Vectors


class Blobs:
    """`<folder>/<first two hex digits>/<digest>`: each whole or not there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, chunks: Iterable[bytes], *, durable: bool = False) -> tuple[bytes, int]:
        """Stream to a blob; digest and size. Whatever the chunks raise leaves nothing behind.

        `durable` has it survive a power cut at once; else `make_safe` does, for all blobs together.
        """
        digest, size = hashlib.sha256(), 0
        with disk_errors(), aside(self._folder) as (file, name):
            for chunk in chunks:
                size += len(chunk)
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            if durable:
                os.fsync(file.fileno())
            blob = self.path(digest.digest())
            blob.parent.mkdir(exist_ok=True)
            name.rename(blob)
        return digest.digest(), size

    def holds(self, digest: bytes, size: int) -> bool:
        try:
            return self.path(digest).stat().st_size == size
        except OSError:
            return False

    def path(self, digest: bytes) -> Path:
        return self._folder / digest.hex()[:2] / digest.hex()

    def make_safe(self) -> None:
        """All of them on the disk, at once instead of one after the other."""
        os.sync()

    def clear(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


class BlobReader:
    """The half of a reader that comes after the listing: pictures out of blobs, found by their ids alone."""

    kind: Kind = "images"
    reads_at_once = 1

    def __init__(self, folder: Path) -> None:
        self._blobs = Blobs(folder / "blobs")

    def read(self, path: str, sample_id: bytes) -> bytes:  # noqa: ARG002 - the id says all
        try:
            content = self._blobs.path(sample_id).read_bytes()
        except OSError as error:
            raise ItemError("UNREADABLE", error.strerror or "") from error
        return unchanged(content, sample_id)

    original = read

    def vectors(self) -> tuple[Ids, Vectors]:
        raise InvalidVectors("this dataset holds pictures, not vectors")


class Names:
    """Every item keeps a path of its own, also where the source says one name twice."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def unique(self, name: str) -> str:
        self._seen[name] = self._seen.get(name, 0) + 1
        if self._seen[name] == 1:
            return name
        stem, dot, ending = name.rpartition(".")
        if not stem or "/" in ending:
            stem, dot, ending = name, "", ""
        return self.unique(f"{stem}~{self._seen[name]}{dot}{ending}")
