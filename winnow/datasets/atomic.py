"""Files that appear whole or not at all: written aside, synced, renamed, the folder synced."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from winnow.errors import WorkerStorageFull

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def appearing(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes its place at `path` when the block ends well and leaves no trace otherwise."""
    with disk_errors(), aside(path.parent) as (file, name):
        yield file
        file.flush()
        os.fsync(file.fileno())
        name.replace(path)
        _sync_folder(path.parent)


@contextmanager
def aside(folder: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """A new file of its own name (O_EXCL, 0600), gone at the end unless it was renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor, text = tempfile.mkstemp(prefix=".tmp.", dir=folder)
    name = Path(text)
    try:
        with open(descriptor, "wb") as file:
            yield file, name
    finally:
        name.unlink(missing_ok=True)


@contextmanager
def disk_errors() -> Iterator[None]:
    """A full disk is not the job's fault: it is tried again."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise WorkerStorageFull("the worker's disk is full; the job is tried again later") from error
        raise


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
