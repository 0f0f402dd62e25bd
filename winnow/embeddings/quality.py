"""How good vectors are, on data somebody has labelled: neighbours, a linear probe, few labels, near-duplicates.

Every figure comes with the half-width of its 95 % interval, and every one is about frozen vectors: nothing is tuned.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors

from winnow.errors import InvalidRequest
from winnow.results import Vectors

_NEIGHBOURS: Final = 10
_SEEDS: Final = 5
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
    twin_recall: Figure  # near-duplicates whose nearest neighbour is the picture they were made of


def measure(
    vectors: Vectors, labels: Sequence[str], tests: NDArray[np.bool_], twins: tuple[Sequence[int], Vectors]
) -> Quality:
    """`tests` marks the rows that only measure; `twins` are rows, and the vectors of near-duplicates of them."""
    if tests.all() or not tests.any() or len(set(np.asarray(labels)[~tests])) < 2:
        raise InvalidRequest("there must be pictures to learn from, of two classes or more, and others to test with")
    classes = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    mean, spread = vectors[~tests].mean(axis=0), float((vectors[~tests] - vectors[~tests].mean(axis=0)).std()) or 1.0
    rows = (vectors - mean) / spread  # centred, one scale for all directions
    neighbours = _neighbours(rows)
    return Quality(
        knn_accuracy=_knn(rows, classes, tests),
        probe_accuracy=_share(probe(rows, classes, ~tests, 0).predict(rows[tests]) == classes[tests]),
        low_shot={budget: _few(rows, classes, tests, budget) for budget in _BUDGETS if budget < (~tests).sum()},
        intra_class_edges=_share((classes[neighbours] == classes[:, None]).mean(axis=1)),
        twin_recall=_share(_nearest(rows, (twins[1] - mean) / spread) == np.asarray(twins[0])),
    )


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
    near = NearestNeighbors(n_neighbors=_NEIGHBOURS, metric="cosine").fit(rows[~tests]).kneighbors(rows[tests])[1]
    votes = np.zeros((len(near), classes.max() + 1), np.int64)
    for column in classes[~tests][near].T:
        votes[np.arange(len(near)), column] += 1
    return _share(votes.argmax(axis=1) == classes[tests])


def probe(rows: Vectors, classes: Labels, known: NDArray[np.bool_], seed: int) -> LogisticRegression:
    """Fitted on the known rows, with the strength that does best on a fifth of them."""
    at = np.random.default_rng(seed).permutation(np.flatnonzero(known))
    held, rest = at[: len(at) // 5], at[len(at) // 5 :]
    best = max(_STRENGTHS, key=lambda strength: _fitted(rows, classes, rest, strength).score(rows[held], classes[held]))
    return _fitted(rows, classes, at, best)


def _fitted(rows: Vectors, classes: Labels, at: NDArray[np.int64], strength: float) -> LogisticRegression:
    return LogisticRegression(C=strength, max_iter=500).fit(rows[at], classes[at])


def _few(rows: Vectors, classes: Labels, tests: NDArray[np.bool_], budget: int) -> Figure:
    """Means over random choices of the labelled; the interval is over the choices."""
    scores = []
    for seed in range(_SEEDS):
        chosen = np.random.default_rng([seed, budget]).permutation(np.flatnonzero(~tests))[:budget]
        scores.append(_fitted(rows, classes, chosen, 0.3).score(rows[tests], classes[tests]))
    return Figure(float(np.mean(scores)), 2.78 * float(np.std(scores, ddof=1)) / math.sqrt(_SEEDS))  # t of 4 degrees


def _share(hits: NDArray[np.float64] | NDArray[np.bool_]) -> Figure:
    share = float(np.mean(hits))
    return Figure(share, 1.96 * float(np.std(hits)) / math.sqrt(len(hits)))
