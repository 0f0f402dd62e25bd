"""How good vectors are, on data somebody has labelled: neighbours, a linear probe, few labels, near-duplicates.

Every figure comes with the half-width of its 95 % interval, and every one is about frozen vectors: nothing is tuned.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors

from winnow.errors import InvalidRequest
from winnow.results import Vectors

_NEIGHBOURS: Final = 10
_SEEDS: Final = 5
_DRAWS: Final = 10  # random selections that one is held against
_BUDGETS: Final = (50, 100, 200, 400, 800)
_STRENGTHS: Final = (0.03, 0.3, 3.0)  # inverse regularisation, chosen on a fifth of the training rows

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Figure:
    """A share from 0 to 1, and how far off it may be."""

    value: float
    within: float  # half-width of the 95 % interval


@dataclass(frozen=True)
class Quality:
    """What an encoder's vectors are worth on one labelled dataset."""

    knn_accuracy: Figure  # ten cosine neighbours among the training rows vote
    probe_accuracy: Figure  # a linear classifier on the training rows
    low_shot: dict[int, Figure]  # the same, trained on so many random labels
    intra_class_edges: Figure  # of the ten-neighbour graph: edges between samples of one class
    twin_recall: Figure | None  # near-duplicates whose nearest neighbour is the picture they were made of


@dataclass(frozen=True)
class Compared:
    """A linear classifier trained on the first of a ranking, and on as many random samples."""

    budget: int
    ranked: Figure
    random: Figure
    gain: Figure


def measure(
    vectors: Vectors,
    labels: Sequence[str],
    tests: NDArray[np.bool_],
    twins: tuple[Sequence[int], Vectors] | None = None,
) -> Quality:
    """`tests` marks the rows that only measure; `twins` are rows, and the vectors of near-duplicates of them."""
    if tests.all() or not tests.any() or len(set(np.asarray(labels)[~tests])) < 2:
        raise InvalidRequest("there must be pictures to learn from, of two classes or more, and others to test with")
    classes = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    mean, spread = _centre(vectors[~tests])
    rows = (vectors - mean) / spread
    neighbours = _neighbours(rows)
    return Quality(
        knn_accuracy=_knn(rows, classes, tests),
        probe_accuracy=_share(probe(rows, classes, ~tests, 0).predict(rows[tests]) == classes[tests]),
        low_shot={budget: _few(rows, classes, tests, budget) for budget in _BUDGETS if budget < (~tests).sum()},
        intra_class_edges=_share((classes[neighbours] == classes[:, None]).mean(axis=1)),
        twin_recall=_share(_nearest(rows, (twins[1] - mean) / spread) == np.asarray(twins[0])) if twins else None,
    )


def compare(
    vectors: Vectors, labels: Sequence[str], tests: NDArray[np.bool_], ranked: NDArray[np.int64]
) -> list[Compared]:
    """What the first samples of a ranking teach, against as many random ones; `tests` teach nobody."""
    classes = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    mean, spread = _centre(vectors[~tests])
    rows, taught = (vectors - mean) / spread, ranked[~tests[ranked]]
    budgets = [budget for budget in _BUDGETS if budget < len(taught)] + [len(taught)] * bool(len(taught))
    # As wide as must be for all budgets together to be right in 95 of 100 cases.
    wide = float(student_t.ppf(1 - 0.025 / max(1, len(budgets)), _DRAWS - 1)) * math.sqrt(1 + 1 / _DRAWS)
    return [_against_random(rows, classes, tests, taught[:budget], wide) for budget in budgets]


def _against_random(
    rows: Vectors, classes: Labels, tests: NDArray[np.bool_], chosen: NDArray[np.int64], wide: float
) -> Compared:
    """Whether the chosen could be one more random draw: the interval is of a single draw, not of the draws' mean.

    The interval of the tests themselves goes in too, though both are tested on the same: it claims too little rather
    than too much.
    """
    ranked = _share(_hits(rows, classes, tests, chosen))
    draws = _drawn(rows, classes, tests, len(chosen), _DRAWS)
    random = Figure(float(np.mean(draws)), wide * float(np.std(draws, ddof=1)))
    gain = Figure(ranked.value - random.value, math.hypot(random.within, ranked.within))
    return Compared(len(chosen), ranked, random, gain)


