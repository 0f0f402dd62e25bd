"""What a method is: a function from vectors to a ranking."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from winnow.results import Positions, Vectors

Tell = Callable[[int, int], None]


def _nobody() -> Positions:
    return np.empty(0, np.int64)


@dataclass(frozen=True)
class Ranking:
    """The kept in rank order, and, where the method knows them, those that a larger budget would add."""

    positions: Positions  # (k,)
    insertion: NDArray[np.float32]  # (k,) distance to everything ranked before; inf for the first
    would_follow: Positions = field(default_factory=_nobody)  # (n - k,) or empty
    notes: dict[str, Any] = field(default_factory=dict)


class Method(Protocol):
    """Deterministic: the same vectors, spec and seed give the same ranking for any number of threads."""

    def __call__(self, vectors: Vectors, spec: Any, *, seed: int, n_threads: int, tell: Tell) -> Ranking: ...
