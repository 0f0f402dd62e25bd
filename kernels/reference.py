"""Every kernel again in plain numpy: slow, obvious, the truth the fast ones are held to; never used in production."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Positions = NDArray[np.int64]
Lengths = NDArray[np.float64]  # (n, n)

_LANES = 16


def squared_distances(vectors: Float, point: Float) -> Float:
    """The canonical squared distance of every row to one point, bit for bit as `_distances.h` has it."""
    n, width = vectors.shape
    padded = np.zeros((n, -(-width // _LANES) * _LANES), np.float32)
    with np.errstate(over="ignore", under="ignore"):
        padded[:, :width] = vectors - point
        terms = (padded * padded).reshape(n, padded.shape[1] // _LANES, _LANES)
        lanes = np.zeros((n, _LANES), np.float32)
        for step in range(terms.shape[1]):
            lanes = lanes + terms[:, step]
        for half in (8, 4, 2, 1):
            lanes = lanes[:, :half] + lanes[:, half:]
    return lanes[:, 0]


def central(vectors: Float) -> int:
    """The sample nearest to the mean."""
    total = np.zeros(vectors.shape[1], np.float64)
    for row in vectors:
        total = total + row
    return int(squared_distances(vectors, (total / len(vectors)).astype(np.float32)).argmin())


def coreset(
    vectors: Float, count: int, *, pool: Float | None = None, start: int | None = None, min_radius: float = 0.0
) -> tuple[Positions, Float]:
    """Greedy k-center."""
    squared = np.full(len(vectors), np.inf, np.float32)
    for centre in pool if pool is not None else ():
        squared = np.minimum(squared, squared_distances(vectors, centre))
    positions: list[int] = []
    insertion: list[np.float32] = []
    while len(positions) < min(count, len(vectors)):
        at = int(squared.argmax())
        if not positions and start is not None:
            at = start
        elif not positions and (pool is None or not len(pool)):
            at = central(vectors)
        if min_radius > 0 and float(np.sqrt(squared[at])) <= min_radius:
            break
        positions.append(at)
        insertion.append(squared[at])
        squared = np.minimum(squared, squared_distances(vectors, vectors[at]))
        squared[positions] = -1
    return np.array(positions, np.int64), np.sqrt(np.array(insertion, np.float32))


def cover(vectors: Float, centres: Positions) -> tuple[Positions, Float, Positions]:
    """Each sample's nearest centre, its distance, its rank."""
    table = np.stack([squared_distances(vectors, vectors[centre]) for centre in centres], axis=1)
    rank = table.argmin(axis=1).astype(np.int64)
    rank[centres] = np.arange(len(centres))
    return centres[rank], np.sqrt(table[np.arange(len(vectors)), rank]), rank


def insertion_distances(vectors: Float, ranked: Positions) -> Float:
    """Each ranked sample's distance to everything ranked before it."""
    nearest = [squared_distances(vectors[ranked[:r]], vectors[at]).min(initial=np.inf) for r, at in enumerate(ranked)]
    return np.sqrt(np.array(nearest, np.float32))


def budget_curve(vectors: Float, ranked: Positions, budgets: Positions) -> tuple[Float, Float]:
    """The largest and the mean distance of any sample to the nearest of the first b ranked, for each b."""
    nearest = np.sqrt([[squared_distances(vectors[ranked[:b]], row).min() for row in vectors] for b in budgets])
    return nearest.max(axis=1), nearest.mean(axis=1, dtype=np.float64)


def lower_bound(vectors: Float, picks: Positions, each: int = 1) -> float:
    """The least distance from any sample to the first pick beyond the `each` nearest."""
    table = np.stack([squared_distances(vectors, vectors[pick]) for pick in picks], axis=1)
    return float(np.sqrt(np.sort(table, axis=1)[:, each].min()))


def knn(vectors: Float, k: int) -> tuple[Float, Positions]:
    """Every sample's k nearest others."""
    n = len(vectors)
    k = min(k, max(0, n - 1))
    distances, others = np.empty((n, k), np.float32), np.empty((n, k), np.int64)
    for i, row in enumerate(vectors):
        squared = squared_distances(vectors, row)
        nearest = [j for j in np.argsort(squared, kind="stable") if j != i][:k]
        distances[i], others[i] = np.sqrt(squared[nearest]), nearest
    return distances, others


def path_lengths(vectors: Float, neighbors: int) -> Lengths:
    """The length of the shortest path from each sample (row) to each other, along edges between near neighbours."""
    n = len(vectors)
    edges = np.full((n, n), np.inf)
    for i, (distances, others) in enumerate(zip(*knn(vectors, neighbors), strict=True)):
        edges[i, others] = edges[others, i] = distances
    lengths = np.where(np.eye(n, dtype=bool), 0.0, np.inf)
    while True:  # one more edge at the end of each path, until none makes a path shorter
        longer = lengths.copy()
        for middle in range(n):
            longer = np.minimum(longer, lengths[:, middle, None] + edges[middle])
        if (longer == lengths).all():
            return lengths
        lengths = longer


def adjacency(
    vectors: Float, keep: int, *, max_edge: float | None = None, graph: str = "complete", neighbors: int = 10
) -> tuple[Positions, Positions, Float]:
    """Remove one end of the shortest edge, again and again."""
    if graph == "local":
        return _thinned(path_lengths(vectors, neighbors), np.float32, keep, max_edge)
    return _thinned(np.array([squared_distances(vectors, row) for row in vectors]), np.sqrt, keep, max_edge)


def _thinned(
    table: Any, length: Callable[[Any], np.float32], keep: int, max_edge: float | None
) -> tuple[Positions, Positions, Float]:
    alive = list(range(len(table)))
    removed: list[tuple[int, int, np.float32]] = []
    while len(alive) > max(keep, 1):
        shortest, i, j = min((min(table[a, b], table[b, a]), a, b) for x, a in enumerate(alive) for b in alive[x + 1 :])
        if max_edge is not None and float(length(shortest)) >= max_edge:
            break
        rest = [other for other in alive if other not in (i, j)]
        next_i, next_j = (table[end, rest].min(initial=np.inf) for end in (i, j))
        loser = i if next_i < next_j else j
        removed.append((loser, i + j - loser, length(shortest)))
        alive.remove(loser)
    losers, partners, edges = zip(*removed, strict=True) if removed else ((), (), ())
    return np.array(losers, np.int64), np.array(partners, np.int64), np.array(edges, np.float32)


def geodesic_coreset(
    lengths: Lengths, count: int, *, start: int = 0, min_radius: float = 0.0
) -> tuple[Positions, Float, Positions, Float, Positions]:
    """Greedy k-center over the shortest paths, with nearest pick, distance to it and its rank."""
    n = len(lengths)
    nearest = np.full(n, np.inf)
    rank = np.full(n, -1, np.int64)
    positions: list[int] = []
    insertion: list[float] = []
    while len(positions) < min(count, n):
        others = [i for i in range(n) if i not in positions]
        at = max(others, key=lambda i: (nearest[i], -i)) if positions else start
        if min_radius > 0 and np.float32(nearest[at]) <= min_radius:
            break
        rank[(lengths[at] < nearest) | (np.arange(n) == at)] = len(positions)
        positions.append(at)
        insertion.append(nearest[at])
        nearest = np.minimum(nearest, lengths[at])
    picks = np.array(positions, np.int64)
    covering = np.where(rank >= 0, picks[rank] if len(picks) else -1, -1)
    return picks, np.array(insertion, np.float32), covering, nearest.astype(np.float32), rank
