"""Finished shards on disk, named by the hash of what they were made from; a damaged one is as good as none."""

import hashlib
import io
import os
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[np.generic]]

_TRAILER: Final = 32  # sha256 of everything before it


class ShardCache:
    """Equal keys mean equal content, so a late writer can only write what is there already."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str) -> Arrays | None:
        try:
            content = self._path(key).read_bytes()
        except OSError:
            return None
        body, trailer = content[:-_TRAILER], content[-_TRAILER:]
        if hashlib.sha256(body).digest() != trailer:
            return None
        with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
            return dict(arrays)

    def put(self, key: str, arrays: Arrays) -> None:
        """Whole or not at all: written aside, synced, renamed."""
        out = io.BytesIO()
        np.savez(out, allow_pickle=False, **arrays)
        body = out.getvalue()
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".tmp.{os.getpid()}.{path.name}")
        try:
            with aside.open("wb") as file:
                file.write(body + hashlib.sha256(body).digest())
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.npz"
