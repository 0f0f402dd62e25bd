"""Nearest neighbours, exact or fast: the only door to faiss.

Whatever finds the candidates, distances are the canonical ones and ties go to the lowest position. What faiss's lists
find depends on its build and its k-means; so its share of the truth is measured and told, and selections, which have to
be the same everywhere, use the exact kernels instead.
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

import kernels
from winnow.results import Positions, Vectors

try:
    import faiss
except ImportError:  # an install without it still works: everything is exact then
    faiss = None  # type: ignore[assignment]

EXACT_UP_TO: Final = 50_000  # samples; beyond, inverted lists are faster than looking at every pair (benchmarks)
_RECALL: Final = 0.95  # share of the true neighbours to be found, or as many lists are searched as it takes
_SAMPLE: Final = 256  # samples whose true neighbours are looked up to measure that
_SPARE: Final = 8  # candidates beyond k, as faiss rounds otherwise and may swap neighbours that are almost equally far
_TRAINED_ON: Final = 64  # samples a list


class Neighbors(NamedTuple):
    """Each sample's nearest others, nearest first; -1 at inf where fewer were found."""

    distances: NDArray[np.float32]  # (n, k)
    indices: Positions  # (n, k)
    engine: str  # "exact", or the faiss index
    recall: float  # share of the true neighbours found, measured on a sample; 1.0 if exact


def knn(vectors: Vectors, k: int, *, exact: bool | None = None, n_threads: int = 0) -> Neighbors:
    """The k nearest others of every sample (all, if they are fewer); exact=None decides by size."""
    kernels.check_vectors(vectors)
    if exact is None:
        exact = faiss is None or len(vectors) <= EXACT_UP_TO
    if exact or len(vectors) <= k:
        return Neighbors(*kernels.knn(vectors, k, n_threads=n_threads), "exact", 1.0)
    if faiss is None:
        raise RuntimeError("faiss is not installed; ask for exact neighbours, or install faiss-cpu or faiss-gpu")
    return _through_lists(vectors, k, kernels.effective_threads(n_threads))


def _through_lists(vectors: Vectors, k: int, threads: int) -> Neighbors:
    """Search more and more lists around each sample until the sample of truths is found well enough."""
    faiss.omp_set_num_threads(threads)
    index, lists = _index(vectors)
    rows = np.linspace(0, len(vectors) - 1, min(_SAMPLE, len(vectors))).astype(np.int64)
    truth = kernels.knn(vectors, k, rows=rows, n_threads=threads)[0]
    searched = 4
    while True:
        searched = min(2 * searched, lists)
        faiss.ParameterSpace().set_index_parameter(index, "nprobe", searched)
        found, _ = _search(index, vectors, rows, k, threads)
        recall = _share_found(found, truth)
        if recall >= _RECALL or searched == lists:
            break
    found, others = _search(index, vectors, np.arange(len(vectors)), k, threads)
    return Neighbors(found, others, f"IVF{lists},Flat nprobe={searched}", recall)


def _index(vectors: Vectors) -> tuple[Any, int]:
    """Lists of a few hundred samples around centres of k-means; on a GPU where faiss finds one."""
    lists = max(1, round(4 * len(vectors) ** 0.5))
    index: Any = faiss.index_factory(vectors.shape[1], f"IVF{lists},Flat")
    index.cp.seed = 0
    index.cp.max_points_per_centroid = _TRAINED_ON
    index.cp.min_points_per_centroid = 1
    index.cp.niter = 8
    if getattr(faiss, "get_num_gpus", lambda: 0)() > 0:
        index = faiss.index_cpu_to_all_gpus(index)
    index.train(vectors)
    index.add(vectors)
    return index, lists


def _search(index: Any, vectors: Vectors, rows: Positions, k: int, threads: int) -> tuple[Any, Positions]:
    _, candidates = index.search(vectors[rows], min(len(vectors), k + 1 + _SPARE))
    return kernels.nearest_of(vectors, rows, candidates, k, n_threads=threads)


def _share_found(found: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    """By distance, not by name: of many that are equally far any will do."""
    return float((found <= truth[:, -1:]).mean())
