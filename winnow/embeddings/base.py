"""What an encoder is."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from winnow.results import Vectors


class Encoder(Protocol):
    """Pictures of `size` x `size` in, rows of `dimension` numbers out; a row depends on its own picture alone."""

    name: str
    version: str  # rises with any change of bits; part of every cache key and digest
    dimension: int
    size: int
    licence: str  # of the weights
    summary: str

    def embed(self, pictures: Sequence[NDArray[np.uint8]]) -> Vectors: ...
