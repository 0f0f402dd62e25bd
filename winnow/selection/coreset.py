"""Greedy k-center: each pick is the sample farthest from all picks before it."""

import numpy as np

import kernels
from winnow.results import Vectors
from winnow.selection.base import Ranking, Tell
from winnow.spec import CoresetSelection


def coreset(vectors: Vectors, spec: CoresetSelection, *, seed: int, n_threads: int, tell: Tell) -> Ranking:  # noqa: ARG001 - nothing here is random
    """Stops at the budget, when all is covered within `radius`, or before a pick nearer than `min_distance`."""
    target = spec.target
    positions, insertion = kernels.coreset(
        vectors,
        target.budget(len(vectors)),
        min_radius=target.radius or 0.0,
        n_threads=n_threads,
        on_progress=tell,
    )
    if target.min_distance is not None:
        # Insertion distances never rise, so those far enough apart are a prefix.
        far = int(np.count_nonzero(insertion >= np.float32(target.min_distance)))
        positions, insertion = positions[:far], insertion[:far]
    return Ranking(positions, insertion)
