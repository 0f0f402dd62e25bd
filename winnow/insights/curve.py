"""The budget curve: for a growing number of kept samples, how far the others are from the nearest kept one."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import kernels
from winnow.insights.sampling import evenly
from winnow.results import Embedded, Selection

_BUDGETS: Final = 24  # budgets looked at
_SAMPLES: Final = 4000  # samples measured where the dataset is larger
_LAST: Final = 20_000  # ranks looked at; beyond, the curve is flat to the eye


def curve(embedded: Embedded, selection: Selection) -> dict[str, Any]:
    """Radius and mean distance at budgets in equal steps of the logarithm, and the knee."""
    ranked = selection.positions[:_LAST]
    budgets = np.unique(np.geomspace(1, len(ranked), _BUDGETS).round().astype(np.int64))
    measured = evenly(len(embedded.paths), _SAMPLES)
    found = kernels.budget_curve(embedded.vectors, ranked, budgets, rows=measured)
    return {
        "budget": budgets.tolist(),
        "radius": found.radius.tolist(),
        "mean_distance": found.mean.tolist(),
        "knee": int(budgets[_knee(np.log(budgets), found.radius)]),
        "samples_measured": len(measured),
    }


def _knee(across: NDArray[np.float64], down: NDArray[np.float32]) -> int:
    """Where the curve lies farthest below the straight line between its ends."""
    if len(across) < 3 or down[0] == down[-1]:
        return len(across) - 1
    along = (across - across[0]) / (across[-1] - across[0])
    height = (down - down[-1]) / (down[0] - down[-1])
    return int((1 - along - height).argmax())
