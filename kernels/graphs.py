"""Graphs over the samples: who lies nearest to whom, and what is left when the closest are thinned out."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels import _adjacency, _neighbors, _paths, instructions  # type: ignore[attr-defined]
from kernels.checks import (
    Float,
    KernelError,
    OnProgress,
    Positions,
    check_centres,
    check_count,
    check_vectors,
    part,
    slices,
    tell,
    threads_for,
)
from kernels.threads import effective_threads

# Between two calls of on_progress, some ten milliseconds:
_REMOVALS: Final = 4096
_SEARCHES: Final = 4096
_GROUPS: Final = 4  # of neighbour queries, a thread
_LEAF: Final = 512  # samples in a bucket, at most
_BUCKETS_VALUES: Final = 1 << 21  # coordinates of samples put into buckets, a thread


class NeighborGraph(NamedTuple):
    """Who is joined to whom, each edge from both its ends: sample i to `ends[starts[i]:starts[i + 1]]`."""

    starts: Positions  # (n + 1,)
    ends: Positions  # (m,) rising within a sample
    lengths: Float  # (m,)


class PathCoreset(NamedTuple):
    """The picks, and what covers every sample, by the length of paths; -1 where no path leads to a pick."""

    positions: Positions  # (k,) in order of picking
    insertion: Float  # (k,) distance to everything picked before; inf where no path leads there
    nearest: Positions  # (n,) position of the nearest pick
    distance: Float  # (n,) to it
    covered_at: Positions  # (n,) its rank


def knn(
    vectors: Float,
    k: int,
    *,
    rows: Positions | None = None,
    n_threads: int = 0,
    on_progress: OnProgress | None = None,
) -> tuple[Float, Positions]:
    """Every sample's k nearest others (all, if they are fewer), exactly: distances and positions, both `(n, k)`.

    Nearest first; ties go to the lowest position. With `rows`, the neighbours of these samples only.
    """
    n = len(check_vectors(vectors))
    threads = threads_for(vectors, n_threads)
    asked = np.arange(n) if rows is None else check_centres(rows, n)
    squared, others = _nearest(vectors, asked, min(check_count(k), max(0, n - 1)), threads, on_progress)
    return np.sqrt(squared), others.astype(np.int64)


def nearest_of(
    vectors: Float, rows: Positions, candidates: Positions, k: int, *, n_threads: int = 0
) -> tuple[Float, Positions]:
    """The k nearest of each row's candidates `(m, c)`, itself aside; -1 at inf where they are fewer.

    A candidate below 0 is nobody. Candidates must not repeat within a row; ties go to the lowest position.
    """
    n = len(check_vectors(vectors))
    rows = check_centres(rows, n)
    others = np.ascontiguousarray(candidates, np.int64)
    if others.ndim != 2 or len(others) != len(rows) or (others.size and others.max() >= n):
        raise KernelError(f"candidates must be a row for each row, of positions below {n}")
    others = np.where((others == rows[:, None]) | (others < 0), -1, others)
    squared = np.empty(others.shape, np.float32)
    _neighbors.distances(vectors, rows, others, squared, threads_for(vectors, n_threads))
    order = np.lexsort((np.where(others < 0, n, others), squared))[:, : check_count(k)]
    return np.sqrt(np.take_along_axis(squared, order, 1)), np.take_along_axis(others, order, 1)


def neighbor_graph(
    vectors: Float, neighbors: int = 10, *, n_threads: int = 0, on_progress: OnProgress | None = None
) -> NeighborGraph:
    """Two samples are joined where either is among the other's nearest `neighbors`; the edge is their distance."""
    if neighbors < 1:
        raise KernelError(f"neighbors must be 1 or more, not {neighbors}")
    distances, others = knn(vectors, neighbors, n_threads=n_threads, on_progress=on_progress)
    return joined(distances, others)


def joined(distances: Float, others: Positions) -> NeighborGraph:
    """The graph of lists of nearest others; a distance beyond float32 (inf) joins nobody."""
    n, k = others.shape
    near, far = np.repeat(np.arange(n), k), others.ravel()
    finite = np.isfinite(distances.ravel())
    near, far, lengths = near[finite], far[finite], distances.ravel()[finite]
    return _from_edges(n, np.concatenate([near, far]), np.concatenate([far, near]), np.tile(lengths, 2))


