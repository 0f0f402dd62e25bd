"""The entries of a zip or tar, one after the other, judged by name and kind before a byte of them is unpacked."""

import bz2
import gzip
import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, Final, Protocol

from winnow.datasets.base import Limits
from winnow.errors import ArchiveCorrupt, ArchiveEncrypted, ArchiveTooLarge, ArchiveUnsafe, TooManyItems

CHUNK: Final = 64 << 10
_METADATA_BYTES: Final = 4 << 20  # between two entries of a tar: headers, long names, padding
_SMALL_ENTRY_BYTES: Final = 1 << 20  # a few kilobytes of one colour really do pack 1,000 to 1; a bomb needs more
_LOCAL_HEADER_BYTES: Final = 30
_MAX_NAME_BYTES: Final = 65_535  # what a zip can say; a tar could say megabytes, of every entry
_ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_ZIP_END_BYTES: Final = 66_000  # the closing record, with the longest comment
_DRIVE: Final = re.compile(r"^[A-Za-z]:")
_BROKEN: Final = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
    OSError,
)


class Content(Protocol):
    """What an entry holds, from the front to the end."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class Entry:
    """One file of an archive, not yet unpacked."""

    name: str
    packed_bytes: int | None = None  # None where the format does not say: a tar compresses as a whole
    of: int = 0  # entries in all, 0 where only the end will tell


class Room:
    """How much the archive may still unpack."""

    def __init__(self, limits: Limits, archive_bytes: int) -> None:
        self._limits = limits
        whole = min(limits.max_archive_bytes, limits.archive_ratio * archive_bytes + limits.archive_slack_bytes)
        self.bytes, self._items = whole, limits.max_items

    def take_items(self, count: int) -> None:
        self.check_items(count)
        self._items -= count

    def check_items(self, count: int) -> None:
        if count > self._items:
            raise TooManyItems(f"the archive holds more than {self._limits.max_items} entries")

    def for_entry(self, entry: Entry) -> int:
        allowed = min(self._limits.max_item_bytes, self.bytes)
        if entry.packed_bytes is not None:
            allowed = min(allowed, max(_SMALL_ENTRY_BYTES, self._limits.max_ratio * entry.packed_bytes))
        return allowed

    def spend(self, size: int) -> None:
        self.bytes -= size


def entries_of(path: Path, room: Room) -> Iterator[tuple[Entry, Content]]:
    """Each entry with its content, to be read before the next is asked for. Raises one of the Archive errors."""
    with path.open("rb") as file:
        start = file.read(6)
    entries = _zip_entries(path, room) if start[:4] in _ZIP else _tar_entries(path, start, room)
    while True:
        with corrupt_if_broken():
            entry = next(entries, None)
        if entry is None:
            return
        yield entry


@contextmanager
def corrupt_if_broken() -> Iterator[None]:
    """Whatever the unpacking libraries raise means one thing to the caller."""
    try:
        yield
    except _BROKEN as error:
        raise ArchiveCorrupt(
            "the archive is damaged or of an unknown kind; zip and tar (gz, bz2, xz) are read"
        ) from error


# --- zip -------------------------------------------------------------------------------------------


def _zip_entries(path: Path, room: Room) -> Iterator[tuple[Entry, Content]]:
    room.check_items(_announced(path))
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        room.take_items(len(infos))
        names = [_safe_name(info.orig_filename) for info in infos]
        for info in infos:
            _check_kind(info)
        _check_overlap(infos, archive.start_dir)
        for info, name in zip(infos, names, strict=True):
            if not info.is_dir():
                with archive.open(info) as content:
                    yield Entry(name, info.compress_size, len(infos)), content


def _announced(path: Path) -> int:
    """How many entries the end of the file speaks of; asked before zipfile loads them all, and counted again after."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _ZIP_END_BYTES))
        tail = file.read()
    end = tail.rfind(b"PK\x05\x06")
    wide = tail.rfind(b"PK\x06\x06", 0, max(end, 0))  # zip64: more than 65,535 entries
    count = tail[wide + 32 : wide + 40] if wide >= 0 else tail[end + 10 : end + 12]
    return int.from_bytes(count, "little") if end >= 0 else 0


