"""descriptor-64: colour layout and edge directions, 64 numbers, no weights, the same bits on every machine.

After MPEG-7's colour layout and edge histogram descriptors. It tells scenes, light and framing apart, finds bursts and
near-duplicates well, and knows nothing of meaning; learned encoders do. All sums are of integers, and the few divisions
and roots are single float64 operations, which IEEE 754 rounds alike everywhere.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from winnow.embeddings.base import OfTheTable
from winnow.results import Vectors

_SIZE: Final = 64  # pixels a side
_GRID: Final = 8  # mean colours a side
_UNIT: Final = 1 << 12  # fixed point of the cosine tables
_BINS: Final = 7  # edge directions
_QUIET: Final = 40_000  # gradient a cell must have before its directions count: sensor noise has less
_EDGE_WEIGHT: Final = 0.35  # brings the edge half to the spread of the colour half

# DCT-II of eight values, in fixed point, rows of equal length.
_COSINES: Final = np.array(
    [
        [
            round(_UNIT * math.sqrt((1 if k == 0 else 2) / _GRID) * math.cos(math.pi * (2 * i + 1) * k / (2 * _GRID)))
            for i in range(_GRID)
        ]
        for k in range(_GRID)
    ],
    np.int64,
)
# The low frequencies first, by u + v and then u: the order in which a picture's layout fades out.
_LOW: Final = sorted(((u, v) for u in range(_GRID) for v in range(_GRID)), key=lambda uv: (sum(uv), uv[0]))
_TAKEN: Final = (24, 6, 6)  # of Y, Cb, Cr
_BORDERS: Final = [
    (round(_UNIT * math.cos(math.pi * k / _BINS)), round(_UNIT * math.sin(math.pi * k / _BINS)))
    for k in range(1, _BINS)
]


class Descriptor64(OfTheTable):
    def embed(self, pictures: Sequence[NDArray[np.uint8]]) -> Vectors:
        if not pictures:
            return np.empty((0, self.dimension), np.float32)
        planes = _ycbcr(np.stack(pictures).astype(np.int64))  # (3, b, 64, 64)
        layout = [_layout(plane, taken) for plane, taken in zip(planes, _TAKEN, strict=True)]
        return np.concatenate([*layout, _edges(planes[0])], axis=1).astype(np.float32)


def _ycbcr(rgb: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    return (
        (77 * red + 150 * green + 29 * blue) >> 8,
        (-43 * red - 85 * green + 128 * blue) >> 8,
        (128 * red - 107 * green - 21 * blue) >> 8,
    )


def _layout(plane: NDArray[np.int64], taken: int) -> NDArray[np.float64]:
    """The `taken` lowest frequencies of the 8 x 8 grid of mean values, 1.0 being full range."""
    batch, side = len(plane), _SIZE // _GRID
    grid = plane.reshape(batch, _GRID, side, _GRID, side).sum(axis=(2, 4))  # (b, 8, 8) sums of 64 pixels
    spectrum = np.einsum("ki,bij,lj->bkl", _COSINES, grid, _COSINES)  # integers: any order of adding is exact
    low = np.stack([spectrum[:, u, v] for u, v in _LOW[:taken]], axis=1)
    return low / (255.0 * side * side * _GRID * _UNIT * _UNIT)


def _edges(luma: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of gradient per direction in each quarter of the picture; the root tempers the strongest."""
    across = luma[:, 1:-1, 2:] - luma[:, 1:-1, :-2]
    down = luma[:, 2:, 1:-1] - luma[:, :-2, 1:-1]
    flip = np.where((down < 0) | ((down == 0) & (across < 0)), -1, 1)  # an edge has no sign: fold to half a turn
    across, down = across * flip, down * flip
    strength = np.abs(across) + np.abs(down)
    direction = np.sum([(c * down - s * across) >= 0 for c, s in _BORDERS], axis=0)
    half = strength.shape[1] // 2
    cells = [
        (rows, columns)
        for rows in (slice(0, half), slice(half, None))
        for columns in (slice(0, half), slice(half, None))
    ]
    return np.concatenate([_histogram(strength[:, r, c], direction[:, r, c]) for r, c in cells], axis=1)


def _histogram(strength: NDArray[np.int64], direction: Any) -> NDArray[np.float64]:
    bins = np.stack([np.where(direction == k, strength, 0).sum(axis=(1, 2)) for k in range(_BINS)], axis=1)
    total = bins.sum(axis=1, keepdims=True) + _QUIET
    return np.asarray(_EDGE_WEIGHT * np.sqrt(bins / total), np.float64)
