"""The typed loops behind the selection methods: checked here, computed in Cython, repeated slowly in `reference`.

Every function gives the same bits for any number of threads. `on_progress(done, total)` is called between slices of
some ten milliseconds, with the GIL held; whatever it raises ends the work, which is how a job is cancelled.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels import _adjacency, _coreset  # type: ignore[attr-defined]
from kernels.threads import effective_threads

__all__ = [
    "Coreset",
    "KernelError",
    "adjacency",
    "central",
    "check_vectors",
    "coreset",
    "coreset_with_cover",
    "cover",
    "effective_threads",
    "insertion_distances",
    "pick_among",
]

Float = NDArray[np.float32]
Positions = NDArray[np.int64]
OnProgress = Callable[[int, int], None]

_BLOCK: Final = 4096  # rows a block, as in _coreset.pyx
_SLICE_TERMS: Final = 40_000_000  # squared differences one thread sums between two calls of on_progress: 10-20 ms
_THREAD_TERMS: Final = 1 << 16  # fewer than this are done sooner than a second thread wakes up


class KernelError(ValueError):
    """An argument a kernel refuses, and why."""


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
    threads = _threads_for(check_vectors(vectors), n_threads)
    count = min(_check_count(count), len(vectors))
    if not min_radius >= 0:
        raise KernelError(f"min_radius must be 0 or more, not {min_radius}")
    squared = np.full(len(vectors), np.inf, np.float32)
    has_pool = pool is not None and len(check_vectors(pool, width=vectors.shape[1], name="pool")) > 0
    if pool is not None and has_pool:
        _lower_to_pool(vectors, pool, squared, threads, on_progress, count)
    first = _first_pick(vectors, squared, has_pool, start, threads) if count else -1
    return _pick_all(vectors, squared, first, count, min_radius or -1.0, threads, on_progress)


def pick_among(vectors: Float, squared: Float, count: int, stop_at: float) -> tuple[Positions, Float]:
    """Greedy k-center among a few samples whose squared distance to earlier picks is known; picks and insertions.

    Ends at `count`, or when no sample is farther than `stop_at` from all picks. `squared` is not changed.
    """
    if len(squared) != len(check_vectors(vectors)):
        raise KernelError("there must be one squared distance for each vector")
    squared = np.array(squared, np.float32)
    first = int(squared.argmax()) if len(squared) else -1
    picked = _pick_all(vectors, squared, first, min(_check_count(count), len(vectors)), stop_at, 1, None)
    return picked.positions, picked.insertion


def cover(
    vectors: Float, centres: Positions, *, n_threads: int = 0, on_progress: OnProgress | None = None
) -> tuple[Positions, Float, Positions]:
    """Each sample's nearest centre, its distance, and the centre's rank; `centres` are positions in rank order.

    A centre is its own nearest. Elsewhere ties go to the lowest rank.
    """
    n = len(check_vectors(vectors))
    centres = _check_centres(centres, n)
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
    ranked = _check_centres(ranked, len(check_vectors(vectors)))
    return _meet(vectors, ranked, np.arange(len(ranked)), ranked, n_threads, on_progress)[0]


def central(vectors: Float, *, n_threads: int = 0) -> int:
    """The sample nearest to the mean, which is summed in float64 in the order of the rows, then rounded to float32."""
    threads = _threads_for(check_vectors(vectors), n_threads)
    if not len(vectors):
        raise KernelError("an empty set has no centre")
    return _central(vectors, threads)


def adjacency(
    vectors: Float,
    keep: int,
    *,
    max_edge: float | None = None,
    n_threads: int = 0,
    on_progress: OnProgress | None = None,
) -> tuple[Positions, Positions, Float]:
    """Remove one end of the shortest edge, again and again, until `keep` remain or no edge is shorter than `max_edge`.

    Of the two ends the one goes whose next-nearest neighbour is closer; on a tie the larger position. Returns, in
    order of removal, the removed, the partner that stayed, and the length of their edge, which never falls. The last
    sample has no edge, so one stays even if `keep` is 0.
    """
    threads = _threads_for(check_vectors(vectors), n_threads)
    if not (max_edge is None or max_edge >= 0):
        raise KernelError(f"max_edge must be 0 or more, not {max_edge}")
    count = max(0, len(vectors) - max(1, _check_count(keep)))
    removed, partner = np.empty((2, count), np.int64)
    squared = np.empty(count, np.float32)
    made = 0
    if count:
        until = np.inf if max_edge is None else float(max_edge)
        made = _remove_all(vectors, threads, until, removed, partner, squared, on_progress)
    return removed[:made].copy(), partner[:made].copy(), np.sqrt(squared[:made])


def check_vectors(vectors: Float, *, width: int | None = None, name: str = "vectors") -> Float:
    """The vectors themselves, if every kernel can take them: finite, C-contiguous float32 `(n, d)`, d > 0."""
    if not isinstance(vectors, np.ndarray) or vectors.dtype != np.float32 or vectors.ndim != 2:
        raise KernelError(f"{name} must be a two-dimensional float32 array")
    if not vectors.flags.c_contiguous or not vectors.flags.aligned or not vectors.dtype.isnative:
        raise KernelError(f"{name} must be C-contiguous in native byte order; pass numpy.ascontiguousarray({name})")
    if vectors.shape[1] == 0 or (width is not None and vectors.shape[1] != width):
        raise KernelError(f"{name} must be {width or 'at least 1'} wide, not {vectors.shape[1]}")
    if len(vectors) >= 2**31:
        raise KernelError(f"{name} must have fewer than {2**31} rows")
    _check_finite(vectors, name)
    return vectors


# --- coreset -----------------------------------------------------------------------------------------


def _lower_to_pool(
    vectors: Float, pool: Float, squared: Float, threads: int, on_progress: OnProgress | None, count: int
) -> None:
    step = _rows_a_slice(vectors, threads)
    for begin, end in _slices(len(pool), step):
        _coreset.lower(vectors, pool[begin:end], squared, threads)
        _tell(on_progress, 0, count)


def _first_pick(vectors: Float, squared: Float, has_pool: bool, start: int | None, threads: int) -> int:
    if start is not None:
        if not 0 <= start < len(vectors):
            raise KernelError(f"start must be a position from 0 to {len(vectors) - 1}, not {start}")
        return start
    return int(squared.argmax()) if has_pool else _central(vectors, threads)


def _central(vectors: Float, threads: int) -> int:
    total = np.zeros(vectors.shape[1], np.float64)
    for begin, end in _slices(len(vectors), max(1, _SLICE_TERMS // vectors.shape[1])):
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
    for _, end in _slices(count, _rows_a_slice(vectors, threads)):
        made, first = _coreset.pick(
            vectors, squared, rank, first, made, end, stop_at, positions, insertion, *work, threads
        )
        _tell(on_progress, made, count)
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
    threads = _threads_for(vectors, n_threads)
    squared, rank = np.empty(len(samples), np.float32), np.empty(len(samples), np.int64)
    step = max(threads, threads * _SLICE_TERMS // max(1, len(centres) * vectors.shape[1]))
    for begin, end in _slices(len(samples), step):
        _coreset.cover(vectors, samples, limits, centres, begin, end, squared, rank, threads)
        _tell(on_progress, end, len(samples))
    return np.sqrt(squared), rank


# --- adjacency ---------------------------------------------------------------------------------------


def _remove_all(
    vectors: Float,
    threads: int,
    until: float,
    removed: Positions,
    partner: Positions,
    squared: Float,
    on_progress: OnProgress | None,
) -> int:
    """Progress counts the samples whose lists are made, then the removals."""
    n, count = len(vectors), len(removed)
    graph = _adjacency.Graph(vectors, threads)
    rows = np.arange(n, dtype=np.int32)
    for linked in _link(graph, vectors, rows, threads):
        _tell(on_progress, linked, n + count)
    graph.offer_all()
    made, why = 0, _adjacency.FILLED
    while made < count and why != _adjacency.LONG_ENOUGH:
        made, why = graph.remove(made, min(made + _BLOCK, count), until, removed, partner, squared)
        _tell(on_progress, n + made, n + count)
        if why == _adjacency.SHORT_LIST:
            short = rows[: graph.short_lists(rows)]
            for _ in _link(graph, vectors, short, threads):
                _tell(on_progress, n + made, n + count)
    return made


def _link(graph: Any, vectors: Float, rows: NDArray[np.int32], threads: int) -> Iterator[int]:
    step = max(threads, threads * _SLICE_TERMS // (graph.alive_now * vectors.shape[1]))
    for begin, end in _slices(len(rows), step):
        graph.link(rows, begin, end)
        yield end


# --- arguments and slices ----------------------------------------------------------------------------


def _threads_for(vectors: Float, n_threads: int) -> int:
    if n_threads < 0:
        raise KernelError(f"n_threads must be 0 (automatic) or positive, not {n_threads}")
    return effective_threads(n_threads) if vectors.size >= _THREAD_TERMS else 1


def _rows_a_slice(vectors: Float, threads: int) -> int:
    """How many vectors may meet all the others in one slice of work."""
    return max(1, threads * _SLICE_TERMS // max(1, vectors.size))


def _slices(total: int, step: int) -> Iterator[tuple[int, int]]:
    for begin in range(0, total, step):
        yield begin, min(begin + step, total)


def _tell(on_progress: OnProgress | None, done: int, total: int) -> None:
    if on_progress is not None:
        on_progress(done, total)


def _check_count(count: int) -> int:
    if count < 0:
        raise KernelError(f"a count must be 0 or more, not {count}")
    return count


def _check_centres(centres: Positions, n: int) -> Positions:
    checked = np.asarray(centres)
    if checked.ndim != 1 or (len(checked) and not np.issubdtype(checked.dtype, np.integer)):
        raise KernelError("centres must be a one-dimensional array of positions")
    checked = np.ascontiguousarray(checked, np.int64)
    if len(checked) and (checked.min() < 0 or checked.max() >= n):
        raise KernelError(f"centres must be positions from 0 to {n - 1}")
    if len(np.unique(checked)) < len(checked):
        raise KernelError("centres must not repeat")
    return checked


def _check_finite(vectors: Float, name: str) -> None:
    bad: list[int] = []
    for begin, end in _slices(len(vectors), max(1, (1 << 22) // vectors.shape[1])):
        rows = vectors[begin:end]
        if not np.isfinite(rows).all():
            bad += (begin + np.flatnonzero(~np.isfinite(rows).all(axis=1))).tolist()
    if bad:
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise KernelError(f"{name} must be finite; rows {', '.join(map(str, bad[:5]))}{more} are not")
