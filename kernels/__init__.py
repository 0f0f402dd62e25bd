"""The typed loops behind the selection methods: checked here, computed in Cython, repeated slowly in `reference`.

Every function gives the same bits for any number of threads. `on_progress(done, total)` is called between slices of
some ten milliseconds, with the GIL held; whatever it raises ends the work, which is how a job is cancelled.
"""

from typing import Final, NamedTuple

import numpy as np

from kernels import _coreset  # type: ignore[attr-defined]
from kernels.checks import (
    SLICE_TERMS,
    Float,
    KernelError,
    OnProgress,
    Positions,
    check_centres,
    check_count,
    check_vectors,
    rows_a_slice,
    slices,
    tell,
    threads_for,
)
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
    "KernelError",
    "NeighborGraph",
    "PathCoreset",
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
]

_BLOCK: Final = 4096  # rows a block, as in _coreset.pyx


class Coreset(NamedTuple):
    """The picks, and what covers every sample; -1 where a vector of the pool is nearest."""

    positions: Positions  # (k,) in order of picking
    insertion: Float  # (k,) distance to everything picked before and to the pool; inf for the first without a pool
    nearest: Positions  # (n,) position of the nearest pick
    distance: Float  # (n,) to it; inf where there is neither pick nor pool
    covered_at: Positions  # (n,) its rank


def coreset(
    vectors: Float,
    count: int,
    *,
    pool: Float | None = None,
    start: int | None = None,
    min_radius: float = 0.0,
    n_threads: int = 0,
    on_progress: OnProgress | None = None,
) -> tuple[Positions, Float]:
    """Greedy k-center: positions in order of picking, and each pick's distance to everything before it.

    The first pick is `start`, or the farthest from the pool, or the sample nearest to the mean. Stops at `count`, or
    when everything lies within `min_radius` (0: never, so that duplicates get their rank). Ties go to the lowest
    position.
    """
    picked = coreset_with_cover(
        vectors,
        count,
        pool=pool,
        start=start,
        min_radius=min_radius,
        n_threads=n_threads,
        on_progress=on_progress,
    )
    return picked.positions, picked.insertion


def coreset_with_cover(
    vectors: Float,
    count: int,
    *,
    pool: Float | None = None,
    start: int | None = None,
    min_radius: float = 0.0,
    n_threads: int = 0,
    on_progress: OnProgress | None = None,
) -> Coreset:
    """`coreset`, with what `cover` would say of its picks: the same pass over the data knows both."""
    threads = threads_for(check_vectors(vectors), n_threads)
    count = min(check_count(count), len(vectors))
    if not min_radius >= 0:
        raise KernelError(f"min_radius must be 0 or more, not {min_radius}")
    squared = np.full(len(vectors), np.inf, np.float32)
    has_pool = pool is not None and len(check_vectors(pool, width=vectors.shape[1], name="pool")) > 0
    if pool is not None and has_pool:
        _lower_to_pool(vectors, pool, squared, threads, on_progress, count)
    first = _first_pick(vectors, squared, has_pool, start, threads) if count else -1
    return _pick_all(vectors, squared, first, count, min_radius or -1.0, threads, on_progress)


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


def central(vectors: Float, *, n_threads: int = 0) -> int:
    """The sample nearest to the mean, which is summed in float64 in the order of the rows, then rounded to float32."""
    threads = threads_for(check_vectors(vectors), n_threads)
    if not len(vectors):
        raise KernelError("an empty set has no centre")
    return _central(vectors, threads)


# --- coreset -----------------------------------------------------------------------------------------


def _lower_to_pool(
    vectors: Float, pool: Float, squared: Float, threads: int, on_progress: OnProgress | None, count: int
) -> None:
    step = rows_a_slice(vectors, threads)
    for begin, end in slices(len(pool), step):
        _coreset.lower(vectors, pool[begin:end], squared, threads)
        tell(on_progress, 0, count)


def _first_pick(vectors: Float, squared: Float, has_pool: bool, start: int | None, threads: int) -> int:
    if start is not None:
        if not 0 <= start < len(vectors):
            raise KernelError(f"start must be a position from 0 to {len(vectors) - 1}, not {start}")
        return start
    return int(squared.argmax()) if has_pool else _central(vectors, threads)


def _central(vectors: Float, threads: int) -> int:
    total = np.zeros(vectors.shape[1], np.float64)
    for begin, end in slices(len(vectors), max(1, SLICE_TERMS // vectors.shape[1])):
        _coreset.add_rows(vectors, begin, end, total)
    mean = (total / len(vectors)).astype(np.float32)
    squared = np.empty(len(vectors), np.float32)
    _coreset.squared_to(vectors, mean, squared, threads)
    return int(squared.argmin())


def _pick_all(
    vectors: Float,
    squared: Float,
    first: int,
    count: int,
    stop_at: float,
    threads: int,
    on_progress: OnProgress | None,
) -> Coreset:
    positions, insertion = np.empty(count, np.int64), np.empty(count, np.float32)
    rank = np.full(len(vectors), -1, np.int64)
    blocks = -(-len(vectors) // _BLOCK)
    work = np.empty(blocks, np.float32), np.empty(blocks, np.int64)
    made = 0
    for _, end in slices(count, rows_a_slice(vectors, threads)):
        made, first = _coreset.pick(
            vectors, squared, rank, first, made, end, stop_at, positions, insertion, *work, threads
        )
        tell(on_progress, made, count)
        if made < end:
            break
    covered = rank >= 0
    nearest = np.where(covered, positions[np.where(covered, rank, 0)], -1) if made else rank.copy()
    distance = np.sqrt(np.maximum(squared, np.float32(0)))
    return Coreset(positions[:made].copy(), np.sqrt(insertion[:made]), nearest, distance, rank)


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
