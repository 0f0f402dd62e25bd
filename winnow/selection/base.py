"""What a method is: a function from vectors to a ranking."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from winnow.results import Positions, Proof, Vectors

Tell = Callable[[int, int], None]  # done, total; a total of 0 is not known yet


def counted_on(tell: Tell, before: int, total: int) -> Tell:
    """What a part of the work may call: its steps count on from those done before it."""
    return lambda done, _: tell(before + done, total)


@dataclass(frozen=True)
class Cover:
    """What explains a ranking: the kept sample nearest to each sample (itself if kept)."""

    nearest: Positions  # (n,)
    distance: NDArray[np.float32]  # (n,)
    covered_at: Positions  # (n,) its rank


@dataclass(frozen=True)
class Ranking:
    """The kept in rank order, and, where the method knows them, those that a larger budget would add."""

    positions: Positions  # (k,)
    insertion: NDArray[np.float32]  # (k,) distance to everything ranked before; inf for the first of each part
    would_follow: Positions | None = None  # (n - k,) in the order in which larger budgets would keep them
    cover: Cover | None = None  # where the method knows it from its own pass
    proof: Proof | None = None
    parts: int = 1  # as many first ranks may be inf: no path leads from one part of a graph to another
    notes: dict[str, Any] = field(default_factory=dict)


class Method(Protocol):
    """Deterministic: the same vectors, spec and seed give the same ranking for any number of threads, on any device.

    Any prefix of a ranking is what the method would keep at that budget.
    """

    def __call__(
        self, vectors: Vectors, spec: Any, *, seed: int, n_threads: int, device: str, tell: Tell
    ) -> Ranking: ...
