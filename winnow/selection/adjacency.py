"""Adjacency: remove one end of the shortest edge, again and again; the survivors are spread out."""

from typing import Final, Literal

import numpy as np

import kernels
from winnow.results import Vectors
from winnow.selection.base import Ranking, Tell
from winnow.spec import AdjacencySelection

COMPLETE_UP_TO: Final = 100_000  # samples


def adjacency(
    vectors: Vectors,
    spec: AdjacencySelection,
    *,
    seed: int,  # noqa: ARG001 - nothing here is random
    n_threads: int,
    device: str,  # noqa: ARG001 - nor worth a GPU
    tell: Tell,
) -> Ranking:
    """One run down to a single sample, read backwards, ranks everybody.

    So any prefix of the ranking is itself what adjacency would have left at that budget. A sample's edge is the
    shortest among those still there when it goes, so its length is the distance to all that rank before it.
    """
    n = len(vectors)
    graph = _graph(spec, n)
    removed, _, edge = kernels.adjacency(
        vectors, 1, graph=graph, neighbors=spec.neighbors, n_threads=n_threads, on_progress=tell
    )
    last = np.setdiff1d(np.arange(n), removed, assume_unique=True)
    order = np.concatenate([last, removed[::-1]])
    insertion = np.concatenate([np.array([np.inf], np.float32), edge[::-1]])
    keep = spec.target.budget(n)
    if spec.target.min_distance is not None:
        # Removing only takes edges away, so their lengths never fall in order of removal.
        keep = n - int(np.count_nonzero(edge.astype(np.float64) < spec.target.min_distance))
    parts = 1 if graph == "complete" else 1 + int(np.isinf(edge).sum())
    notes = {"graph": graph} if graph == "complete" else {"graph": graph, "neighbors": spec.neighbors, "parts": parts}
    return Ranking(order[:keep], insertion[:keep], would_follow=order[keep:], parts=parts, notes=notes)


def _graph(spec: AdjacencySelection, n: int) -> Literal["complete", "local"]:
    if spec.graph == "auto":
        return "complete" if n <= COMPLETE_UP_TO else "local"
    return spec.graph
