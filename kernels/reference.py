"""Every kernel again in plain numpy: slow, obvious, the truth the fast ones are held to; never used in production."""

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Positions = NDArray[np.int64]

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


def adjacency(vectors: Float, keep: int, *, max_edge: float | None = None) -> tuple[Positions, Positions, Float]:
    """Remove one end of the shortest edge, again and again."""
    table = np.array([squared_distances(vectors, row) for row in vectors], np.float32)
    alive = list(range(len(vectors)))
    removed: list[tuple[int, int, np.float32]] = []
    while len(alive) > max(keep, 1):
        shortest, i, j = min((table[a, b], a, b) for x, a in enumerate(alive) for b in alive[x + 1 :])
        if max_edge is not None and float(np.sqrt(shortest)) >= max_edge:
            break
        rest = [other for other in alive if other not in (i, j)]
        next_i, next_j = (table[end, rest].min(initial=np.inf) for end in (i, j))
        loser = i if next_i < next_j else j
        removed.append((loser, i + j - loser, shortest))
        alive.remove(loser)
    losers, partners, edges = zip(*removed, strict=True) if removed else ((), (), ())
    return np.array(losers, np.int64), np.array(partners, np.int64), np.sqrt(np.array(edges, np.float32))