def adjacency(
    vectors: Float,
    keep: int,
    *,
    max_edge: float | None = None,
    graph: Literal["complete", "local"] = "complete",
    neighbors: int = 10,
    n_threads: int = 0,
    on_progress: OnProgress | None = None,
) -> tuple[Positions, Positions, Float]:
    """Remove one end of the shortest edge, again and again, until `keep` remain or no edge is shorter than `max_edge`.

    Of the two ends the one goes whose next-nearest neighbour is closer; on a tie the larger position. Returns, in
    order of removal, the removed, the partner that stayed, and the length of their edge, which never falls. The last
    sample has no edge, so one stays even if `keep` is 0.

    In the complete graph every two samples have an edge, their distance. In the local graph it is the shortest path
    from near neighbour to near neighbour (`neighbor_graph`), through removed samples too; inf where there is none.
    """
    threads = threads_for(check_vectors(vectors), n_threads)
    if not (max_edge is None or max_edge >= 0):
        raise KernelError(f"max_edge must be 0 or more, not {max_edge}")
    if graph not in ("complete", "local"):
        raise KernelError(f"graph must be complete or local, not {graph}")
    count = max(0, len(vectors) - max(1, check_count(keep)))
    if graph == "local":
        total = 2 * len(vectors) + count
        paths = neighbor_graph(vectors, neighbors, n_threads=threads, on_progress=part(on_progress, 0, total))
        tell_on = part(on_progress, len(vectors), total)
        return path_adjacency(paths, keep, max_edge=max_edge, n_threads=threads, on_progress=tell_on)
    return _complete_adjacency(vectors, count, max_edge, threads, on_progress)


def path_adjacency(
    graph: NeighborGraph,
    keep: int,
    *,
    max_edge: float | None = None,
    n_threads: int = 0,
    on_progress: OnProgress | None = None,
) -> tuple[Positions, Positions, Float]:
    """`adjacency` over the shortest paths of a graph.

    A path's length is the sum of its edges in float64, from the sample that measures; a pair is as far apart as the
    nearer of its ends says, and which end goes is decided by what each says itself.
    """
    if not (max_edge is None or max_edge >= 0):
        raise KernelError(f"max_edge must be 0 or more, not {max_edge}")
    n = check_graph(graph)
    room = max(0, n - max(1, check_count(keep)))
    if not room:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
    lowest = np.empty(n, np.int64)
    _paths.joined_at_zero(*graph, lowest)
    parts = [_remove_same(lowest, room, max_edge)]
    parts.append(_remove_along(graph, lowest, room - len(parts[0][0]), max_edge, n_threads, on_progress))
    if max_edge is None:
        gone = np.concatenate([piece[0] for piece in parts])
        parts.append(_remove_apart(n, gone, room - len(gone)))
    return _in_sequence(*parts)


def geodesic_coreset(
    graph: NeighborGraph,
    count: int,
    *,
    start: int = 0,
    min_radius: float = 0.0,
    on_progress: OnProgress | None = None,
) -> PathCoreset:
    """Greedy k-center over the shortest paths of a graph, summed in float64 from the pick.

    What no path joins to any pick is infinitely far, so it comes first: one pick in every part of the graph, in
    canonical order, then the farthest. Stops at `count`, or when everything lies within `min_radius` (0: never).
    """
    n = check_graph(graph)
    count = min(check_count(count), n)
    if not min_radius >= 0:
        raise KernelError(f"min_radius must be 0 or more, not {min_radius}")
    if count and not 0 <= start < n:
        raise KernelError(f"start must be a position from 0 to {n - 1}, not {start}")
    picks, insertion = np.empty(count, np.int64), np.empty(count, np.float64)
    length, rank = np.full(n, np.inf), np.full(n, -1, np.int64)
    made = _pick_along(graph, start, min_radius or -1.0, picks, insertion, length, rank, on_progress) if count else 0
    nearest = np.where(rank >= 0, picks[rank], -1) if made else rank.copy()
    return PathCoreset(
        picks[:made].copy(), insertion[:made].astype(np.float32), nearest, length.astype(np.float32), rank
    )


def check_graph(graph: NeighborGraph) -> int:
    """The number of samples, if the graph can be walked without a second look."""
    kinds = zip(graph, (np.int64, np.int64, np.float32), strict=True)
    if not all(isinstance(array, np.ndarray) and array.ndim == 1 and array.dtype == kind for array, kind in kinds):
        raise KernelError("a graph is starts and ends in int64 and lengths in float32, each of one dimension")
    starts, ends, lengths = graph
    if not all(array.flags.c_contiguous for array in graph):
        raise KernelError("the arrays of a graph must be C-contiguous")
    if not (
        len(starts) and starts[0] == 0 and starts[-1] == len(ends) == len(lengths) and (np.diff(starts) >= 0).all()
    ):
        raise KernelError("starts must rise from 0 to the number of ends, which is that of lengths")
    n = len(starts) - 1
    if n >= 2**31 or (len(ends) and not (ends.min() >= 0 and ends.max() < n)):
        raise KernelError(f"ends must be positions from 0 to {n - 1}")
    if not (np.isfinite(lengths) & (lengths >= 0)).all():
        raise KernelError("lengths must be finite, and 0 or more")
    return n


