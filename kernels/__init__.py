"""The typed loops behind the selection methods: checked here, computed in Cython, repeated slowly in `reference`.

Every function gives the same bits for any number of threads. `on_progress(done, total)` is called between slices of
some ten milliseconds, with the GIL held; whatever it raises ends the work, which is how a job is cancelled.
"""

import numpy as np

from kernels import _coreset  # type: ignore[attr-defined]
from kernels.checks import (
    SLICE_TERMS,
    Float,
    KernelError,
    OnProgress,
    Positions,
    check_centres,
    check_vectors,
    slices,
    tell,
    threads_for,
)
from kernels.farthest import Coreset, CoresetRun, Picked, central, coreset, coreset_with_cover, pick_among
from kernels.graphs import (
    NeighborGraph,
    PathCoreset,
    adjacency,
    geodesic_coreset,
    knn,
    nearest_of,
    neighbor_graph,
    path_adjacency,
)
from kernels.threads import effective_threads

__all__ = [
    "Coreset",
    "CoresetRun",
    "KernelError",
    "NeighborGraph",
    "PathCoreset",
    "Picked",
    "adjacency",
    "central",
    "check_vectors",
    "coreset",
    "coreset_with_cover",
    "cover",
    "effective_threads",
    "geodesic_coreset",
    "insertion_distances",
    "knn",
    "nearest_of",
    "neighbor_graph",
    "path_adjacency",
    "pick_among",
]


def cover(
    vectors: Float, centres: Positions, *, n_threads: int = 0, on_progress: OnProgress | None = None
) -> tuple[Positions, Float, Positions]:
    """Each sample's nearest centre, its distance, and the centre's rank; `centres` are positions in rank order.

    A centre is its own nearest. Elsewhere ties go to the lowest rank.
    """
    n = len(check_vectors(vectors))
    centres = check_centres(centres, n)
    if n and not len(centres):
        raise KernelError("there must be at least one centre")
    distance, covered_at = np.zeros(n, np.float32), np.full(n, -1, np.int64)
    covered_at[centres] = np.arange(len(centres))
    others = np.flatnonzero(covered_at < 0)
    limits = np.full(len(others), len(centres), np.int64)
    distance[others], covered_at[others] = _meet(vectors, others, limits, centres, n_threads, on_progress)
    return centres[covered_at], distance, covered_at


def insertion_distances(
    vectors: Float, ranked: Positions, *, n_threads: int = 0, on_progress: OnProgress | None = None
) -> Float:
    """Each ranked sample's distance to everything ranked before it; inf for the first."""
    ranked = check_centres(ranked, len(check_vectors(vectors)))
    return _meet(vectors, ranked, np.arange(len(ranked)), ranked, n_threads, on_progress)[0]


def _meet(
    vectors: Float,
    samples: Positions,
    limits: Positions,
    centres: Positions,
    n_threads: int,
    on_progress: OnProgress | None,
) -> tuple[Float, Positions]:
    """Of each sample, the distance to the nearest among its first `limits` centres, and that one's rank."""
    threads = threads_for(vectors, n_threads)
    squared, rank = np.empty(len(samples), np.float32), np.empty(len(samples), np.int64)
    step = max(threads, threads * SLICE_TERMS // max(1, len(centres) * vectors.shape[1]))
    for begin, end in slices(len(samples), step):
        _coreset.cover(vectors, samples, limits, centres, begin, end, squared, rank, threads)
        tell(on_progress, end, len(samples))
    return np.sqrt(squared), rank
