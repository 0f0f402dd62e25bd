"""Random: a seeded shuffle of the canonical order, the baseline every method has to beat."""

import hashlib
from collections.abc import Callable

import numpy as np

import kernels
from winnow.results import Positions, Vectors
from winnow.selection.base import Ranking, Tell
from winnow.spec import RandomSelection

_DRAWS = 1 << 16  # between two calls of tell: some 50 ms


def shuffle(
    vectors: Vectors,
    spec: RandomSelection,
    *,
    seed: int,
    n_threads: int,
    device: str,  # noqa: ARG001 - there is nothing for a GPU to do
    tell: Tell,
) -> Ranking:
    """Sorted by a hash of seed and position: no library's generator, so the shuffle outlives every version of one."""
    n = len(vectors)
    keep = spec.target.budget(n)
    order = _shuffled(n, seed, lambda done: tell(done, n + keep))
    insertion = kernels.insertion_distances(
        vectors, order[:keep], n_threads=n_threads, on_progress=lambda done, _: tell(n + done, n + keep)
    )
    return Ranking(order[:keep], insertion, would_follow=order[keep:], notes={"seed": seed})


def _shuffled(n: int, seed: int, tell: Callable[[int], None]) -> Positions:
    keys = np.empty(n, np.uint64)
    for begin in range(0, n, _DRAWS):
        end = min(begin + _DRAWS, n)
        drawn = b"".join(hashlib.sha256(b"%d:%d" % (seed, at)).digest()[:8] for at in range(begin, end))
        keys[begin:end] = np.frombuffer(drawn, ">u8")
        tell(end)
    return np.argsort(keys, kind="stable").astype(np.int64)
