"""Which samples to keep, in order of worth: arrays in, arrays out; every method stands in one table.

A method turns vectors in canonical order into a ranking. What explains the ranking (nearest kept, distance, rank that
covered) is computed here once, the same for all, unless the method knows it already.
"""

from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

import kernels
from winnow.errors import InvalidVectors
from winnow.results import Report, Selection, Vectors, silent
from winnow.selection.adjacency import adjacency
from winnow.selection.base import Cover, Method, Ranking
from winnow.selection.coreset import coreset
from winnow.selection.shuffle import shuffle
from winnow.spec import SelectionSpec

METHODS: Final[dict[str, Method]] = {"coreset": coreset, "adjacency": adjacency, "random": shuffle}

_ROWS: Final = 4096  # scaled at a time


def select(
    spec: SelectionSpec,
    vectors: Vectors,
    *,
    seed: int,
    n_threads: int = 0,
    device: str = "cpu",
    report: Report = silent,
) -> Selection:
    """Rank by the method asked for, and explain every sample by its nearest kept one.

    Stages told: `selecting`, and `covering` where the method leaves that to do.
    """
    if len(vectors) == 0:
        raise InvalidVectors("there is no vector to select from")
    try:
        kernels.check_vectors(vectors)
        compared = compared_by(spec.metric, vectors, report)
        tell = partial(report, "selecting")
        ranking = METHODS[spec.method](compared, spec, seed=seed, n_threads=n_threads, device=device, tell=tell)
        cover = ranking.cover or _cover(compared, ranking, n_threads, report)
    except kernels.KernelError as error:
        raise InvalidVectors(str(error)) from error
    if not (np.isfinite(cover.distance).all() and np.isfinite(ranking.insertion[ranking.parts :]).all()):
        raise InvalidVectors("some vectors lie too far apart for float32; scale them down, or use the cosine metric")
    return Selection(
        positions=ranking.positions,
        insertion=ranking.insertion,
        nearest=cover.nearest,
        distance=cover.distance,
        covered_at=cover.covered_at,
        full_rank=_budgets(ranking, len(vectors)),
        radius=float(cover.distance.max()),
        proof=ranking.proof,
        notes={"metric": spec.metric, **ranking.notes},
    )


def compared_by(metric: str, vectors: Vectors, report: Report = silent) -> Vectors:
    """The vectors whose straight distances are the metric's."""
    return _at_length_one(vectors, report) if metric == "cosine" else vectors


def _cover(vectors: Vectors, ranking: Ranking, n_threads: int, report: Report) -> Cover:
    return Cover(
        *kernels.cover(
            vectors,
            ranking.positions,
            n_threads=n_threads,
            on_progress=lambda done, total: report("covering", done, total),
        )
    )


def _budgets(ranking: Ranking, n: int) -> NDArray[np.int64]:
    """The budget at which each sample would be kept, where the method knows; -1 elsewhere."""
    budgets = np.full(n, -1, np.int64)
    budgets[ranking.positions] = np.arange(1, len(ranking.positions) + 1)
    if ranking.would_follow is not None:
        budgets[ranking.would_follow] = np.arange(len(ranking.positions) + 1, n + 1)
    return budgets


def _at_length_one(vectors: Vectors, report: Report) -> Vectors:
    """Each row divided by its length, a new array; the same bits on every machine."""
    scaled = np.empty(vectors.shape, np.float32)
    without: list[int] = []
    for begin in range(0, len(vectors), _ROWS):
        rows = vectors[begin : begin + _ROWS].astype(np.float64)
        lengths = _lengths(rows)
        without += (begin + np.flatnonzero(lengths == 0)).tolist()
        scaled[begin : begin + _ROWS] = rows / np.where(lengths == 0, 1.0, lengths)[:, None]
        report("selecting", 0, 0)
    if without:
        listed = ", ".join(map(str, without[:5])) + (f" and {len(without) - 5} more" if len(without) > 5 else "")
        raise InvalidVectors(f"the cosine metric needs vectors of a length; rows {listed} are zero")
    return scaled


def _lengths(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Summed column after column, an order no library and no instruction set can change."""
    total = np.zeros(len(rows), np.float64)
    for column in np.ascontiguousarray(rows.T):
        total += column * column
    return np.sqrt(total)
