"""The budget curve: for a growing number of kept samples, how far the others are from the nearest kept one."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import kernels
from winnow.insights.sampling import evenly
from winnow.results import Embedded, Positions, Selection, Vectors

_BUDGETS: Final = 24  # budgets looked at
_SAMPLES: Final = 4000  # samples measured where the dataset is larger
_LAST: Final = 20_000  # ranks looked at; beyond, the curve is flat to the eye


def curve(embedded: Embedded, selection: Selection) -> dict[str, Any]:
    """Radius and mean distance at budgets in equal steps of the logarithm, and the knee."""
    ranked = selection.positions[:_LAST]
    budgets = np.unique(np.geomspace(1, len(ranked), _BUDGETS).round().astype(np.int64))
    measured = evenly(len(embedded.paths), _SAMPLES)
    radius, mean = _distances(embedded.vectors, ranked, budgets, measured)
    return {
        "budget": budgets.tolist(),
        "radius": radius,
        "mean_distance": mean,
        "knee": int(budgets[_knee(np.log(budgets), np.array(radius))]),
        "samples_measured": len(measured),
    }


def _distances(
    vectors: Vectors, ranked: Positions, budgets: Positions, measured: Positions
) -> tuple[list[float], list[float]]:
    """Over the measured samples, the largest and the mean distance to the nearest of the first b ranked, for each b."""
    least = np.full(len(measured), np.inf, np.float32)
    radius, mean = [], []
    for begin, end in zip((0, *budgets[:-1]), budgets, strict=True):
        rows = np.concatenate([vectors[ranked[begin:end]], vectors[measured]])
        _, distance, _ = kernels.cover(rows, np.arange(end - begin))
        least = np.minimum(least, distance[end - begin :])
        radius.append(float(least.max()))
        mean.append(float(least.mean(dtype=np.float64)))
    return radius, mean


def _knee(across: NDArray[np.float64], down: NDArray[np.float64]) -> int:
    """Where the curve lies farthest below the straight line between its ends."""
    if len(across) < 3 or down[0] == down[-1]:
        return len(across) - 1
    along = (across - across[0]) / (across[-1] - across[0])
    height = (down - down[-1]) / (down[0] - down[-1])
    return int((1 - along - height).argmax())
