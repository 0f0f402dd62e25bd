"""How crowded the dataset was and the selection is: distances to the nearest neighbour, before and after."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from winnow.insights.sampling import evenly
from winnow.results import Embedded, Selection, Vectors

_SAMPLES: Final = 3000
_BLOCK: Final = 64  # rows compared with all others at a time
_BINS: Final = 40


def histograms(embedded: Embedded, selection: Selection) -> dict[str, Any]:
    """Three histograms over one set of bins; where a set is large, an even sample of it is compared with itself."""
    everyone = evenly(len(embedded.paths), _SAMPLES)
    kept = np.sort(selection.positions)[evenly(len(selection.positions), _SAMPLES)]
    distances = {
        "before": _to_nearest_other(embedded.vectors[everyone]),
        "after": _to_nearest_other(embedded.vectors[kept]),
        "to_nearest_kept": selection.distance[everyone].astype(np.float64),
    }
    top = max(float(values.max(initial=0.0)) for values in distances.values()) or 1.0
    edges = np.linspace(0.0, top, _BINS + 1)
    return {
        "edges": edges.tolist(),
        "counts": {name: np.histogram(values, edges)[0].tolist() for name, values in distances.items()},
        "median": {name: float(np.median(values)) if len(values) else None for name, values in distances.items()},
        "samples_measured": {name: len(values) for name, values in distances.items()},
    }


def _to_nearest_other(rows: Vectors) -> NDArray[np.float64]:
    """Each row's l2 distance to the nearest other row, computed from differences so that near-duplicates stay exact."""
    if len(rows) < 2:
        return np.empty(0)
    out = np.empty(len(rows))
    for begin in range(0, len(rows), _BLOCK):
        block = rows[begin : begin + _BLOCK]
        squared = np.square(block[:, None] - rows[None], dtype=np.float32).sum(axis=2)
        squared[np.arange(len(block)), np.arange(begin, begin + len(block))] = np.inf
        out[begin : begin + len(block)] = np.sqrt(squared.min(axis=1))
    return out