# --- neighbours --------------------------------------------------------------------------------------


def index_of(vectors: Float, members: NDArray[np.int32], threads: int, tick: Callable[[], None]) -> Any:
    """An index of these members; calls `tick` between slices of work."""
    index = _neighbors.Index(vectors, members, instructions.level())
    while index.split(threads):
        tick()
    step = max(threads, threads * _BUCKETS_VALUES // (_LEAF * vectors.shape[1]))
    for begin, end in slices(index.lay_out(), step):
        index.fill(begin, end, threads)
        tick()
    return index


def _nearest(
    vectors: Float, rows: Positions, k: int, threads: int, on_progress: OnProgress | None
) -> tuple[Float, NDArray[np.int32]]:
    m, n = len(rows), len(vectors)
    squared, others = np.empty((m, k), np.float32), np.empty((m, k), np.int32)
    if not (k and m):
        return squared, others
    index = index_of(vectors, np.arange(n, dtype=np.int32), threads, lambda: tell(on_progress, 0, m))
    order = index.sorted(rows.astype(np.int32)).astype(np.int32)
    asked = rows.astype(np.int32)[order]
    groups = index.groups(asked)
    for begin, end in slices(len(groups) - 1, _GROUPS * threads):
        _neighbors.nearest(index, asked, asked, order, groups, begin, end, others, squared, threads)
        tell(on_progress, int(groups[end]), m)
    return squared, others


def _from_edges(n: int, near: Positions, far: Positions, lengths: Float) -> NeighborGraph:
    """Sorted by near, then far; an edge named twice has one length, and counts once."""
    _, first = np.unique(near * n + far, return_index=True)
    starts = np.searchsorted(near[first], np.arange(n + 1))
    return NeighborGraph(starts.astype(np.int64), far[first].astype(np.int64), lengths[first])


# --- coreset over paths ------------------------------------------------------------------------------


def _pick_along(
    graph: NeighborGraph,
    start: int,
    stop_at: float,
    picks: Positions,
    insertion: NDArray[np.float64],
    length: NDArray[np.float64],
    rank: Positions,
    on_progress: OnProgress | None,
) -> int:
    run = _paths.Coreset(*graph, start, length, rank)
    made, more = 0, True
    while more:
        made, more = run.pick(made, stop_at, picks, insertion)
        tell(on_progress, made, len(picks))
    return int(made)


# --- adjacency over paths ----------------------------------------------------------------------------

_Removals = tuple[Positions, Positions, Float]


def _in_sequence(*parts: _Removals) -> _Removals:
    removed, partner, edge = zip(*parts, strict=True)
    return np.concatenate(removed), np.concatenate(partner), np.concatenate(edge)


def _remove_same(lowest: Positions, room: int, max_edge: float | None) -> _Removals:
    """First what lies at distance zero from a lower sample.

    Such samples are equally far from all others, so both ends of their edge have the same next-nearest, and the
    larger position goes: group by group, in the order of the lowest of each.
    """
    same = np.flatnonzero(lowest != np.arange(len(lowest)))
    removed = same[np.argsort(lowest[same], kind="stable")][: room if max_edge != 0 else 0]
    return removed, lowest[removed], np.zeros(len(removed), np.float32)


def _remove_along(
    graph: NeighborGraph,
    lowest: Positions,
    room: int,
    max_edge: float | None,
    n_threads: int,
    on_progress: OnProgress | None,
) -> _Removals:
    """Then, one sample for each group, along paths that all have a length. Progress counts the searches, then these."""
    n = len(lowest)
    removed, partner, edge = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.float32)
    made, why = 0, _paths.PAUSED if room else _paths.FILLED
    if room:
        alive = (lowest == np.arange(n)).view(np.uint8)
        run = _paths.Adjacency(*_contracted(graph, lowest), alive, effective_threads(n_threads))
        for begin, end in slices(n, _SEARCHES):
            run.link(begin, end)
            tell(on_progress, end, n + room)
    while why == _paths.PAUSED:
        made, why = run.remove(made, np.inf if max_edge is None else max_edge, removed, partner, edge)
        tell(on_progress, n + (made if why == _paths.PAUSED else room), n + room)
    return removed[:made], partner[:made], edge[:made]


