"""Graphs over the samples: who lies nearest to whom, and what is left when the closest are thinned out."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kernels import _adjacency  # type: ignore[attr-defined]
from kernels.checks import (
    SLICE_TERMS,
    Float,
    KernelError,
    OnProgress,
    Positions,
    check_count,
    check_vectors,
    slices,
    tell,
    threads_for,
)

_REMOVALS: Final = 4096  # between two calls of on_progress


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
    threads = threads_for(check_vectors(vectors), n_threads)
    if not (max_edge is None or max_edge >= 0):
        raise KernelError(f"max_edge must be 0 or more, not {max_edge}")
    count = max(0, len(vectors) - max(1, check_count(keep)))
    removed, partner = np.empty((2, count), np.int64)
    squared = np.empty(count, np.float32)
    made = 0
    if count:
        until = np.inf if max_edge is None else float(max_edge)
        made = _remove_all(vectors, threads, until, removed, partner, squared, on_progress)
    return removed[:made].copy(), partner[:made].copy(), np.sqrt(squared[:made])


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
        tell(on_progress, linked, n + count)
    graph.offer_all()
    made, why = 0, _adjacency.FILLED
    while made < count and why != _adjacency.LONG_ENOUGH:
        made, why = graph.remove(made, min(made + _REMOVALS, count), until, removed, partner, squared)
        tell(on_progress, n + made, n + count)
        if why == _adjacency.SHORT_LIST:
            short = rows[: graph.short_lists(rows)]
            for _ in _link(graph, vectors, short, threads):
                tell(on_progress, n + made, n + count)
    return made


def _link(graph: Any, vectors: Float, rows: NDArray[np.int32], threads: int) -> Iterator[int]:
    step = max(threads, threads * SLICE_TERMS // (graph.alive_now * vectors.shape[1]))
    for begin, end in slices(len(rows), step):
        graph.link(rows, begin, end)
        yield end
