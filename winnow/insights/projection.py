"""The dataset as a map: its two widest axes, by principal components."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from winnow.insights.sampling import evenly
from winnow.results import Embedded, Selection, Vectors

_POINTS: Final = 20_000
_ROWS: Final = 65_536  # rows a time, so that a million fit


def projection(embedded: Embedded, selection: Selection) -> dict[str, Any]:
    """Every kept sample and an even share of the others, with their place on the map."""
    n = len(embedded.paths)
    rank = np.full(n, -1, np.int64)
    rank[selection.positions] = np.arange(len(selection.positions))
    shown = np.union1d(evenly(n, _POINTS), selection.positions[:_POINTS])
    axes, mean, share = _widest(embedded.vectors)
    places = (embedded.vectors[shown].astype(np.float64) - mean) @ axes
    return {
        "method": "pca",
        "variance_share": share,
        "samples": n,
        "points": [
            {
                "x": round(float(x), 5),
                "y": round(float(y), 5),
                "rank": int(rank[position]) if rank[position] >= 0 else None,
                "path": embedded.paths[position],
                "sample_id": embedded.ids[position].tobytes().hex(),
            }
            for position, (x, y) in zip(shown, places, strict=True)
        ],
    }


def _widest(vectors: Vectors) -> tuple[NDArray[np.float64], NDArray[np.float64], list[float]]:
    """The two leading eigenvectors of the covariance, their sign fixed by their largest entry."""
    width = vectors.shape[1]
    mean = vectors.mean(axis=0, dtype=np.float64)
    scatter = np.zeros((width, width))
    for begin in range(0, len(vectors), _ROWS):
        centred = vectors[begin : begin + _ROWS] - mean
        scatter += centred.T @ centred
    spread, axes = np.linalg.eigh(scatter)
    axes, spread = axes[:, ::-1][:, :2], spread[::-1][:2]
    if width == 1:
        axes, spread = np.array([[1.0, 0.0]]), np.array([spread[0], 0.0])
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), (0, 1)] + 1e-300)
    total = float(np.trace(scatter)) or 1.0
    return axes, mean, [round(float(part) / total, 5) for part in spread]