def _remove_apart(n: int, gone: Positions, room: int) -> _Removals:
    """Last what no path joins: every edge is inf, and every next-nearest too, so of the lowest two the larger goes."""
    left = np.setdiff1d(np.arange(n), gone, assume_unique=True)
    removed = left[1 : room + 1]
    return removed, np.repeat(left[:1], len(removed)), np.full(len(removed), np.inf, np.float32)


def _contracted(graph: NeighborGraph, lowest: Positions) -> NeighborGraph:
    """The graph with each group drawn together into its lowest sample; of parallel edges the shortest stays."""
    n = len(lowest)
    if (lowest == np.arange(n)).all():
        return graph
    near, far = lowest[np.repeat(np.arange(n), np.diff(graph.starts))], lowest[graph.ends]
    apart = near != far
    near, far, lengths = near[apart], far[apart], graph.lengths[apart]
    order = np.argsort(lengths, kind="stable")
    return _from_edges(n, near[order], far[order], lengths[order])


# --- adjacency over the complete graph ---------------------------------------------------------------


def _complete_adjacency(
    vectors: Float, room: int, max_edge: float | None, threads: int, on_progress: OnProgress | None
) -> _Removals:
    """Equal vectors first, as what lies at zero over paths; then one sample for each."""
    if not room or max_edge == 0:  # no edge is shorter than 0
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
    lowest = _lowest_equal(vectors)
    same = _remove_same(lowest, room, max_edge)
    living = np.flatnonzero(lowest == np.arange(len(vectors))).astype(np.int32)
    rest = _remove_all(vectors, living, room - len(same[0]), max_edge, threads, on_progress)
    if rest is None:  # different vectors whose distance underflows: they are no group, so none is drawn together
        living = np.arange(len(vectors), dtype=np.int32)
        return _remove_all(vectors, living, room, max_edge, threads, on_progress)  # type: ignore[return-value]
    return _in_sequence(same, rest)


def _remove_all(
    vectors: Float,
    living: NDArray[np.int32],
    room: int,
    max_edge: float | None,
    threads: int,
    on_progress: OnProgress | None,
) -> _Removals | None:
    """Progress counts the samples whose lists are made, then the removals. None where two lie at distance zero."""
    n, total = len(living), len(living) + room
    removed, partner, squared = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.float32)
    graph = _adjacency.Graph(len(vectors), living, threads)
    index = index_of(vectors, living, threads, lambda: tell(on_progress, 0, total))
    for linked in _link(graph, index, living, threads):
        tell(on_progress, linked, total)
    if len(living) < len(vectors) and graph.any_at_zero():
        return None
    graph.offer_all()
    made, why = 0, _adjacency.FILLED
    until = np.inf if max_edge is None else float(max_edge)
    while made < room and why != _adjacency.LONG_ENOUGH:
        made, why = graph.remove(made, min(made + _REMOVALS, room), until, removed, partner, squared)
        tell(on_progress, n + made, total)
        if why == _adjacency.SHORT_LIST:
            index = _link_short(graph, vectors, index, threads, partial(tell, on_progress, n + made, total))
    return removed[:made], partner[:made], np.sqrt(squared[:made])


def _link_short(graph: Any, vectors: Float, index: Any, threads: int, tick: Callable[[], None]) -> Any:
    """Make all short lists anew, in an index without the dead once these are half of it."""
    short = graph.short_lists()
    if 2 * graph.alive_now < index.size:
        index = index_of(vectors, graph.living_now(), threads, tick)
    for _ in _link(graph, index, short, threads):
        tick()
    return index


def _link(graph: Any, index: Any, rows: NDArray[np.int32], threads: int) -> Iterator[int]:
    graph.look_in(index)
    asked = rows[index.sorted(rows)]
    groups = index.groups(asked)
    for begin, end in slices(len(groups) - 1, _GROUPS * threads):
        graph.link(asked, groups, begin, end)
        yield int(groups[end])


def _lowest_equal(vectors: Float) -> Positions:
    """The first of all samples with the same vector, for each."""
    n = len(vectors)
    digests = np.empty(n, np.uint64)
    _neighbors.digests(vectors, digests)
    order = np.argsort(digests, kind="stable")
    first_of_run = np.ones(n, bool)
    first_of_run[1:] = np.diff(digests[order]) != 0
    lowest = np.empty(n, np.int64)
    lowest[order] = order[np.flatnonzero(first_of_run)[np.cumsum(first_of_run) - 1]]
    others = np.flatnonzero(lowest != np.arange(n))
    for begin, end in slices(len(others), max(1, (1 << 22) // vectors.shape[1])):
        some = others[begin:end]
        differ = some[(vectors[some] != vectors[lowest[some]]).any(axis=1)]
        lowest[differ] = differ  # two vectors, one digest
    return lowest
