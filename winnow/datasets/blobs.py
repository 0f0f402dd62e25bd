"""Pictures kept as files named by their hash, below the dataset's folder; names from outside name nothing.

What the source called its pictures is kept in an index beside the blobs.
"""

import hashlib
import os
import shutil
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Final

from winnow.datasets import snapshot
from winnow.datasets.atomic import aside, disk_errors
from winnow.datasets.base import Kind, unchanged
from winnow.errors import InvalidVectors, ItemError, SourceGone
from winnow.results import Ids, Listing, Vectors

_INDEX: Final = "entries.parquet"


class Blobs:
    """`<folder>/<first two hex digits>/<digest>`: each whole or not there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, chunks: Iterable[bytes], *, durable: bool = False) -> tuple[bytes, int]:
        """Stream to a blob; digest and size. Whatever the chunks raise leaves nothing behind.

        `durable` has it survive a power cut at once; else a later `os.sync` does, for all blobs together.
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

    def clear(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


class BlobReader:
    """The half of a reader that comes after the listing: pictures out of blobs, found through the index."""

    kind: Kind = "images"
    reads_at_once = 1

    def __init__(self, folder: Path) -> None:
        self._index, self._blobs = folder / _INDEX, Blobs(folder / "blobs")

    def read(self, path: str, sample_id: bytes) -> bytes:
        digest = self._digests.get(path)
        if digest is None:
            raise ItemError("UNREADABLE", "the dataset has no such entry")
        try:
            content = self._blobs.path(digest).read_bytes()
        except OSError as error:
            raise ItemError("UNREADABLE", error.strerror or "") from error
        return unchanged(content, sample_id)

    original = read

    def vectors(self) -> tuple[Ids, Vectors]:
        raise InvalidVectors("this dataset holds pictures, not vectors")

    def _indexed(self, listing: Listing) -> Listing:
        """The listing, once its blobs and its index are safe on the disk."""
        os.sync()  # once for all blobs, instead of once for each
        snapshot.save(listing, self._index)
        self.__dict__.pop("_digests", None)
        return listing

    @cached_property
    def _digests(self) -> dict[str, bytes]:
        try:
            listing = snapshot.load(self._index)
        except OSError as error:
            raise SourceGone("the dataset has not been unpacked, or what it held is gone") from error
        return {path: row.tobytes() for path, row in zip(listing.paths, listing.ids, strict=True)}


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
