"""Random: a seeded shuffle of the canonical order, the baseline every method has to beat."""

import hashlib

import numpy as np

from winnow.results import Vectors
from winnow.selection.base import Ranking, Tell
from winnow.spec import RandomSelection


def shuffle(vectors: Vectors, spec: RandomSelection, *, seed: int, n_threads: int, tell: Tell) -> Ranking:  # noqa: ARG001 - there is nothing to thread
    """Sorted by a hash of seed and position: no library's generator, so the shuffle outlives every version of one."""
    n = len(vectors)
    drawn = [hashlib.sha256(b"%d:%d" % (seed, position)).digest() for position in range(n)]
    order = np.array(sorted(range(n), key=drawn.__getitem__), np.int64)
    keep = spec.target.budget(n)
    tell(n, n)
    insertion = np.full(keep, np.nan, np.float32)
    insertion[:1] = np.inf
    return Ranking(order[:keep], insertion, would_follow=order[keep:], notes={"seed": seed})
