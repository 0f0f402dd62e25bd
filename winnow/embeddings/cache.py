"""Finished shards on disk, named by the hash of what they were made from; a damaged one is as good as none."""

import hashlib
import io
import mmap
import os
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from winnow.datasets.atomic import appearing, disk_errors

_TRAILER: Final = 32  # sha256 of everything before it
_IN_MEMORY_BYTES: Final = 1 << 30


class ShardCache:
    """Keys are hex digests. Equal keys mean equal content, so a late writer can only write what is there already."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str) -> NDArray[Any] | None:
        try:
            content = self._path(key).read_bytes()
        except OSError:
            return None
        body, trailer = content[:-_TRAILER], content[-_TRAILER:]
        if hashlib.sha256(body).digest() != trailer:
            return None
        array: NDArray[Any] = np.load(io.BytesIO(body), allow_pickle=False)
        return array

    def put(self, key: str, array: NDArray[Any]) -> None:
        """Whole or not at all; a kill leaves the old state or the new."""
        out = io.BytesIO()
        np.save(out, array, allow_pickle=False)
        body = out.getvalue()
        with appearing(self._path(key)) as file:
            file.write(body + hashlib.sha256(body).digest())

    def room(self, rows: int, width: int) -> NDArray[np.float32]:
        """For the vectors of a whole dataset: where they are many and wide, in a file of the cache's disk.

        The file has no name, and is gone with whoever holds it. Its blocks are reserved, since a disk that is full when
        a page is written would end the process.
        """
        if rows * width * 4 <= _IN_MEMORY_BYTES:
            return np.empty((rows, width), np.float32)
        self._folder.mkdir(parents=True, exist_ok=True)
        with disk_errors(), tempfile.TemporaryFile(dir=self._folder) as file:
            os.posix_fallocate(file.fileno(), 0, rows * width * 4)
            lent = mmap.mmap(file.fileno(), rows * width * 4)
        return np.frombuffer(lent, np.float32).reshape(rows, width)

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.npy"
