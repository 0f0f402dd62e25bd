"""A zip or tar, read as a stream: each picture becomes a file named by its hash; names from the archive name nothing.

Nothing is ever extracted by name, so no entry can land anywhere; an archive that tries is refused whole.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from winnow.datasets.base import Limits, canonical, is_picture
from winnow.datasets.blobs import BlobReader, Names
from winnow.datasets.entries import CHUNK, Content, Room, corrupt_if_broken, entries_of
from winnow.errors import ArchiveTooLarge, DatasetEmpty, SourceGone, TransientJobError, WinnowError
from winnow.results import Listing, Report

_REPORT_EVERY: Final = 64  # entries

Hashed = tuple[str, bytes, int]


class ArchiveReader(BlobReader):
    """Unpacked into blobs as it is listed."""

    def __init__(self, archive: Path | None, folder: Path, limits: Limits) -> None:
        """`archive` may be gone (None) once the dataset has been listed."""
        super().__init__(folder)
        self._archive, self._limits = archive, limits

    def list(self, report: Report) -> Listing:
        if self._archive is None or not self._archive.is_file():
            raise SourceGone("the upload is not there; upload the file again and make a new dataset of it")
        try:
            listing = canonical(self._unpacked(self._archive, report))
        except TransientJobError:
            raise  # says nothing against the archive, which another job may have listed meanwhile
        except WinnowError:
            self._blobs.clear()  # refused whole: nothing of it stays
            raise
        self._blobs.make_safe()
        return listing

    def _unpacked(self, archive: Path, report: Report) -> Iterable[Hashed]:
        found: list[Hashed] = []
        room, names = Room(self._limits, archive.stat().st_size), Names()
        for seen, (entry, content) in enumerate(entries_of(archive, room)):
            if is_picture(entry.name):
                digest, size = self._blobs.keep(_within(room.for_entry(entry), content))
                room.spend(size)
                found.append((names.unique(entry.name), digest, size))
            if seen % _REPORT_EVERY == 0:
                report("reading", seen + 1, entry.of)
        if not found:
            raise DatasetEmpty("the archive holds no picture (jpg, png, webp, gif, bmp or tiff)")
        report("reading", len(found), len(found))
        return found


def _within(allowed: int, content: Content) -> Iterator[bytes]:
    """The bytes of one entry, ending before the limit is passed."""
    while chunk := _next(content):
        allowed -= len(chunk)
        if allowed < 0:
            raise ArchiveTooLarge("an entry, or the whole archive, unpacks to more than the limit")
        yield chunk


def _next(content: Content) -> bytes:
    with corrupt_if_broken():
        return content.read(CHUNK)
