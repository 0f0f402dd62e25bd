"""How crowded the dataset was and the selection is: distances to the nearest neighbour, before and after."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import kernels
from winnow.insights.sampling import evenly
from winnow.results import Embedded, Positions, Selection, Vectors

_SAMPLES: Final = 2000  # whose nearest neighbour is looked up, where there are more
_BINS: Final = 40


def histograms(embedded: Embedded, selection: Selection) -> dict[str, Any]:
    """Three histograms over one set of bins.

    Where there are many samples, the neighbours of an even part are looked up, among all; the distances to the nearest
    kept one are those of every sample.
    """
    kept = np.ascontiguousarray(embedded.vectors[np.sort(selection.positions)])
    distances = {
        "before": _to_nearest_other(embedded.vectors, evenly(len(embedded.paths), _SAMPLES)),
        "after": _to_nearest_other(kept, evenly(len(kept), _SAMPLES)),
        "to_nearest_kept": selection.distance,
    }
    top = max(float(values.max(initial=0.0)) for values in distances.values()) or 1.0
    edges = np.linspace(0.0, top, _BINS + 1)
    return {
        "edges": edges.tolist(),
        "counts": {name: np.histogram(values, edges)[0].tolist() for name, values in distances.items()},
        "median": {name: float(np.median(values)) if len(values) else None for name, values in distances.items()},
        "samples_measured": {name: len(values) for name, values in distances.items()},
    }


def _to_nearest_other(vectors: Vectors, rows: Positions) -> NDArray[np.float32]:
    """Of some samples, the distance to the nearest of all others."""
    return kernels.knn(vectors, 1, rows=rows)[0][:, 0] if len(vectors) > 1 else np.empty(0, np.float32)
