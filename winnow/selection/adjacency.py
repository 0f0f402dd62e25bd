"""Adjacency: remove one end of the shortest edge, again and again; the survivors are spread out."""

import numpy as np

import kernels
from winnow.results import Vectors
from winnow.selection.base import Ranking, Tell
from winnow.spec import AdjacencySelection


def adjacency(vectors: Vectors, spec: AdjacencySelection, *, seed: int, n_threads: int, tell: Tell) -> Ranking:  # noqa: ARG001 - nothing here is random
    """One run down to a single sample, read backwards, ranks everybody.

    So any prefix of the ranking is itself what adjacency would have left at that budget. A sample's insertion
    distance is the length of the edge that removes it when the budget shrinks below its rank.
    """
    removed, _, edge = kernels.adjacency(vectors, 1, n_threads=n_threads, on_progress=tell)
    last = np.setdiff1d(np.arange(len(vectors)), removed, assume_unique=True)
    order = np.concatenate([last, removed[::-1]])
    lengths = np.concatenate([np.array([np.inf], np.float32), edge[::-1]])
    keep = spec.target.budget(len(vectors))
    if spec.target.min_distance is not None:
        # Removal stops at the first edge that is long enough; later edges may be shorter again.
        long_enough = edge >= np.float32(spec.target.min_distance)
        keep = len(vectors) - (int(long_enough.argmax()) if long_enough.any() else len(edge))
    return Ranking(order[:keep], lengths[:keep], would_follow=order[keep:])
