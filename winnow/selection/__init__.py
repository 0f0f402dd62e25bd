"""Which samples to keep, in order of worth: arrays in, arrays out; every method stands in one table.

A method turns vectors in canonical order into a ranking. What explains the ranking (nearest kept, distance, rank that
covered) is computed here once, the same for all.
"""

from typing import Any, Final

import numpy as np

import kernels
from winnow.errors import InvalidVectors
from winnow.results import Report, Selection, Vectors, silent
from winnow.selection.adjacency import adjacency
from winnow.selection.base import Method, Ranking
from winnow.selection.coreset import coreset
from winnow.selection.shuffle import shuffle
from winnow.spec import SelectionSpec

METHODS: Final[dict[str, Method]] = {"coreset": coreset, "adjacency": adjacency, "random": shuffle}


def select(
    spec: SelectionSpec, vectors: Vectors, *, seed: int, n_threads: int = 0, report: Report = silent
) -> Selection:
    """Rank by the method asked for, and explain every sample by its nearest kept one."""
    scaled = _scaled(vectors, spec.metric)
    # Half of the stage is ranking, half explaining; each tells its share of one total.
    ranking = METHODS[spec.method](
        scaled, spec, seed=seed, n_threads=n_threads, tell=lambda done, total: _share(report, done, total, 0)
    )
    nearest, distance, covered_at = kernels.cover(
        scaled,
        ranking.positions,
        n_threads=n_threads,
        on_progress=lambda done, total: _share(report, done, total, 1),
    )
    return Selection(
        positions=ranking.positions,
        insertion=ranking.insertion,
        nearest=nearest,
        distance=distance,
        covered_at=covered_at,
        full_rank=_budgets(ranking, len(vectors)),
        radius=float(distance.max()),
        notes={"metric": spec.metric, **ranking.notes},
    )


def _share(report: Report, done: int, total: int, half: int) -> None:
    report("selecting", half * 1000 + (1000 * done // total if total else 1000), 2000)


def _budgets(ranking: Ranking, n: int) -> Any:
    """The budget at which each sample would be kept, where the method knows; -1 elsewhere."""
    budgets = np.full(n, -1, np.int64)
    everyone = np.concatenate([ranking.positions, ranking.would_follow])
    budgets[everyone] = np.arange(1, len(everyone) + 1)
    return budgets


def _scaled(vectors: Vectors, metric: str) -> Vectors:
    """The vectors a metric compares: as they are, or each at length one."""
    if len(vectors) == 0:
        raise InvalidVectors("there is no vector to select from")
    if metric == "l2":
        return vectors
    norms = _norms(vectors)
    zero = np.flatnonzero(norms == 0)
    if len(zero):
        rows = ", ".join(str(row) for row in zero[:5])
        raise InvalidVectors(f"cosine needs vectors with a length; {len(zero)} have none (canonical rows {rows})")
    return np.ascontiguousarray(vectors / norms[:, None], np.float32)


def _norms(vectors: Vectors) -> Any:
    """Lengths in float64, summed column after column, so that every machine gets the same bits."""
    total = np.zeros(len(vectors), np.float64)
    for column in range(vectors.shape[1]):
        total += np.square(vectors[:, column].astype(np.float64))
    return np.sqrt(total)