def _check_kind(info: zipfile.ZipInfo) -> None:
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise ArchiveUnsafe("the archive holds a link or a device")
    _check_mode(mode, is_folder=info.is_dir())
    if info.flag_bits & 0x1:
        raise ArchiveEncrypted("the archive is encrypted; pack it again without a password")


def _check_overlap(infos: list[zipfile.ZipInfo], end: int) -> None:
    """Entries that share their packed bytes unpack to far more than the file could hold."""
    packed = sorted((info.header_offset, info.compress_size) for info in infos)
    for (start, size), (following, _) in pairwise([*packed, (end, 0)]):
        if start + _LOCAL_HEADER_BYTES + size > following:
            raise ArchiveTooLarge("entries of the archive overlap")


# --- tar -------------------------------------------------------------------------------------------

_OPENERS: Final[tuple[tuple[bytes, Callable[[Path], Any]], ...]] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ", lzma.open),
)


class _Metered:
    """A stream of unpacked bytes that ends in ArchiveTooLarge where it runs on past what was announced."""

    def __init__(self, stream: IO[bytes], room: Room) -> None:
        self._stream, self._whole = stream, room.bytes + _METADATA_BYTES
        self._seen, self._until = 0, _METADATA_BYTES

    def expect(self, size: int) -> None:
        self._until = self._seen + size + _METADATA_BYTES

    def read(self, size: int) -> bytes:
        chunk = self._stream.read(size)
        self._seen += len(chunk)
        if self._seen > min(self._until, self._whole):
            raise ArchiveTooLarge("the archive unpacks to more than the limit, or to more than it announces")
        return chunk


def _tar_entries(path: Path, start: bytes, room: Room) -> Iterator[tuple[Entry, Content]]:
    opener = next((opener for magic, opener in _OPENERS if start.startswith(magic)), None)
    with opener(path) if opener else path.open("rb") as stream:
        metered = _Metered(stream, room)
        with tarfile.open(fileobj=metered, mode="r|") as archive:  # type: ignore[call-overload]
            for member in archive:
                room.take_items(1)
                _check_member(member)
                metered.expect(member.size)
                content = archive.extractfile(member)
                if content is not None:
                    yield Entry(_safe_name(member.name)), content
                archive.members = []  # tarfile would keep every header it has seen
        _drain(metered)


def _check_member(member: tarfile.TarInfo) -> None:
    _safe_name(member.name)
    if member.issparse():
        raise ArchiveTooLarge("the archive holds a sparse file, whose size says nothing about what it packs")
    if not (member.isreg() or member.isdir()):
        raise ArchiveUnsafe("the archive holds a link or a device")
    _check_mode(member.mode, is_folder=member.isdir())


def _drain(metered: _Metered) -> None:
    """To the end of the file, so that a wrong checksum is noticed; what follows a tar is a little padding."""
    metered.expect(0)
    while metered.read(CHUNK):
        pass


# --- both ------------------------------------------------------------------------------------------


def _check_mode(mode: int, *, is_folder: bool) -> None:
    if mode & (stat.S_ISUID | stat.S_ISGID) and not is_folder:
        raise ArchiveUnsafe("the archive holds a file that asks to run as somebody else")


def _safe_name(name: str) -> str:
    """The name as it will be listed; refused where it could mean a place outside."""
    plain = name.replace("\0", "\N{SYMBOL FOR NULL}")
    if plain.startswith("/") or "\\" in plain or _DRIVE.match(plain) or ".." in plain.split("/"):
        raise ArchiveUnsafe("the archive holds an entry whose name leads outside it")
    encoded = "/".join(part for part in plain.split("/") if part not in {"", "."}).encode("utf-8", "replace")
    if len(encoded) > _MAX_NAME_BYTES:
        raise ArchiveUnsafe("the archive holds an entry whose name is longer than any file's")
    return encoded.decode()