def _centre(rows: Vectors) -> tuple[NDArray[np.float32], float]:
    """The mean, and one scale for all directions."""
    mean = rows.mean(axis=0)
    return mean, float((rows - mean).std()) or 1.0


def _hits(rows: Vectors, classes: Labels, tests: NDArray[np.bool_], chosen: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which tests a classifier that was shown the chosen gets right; shown one class, it knows no other."""
    if len(set(classes[chosen])) == 1:
        return np.asarray(classes[tests] == classes[chosen[0]])
    return np.asarray(_fitted(rows, classes, chosen, 0.3).predict(rows[tests]) == classes[tests])


def _nearest(rows: Vectors, asked: Vectors) -> NDArray[np.int64]:
    found = NearestNeighbors(n_neighbors=1, metric="cosine").fit(rows).kneighbors(asked)[1]
    return np.asarray(found[:, 0], np.int64)


def _neighbours(rows: Vectors) -> NDArray[np.int64]:
    """(n, 10) by cosine, without the row itself."""
    found = NearestNeighbors(n_neighbors=_NEIGHBOURS + 1, metric="cosine").fit(rows).kneighbors(rows)[1]
    own = found == np.arange(len(rows))[:, None]
    own[:, -1] |= ~own.any(axis=1)  # among many twins the row itself may not be listed: the last one goes
    return np.asarray(found[~own].reshape(len(rows), _NEIGHBOURS), np.int64)


def _knn(rows: Vectors, classes: Labels, tests: NDArray[np.bool_]) -> Figure:
    fewer = min(_NEIGHBOURS, int((~tests).sum()))
    near = NearestNeighbors(n_neighbors=fewer, metric="cosine").fit(rows[~tests]).kneighbors(rows[tests])[1]
    votes = np.zeros((len(near), classes.max() + 1), np.int64)
    for column in classes[~tests][near].T:
        votes[np.arange(len(near)), column] += 1
    return _share(votes.argmax(axis=1) == classes[tests])


def probe(rows: Vectors, classes: Labels, known: NDArray[np.bool_], seed: int) -> LogisticRegression:
    """Fitted on the known rows, with the strength that does best on a fifth of them."""
    at = np.random.default_rng(seed).permutation(np.flatnonzero(known))
    held, rest = at[: len(at) // 5], at[len(at) // 5 :]
    if not len(held) or len(set(classes[rest])) < 2:  # too little to choose by
        return _fitted(rows, classes, at, _STRENGTHS[1])
    best = max(_STRENGTHS, key=lambda strength: _fitted(rows, classes, rest, strength).score(rows[held], classes[held]))
    return _fitted(rows, classes, at, best)


def _fitted(rows: Vectors, classes: Labels, at: NDArray[np.int64], strength: float) -> LogisticRegression:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few samples of many classes, and fits cut short, are what is measured here
        return LogisticRegression(C=strength, max_iter=500).fit(rows[at], classes[at])


def _few(rows: Vectors, classes: Labels, tests: NDArray[np.bool_], budget: int) -> Figure:
    """Means over random choices of the labelled; the interval is over the choices."""
    scores = _drawn(rows, classes, tests, budget, _SEEDS)
    return Figure(float(np.mean(scores)), 2.78 * float(np.std(scores, ddof=1)) / math.sqrt(_SEEDS))  # t of 4 degrees


def _drawn(rows: Vectors, classes: Labels, tests: NDArray[np.bool_], budget: int, draws: int) -> list[float]:
    """Accuracy after so many random choices of so many to learn from."""
    known = np.flatnonzero(~tests)
    chosen = (np.random.default_rng([seed, budget]).permutation(known)[:budget] for seed in range(draws))
    return [float(_hits(rows, classes, tests, some).mean()) for some in chosen]


def _share(hits: NDArray[np.float64] | NDArray[np.bool_]) -> Figure:
    share = float(np.mean(hits))
    return Figure(share, 1.96 * float(np.std(hits)) / math.sqrt(len(hits)))
