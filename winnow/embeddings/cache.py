"""Finished shards on disk, named by the hash of what they were made from; a damaged one is as good as none."""

import hashlib
import io
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from winnow.datasets.atomic import appearing

_TRAILER: Final = 32  # sha256 of everything before it


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

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.npy"
