"""Opens what lies below a folder so that no link, device or race leads anywhere else.

Each part of a path is opened from the descriptor of the part before, following nothing. Where a part is a link, the
whole is resolved first and the resolved path, if it lies below the root, is opened in the same way: a link swapped in
between is not followed either.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from winnow.errors import ItemError

_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_FOLDER: Final = _FLAGS | os.O_DIRECTORY
_FILE: Final = _FLAGS | os.O_NONBLOCK | os.O_NOCTTY  # a pipe without a writer must not hold us up
_LINK: Final = frozenset({errno.ELOOP, errno.ENOTDIR})  # how O_NOFOLLOW says that a part is a link


@dataclass(frozen=True)
class Root:
    """An open folder and its real path."""

    descriptor: int
    path: bytes

    def resolved(self, path: bytes) -> bytes:
        """Where `path` leads once all links are followed, relative to the root; ItemError where that is outside."""
        try:
            real = os.path.realpath(os.path.join(self.path, path), strict=True)
        except OSError as error:  # a link to nowhere, or a ring of links
            raise ItemError("UNREADABLE", error.strerror or "") from error
        if real != self.path and not real.startswith(self.path.rstrip(b"/") + b"/"):
            raise ItemError("LINK_ESCAPES_ROOT")
        return os.path.relpath(real, self.path)


def open_file(root: Root, path: bytes) -> int:
    """A descriptor of the regular file `path` below the root; ItemError where it is anything else."""
    try:
        descriptor = _open(root, path, _FILE)
    except OSError as error:
        raise _refusal(error) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ItemError("NOT_A_REGULAR_FILE")
    return descriptor


def open_folder(root: Root, path: bytes) -> int:
    """A descriptor of the folder `path`; links are not followed."""
    try:
        return _open_parts(root.descriptor, path, _FOLDER)
    except OSError as error:
        raise _refusal(error) from error


@contextmanager
def opened_root(path: Path) -> Iterator[Root]:
    """The folder at this real path; a part that has become a link since it was resolved is refused with an OSError."""
    top = os.open("/", _FOLDER)
    try:
        descriptor = _open_parts(top, os.fsencode(path).strip(b"/") or b".", _FOLDER)
    finally:
        os.close(top)
    try:
        yield Root(descriptor, os.fsencode(path))
    finally:
        os.close(descriptor)


def _open(root: Root, path: bytes, flags: int) -> int:
    try:
        return _open_parts(root.descriptor, path, flags)
    except OSError as error:
        if error.errno not in _LINK:
            raise
    return _open_parts(root.descriptor, root.resolved(path), flags)


def _open_parts(root: int, path: bytes, flags: int) -> int:
    *folders, last = path.split(b"/")
    if b".." in folders or last == b"..":
        raise ItemError("LINK_ESCAPES_ROOT")
    at = os.dup(root)
    try:
        for part in folders:
            below = os.open(part, _FOLDER, dir_fd=at)
            os.close(at)
            at = below
        return os.open(last, flags, dir_fd=at)
    finally:
        os.close(at)


def _refusal(error: OSError) -> ItemError:
    if error.errno == errno.ELOOP:  # turned into a link since it was resolved
        return ItemError("LINK_ESCAPES_ROOT")
    if error.errno in {errno.ENXIO, errno.ENODEV}:  # a socket, a device without a driver
        return ItemError("NOT_A_REGULAR_FILE")
    return ItemError("UNREADABLE", os.strerror(error.errno or 0))
