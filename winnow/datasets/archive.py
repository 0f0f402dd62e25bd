"""A zip or tar, read as a stream: each picture becomes a file named by its hash; names from the archive name nothing.

Nothing is ever extracted by name, so no entry can land anywhere; an archive that tries is refused whole. What the
archive called its pictures is kept in an index beside the blobs.
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
from winnow.datasets.base import Kind, Limits, canonical, is_picture, unchanged
from winnow.datasets.entries import CHUNK, Content, Entry, Room, corrupt_if_broken, entries_of
from winnow.errors import ArchiveTooLarge, DatasetEmpty, InvalidVectors, ItemError, SourceGone, WinnowError
from winnow.results import Ids, Listing, Report, Vectors

_BLOBS: Final = "blobs"
_INDEX: Final = "entries.parquet"
_REPORT_EVERY: Final = 64  # entries

Hashed = tuple[str, bytes, int]


class ArchiveReader:
    """Blobs below `<folder>/blobs/<first two hex digits>/` hold the pictures once they are listed."""

    kind: Kind = "images"

    def __init__(self, archive: Path | None, folder: Path, limits: Limits) -> None:
        """`archive` may be gone (None) once the dataset has been listed."""
        self._archive, self._folder, self._limits = archive, folder, limits

    def list(self, report: Report) -> Listing:
        if self._archive is None or not self._archive.is_file():
            raise SourceGone("the upload is not there; upload the file again and make a new dataset of it")
        try:
            listing = canonical(self._unpacked(self._archive, report))
        except WinnowError:
            shutil.rmtree(self._folder / _BLOBS, ignore_errors=True)  # refused whole: nothing of it stays
            raise
        os.sync()  # once for all blobs, instead of once for each
        snapshot.save(listing, self._folder / _INDEX)
        self.__dict__.pop("_digests", None)
        return listing

    def read(self, path: str, sample_id: bytes) -> bytes:
        digest = self._digests.get(path)
        if digest is None:
            raise ItemError("UNREADABLE", "the archive has no such entry")
        try:
            content = self._blob(digest).read_bytes()
        except OSError as error:
            raise ItemError("UNREADABLE", error.strerror or "") from error
        return unchanged(content, sample_id)

    original = read

    def vectors(self) -> tuple[Ids, Vectors]:
        raise InvalidVectors("this dataset holds pictures, not vectors")

    @cached_property
    def _digests(self) -> dict[str, bytes]:
        try:
            listing = snapshot.load(self._folder / _INDEX)
        except OSError as error:
            raise SourceGone("the archive has not been unpacked, or what it held is gone") from error
        return {path: row.tobytes() for path, row in zip(listing.paths, listing.ids, strict=True)}

    def _unpacked(self, archive: Path, report: Report) -> Iterable[Hashed]:
        found: list[Hashed] = []
        room, names = Room(self._limits, archive.stat().st_size), _Names()
        for seen, (entry, content) in enumerate(entries_of(archive, room)):
            if is_picture(entry.name):
                digest, size = self._store(content, room, entry)
                found.append((names.unique(entry.name), digest, size))
            if seen % _REPORT_EVERY == 0:
                report("reading", seen + 1, entry.of)
        if not found:
            raise DatasetEmpty("the archive holds no picture (jpg, png, webp, gif, bmp or tiff)")
        report("reading", len(found), len(found))
        return found

    def _store(self, content: Content, room: Room, entry: Entry) -> tuple[bytes, int]:
        """Stream one entry to its blob, stopping at the limit before it is passed."""
        digest, size, allowed = hashlib.sha256(), 0, room.for_entry(entry)
        with disk_errors(), aside(self._folder / _BLOBS) as (file, name):
            while chunk := _next(content):
                size += len(chunk)
                if size > allowed:
                    raise ArchiveTooLarge("an entry, or the whole archive, unpacks to more than the limit")
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            blob = self._blob(digest.digest())
            blob.parent.mkdir(exist_ok=True)
            name.rename(blob)
        room.spend(size)
        return digest.digest(), size

    def _blob(self, digest: bytes) -> Path:
        return self._folder / _BLOBS / digest.hex()[:2] / digest.hex()


class _Names:
    """Every item keeps a path of its own, also where the archive says one name twice."""

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


def _next(content: Content) -> bytes:
    with corrupt_if_broken():
        return content.read(CHUNK)
