"""The typed loops behind the selection methods: checked here, computed in Cython, repeated slowly in `reference`.

Every function gives the same bits for any number of threads. `on_progress(done, total)` is called between slices of
some ten milliseconds, with the GIL held; whatever it raises ends the work, which is how a job is cancelled.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kernels import _adjacency, _coreset  # type: ignore[attr-defined]
from kernels.threads import effective_threads

__all__ = ["KernelError", "adjacency", "central", "coreset", "cover", "effective_threads"]

Float = NDArray[np.float32]
Positions = NDArray[np.int64]
OnProgress = Callable[[int, int], None]

_BLOCK: Final = 4096  # rows a block, as in _coreset.pyx
_SLICE_TERMS: Final = 40_000_000  # squared differences between two calls of on_progress: some 10-20 ms


class KernelError(ValueError):
    """An argument a kernel refuses, and why."""


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

    The first pick is `start`, or the farthest from the pool, or the sample nearest to the mean, at distance inf.
    Stops at `count`, or when everything lies within `min_radius` (if positive). Ties go to the lowest position.
    """
    _check_vectors(vectors)
    count = min(_check_count(count), len(vectors))
    threads = effective_threads(n_threads)
    squared = np.full(len(vectors), np.inf, np.float32)
    if pool is not None and len(pool):
        _check_vectors(pool, width=vectors.shape[1], name="pool")
        _coreset.lower(vectors, pool, squared, threads)
    if count == 0:
        return np.empty(0, np.int64), np.empty(0, np.float32)
    first = _first_pick(vectors, squared, pool, start, threads)
    return _pick_all(vectors, squared, first, count, _stop_at(min_radius), threads, on_progress)


def cover(
    vectors: Float, centres: Positions, *, n_threads: int = 0, on_progress: OnProgress | None = None
) -> tuple[Positions, Float, Positions]:
    """Each sample's nearest centre, its distance, and the centre's rank; `centres` are positions in rank order."""
    _check_vectors(vectors)
    centres = np.ascontiguousarray(centres, np.int64)
    if len(vectors) and not len(centres):
        raise KernelError("there must be at least one centre")
    if len(centres) and (centres.min() < 0 or centres.max() >= len(vectors)):
        raise KernelError(f"centres must be positions from 0 to {len(vectors) - 1}")
    nearest, rank = np.empty((2, len(vectors)), np.int64)
    squared = np.empty(len(vectors), np.float32)
    step = max(1, _SLICE_TERMS // max(1, len(centres) * vectors.shape[1]))
    for begin in range(0, len(vectors), step):
        end = min(begin + step, len(vectors))
        _coreset.cover(vectors, centres, begin, end, nearest, squared, rank, effective_threads(n_threads))
        _tell(on_progress, end, len(vectors))
    return nearest, np.sqrt(squared), rank


def central(vectors: Float, *, n_threads: int = 0) -> int:
    """The sample nearest to the mean, which is summed in float64 in the order of the rows."""
    _check_vectors(vectors)
    if not len(vectors):
        raise KernelError("an empty set has no centre")
    total = np.zeros(vectors.shape[1], np.float64)
    for begin in range(0, len(vectors), _BLOCK):
        # accumulate() adds row after row; sum() would choose an order of its own
        total = np.add.accumulate(np.vstack([total, vectors[begin : begin + _BLOCK]]), axis=0)[-1]
    mean = (total / len(vectors)).astype(np.float32)
    squared = np.empty(len(vectors), np.float32)
    _coreset.squared_to(vectors, mean, squared, effective_threads(n_threads))
    return int(squared.argmin())


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
    order of removal, the removed, the partner that stayed, and the length of their edge.
    """
    _check_vectors(vectors)
    total = max(0, len(vectors) - _check_count(keep))
    until = np.float32(np.inf) if max_edge is None else np.float32(max_edge) * np.float32(max_edge)
    removed, partner = np.empty((2, total), np.int64)
    squared = np.empty(total, np.float32)
    made = 0
    if total:
        graph = _linked(vectors, effective_threads(n_threads), total, on_progress)
        made = _remove_all(graph, until, removed, partner, squared, on_progress)
    return removed[:made], partner[:made], np.sqrt(squared[:made])


def _pick_all(
    vectors: Float,
    squared: Float,
    first: int,
    count: int,
    stop_at: float,
    threads: int,
    on_progress: OnProgress | None,
) -> tuple[Positions, Float]:
    positions, insertion = np.empty(count, np.int64), np.empty(count, np.float32)
    blocks = -(-len(vectors) // _BLOCK)
    work = np.empty(blocks, np.float32), np.empty(blocks, np.int64)
    step = max(1, _SLICE_TERMS // vectors.size)
    made = 0
    while made < count and first >= 0 and not (made and squared[first] <= stop_at):
        size = min(step, count - made)
        picked, first = _coreset.pick(
            vectors, squared, first, size, stop_at, positions[made:], insertion[made:], *work, threads
        )
        made += picked
        _tell(on_progress, made, count)
    return positions[:made], np.sqrt(insertion[:made])


def _first_pick(vectors: Float, squared: Float, pool: Float | None, start: int | None, threads: int) -> int:
    if start is not None:
        if not 0 <= start < len(vectors):
            raise KernelError(f"start must be a position from 0 to {len(vectors) - 1}, not {start}")
        return start
    if pool is not None and len(pool):
        return int(_coreset.farthest(squared))
    return central(vectors, n_threads=threads)


def _stop_at(min_radius: float) -> float:
    """The squared distance at which to stop; -1 for never, so that duplicates at distance 0 still get a rank."""
    if not min_radius >= 0:
        raise KernelError(f"min_radius must be 0 or more, not {min_radius}")
    return float(np.float32(min_radius) * np.float32(min_radius)) if min_radius > 0 else -1.0


def _linked(vectors: Float, threads: int, total: int, on_progress: OnProgress | None) -> "_adjacency.Graph":
    graph = _adjacency.Graph(vectors, threads)
    step = max(1, _SLICE_TERMS // vectors.size)
    for begin in range(0, len(vectors), step):
        graph.link(begin, min(begin + step, len(vectors)))
        _tell(on_progress, 0, total)
    return graph


def _remove_all(
    graph: "_adjacency.Graph",
    until: np.float32,
    removed: Positions,
    partner: Positions,
    squared: Float,
    on_progress: OnProgress | None,
) -> int:
    made, step = 0, 64  # a removal may scan the set anew, so few at a time
    while made < len(removed):
        size = min(step, len(removed) - made)
        more = graph.remove(size, until, removed[made:], partner[made:], squared[made:])
        made += more
        _tell(on_progress, made, len(removed))
        if more < size:
            break
    return made


def _tell(on_progress: OnProgress | None, done: int, total: int) -> None:
    if on_progress is not None:
        on_progress(done, total)


def _check_count(count: int) -> int:
    if count < 0:
        raise KernelError(f"a count must be 0 or more, not {count}")
    return count


def _check_vectors(vectors: Float, *, width: int | None = None, name: str = "vectors") -> None:
    if not isinstance(vectors, np.ndarray) or vectors.dtype != np.float32 or vectors.ndim != 2:
        raise KernelError(f"{name} must be a two-dimensional float32 array")
    if not vectors.flags.c_contiguous or not vectors.dtype.isnative:
        raise KernelError(f"{name} must be C-contiguous in native byte order; pass numpy.ascontiguousarray({name})")
    if vectors.shape[1] == 0 or (width is not None and vectors.shape[1] != width):
        raise KernelError(f"{name} must be {width or 'at least 1'} wide, not {vectors.shape[1]}")
    for begin in range(0, len(vectors), 65_536):
        bad = np.flatnonzero(~np.isfinite(vectors[begin : begin + 65_536]).all(axis=1))
        if len(bad):
            rows = ", ".join(str(begin + row) for row in bad[:5])
            raise KernelError(f"{name} must be finite; rows {rows} are not")
