"""Greedy k-center on a device that torch drives: the same picks as `kernels.coreset`, to the last bit.

The device does what it is good at: one large product a round says which samples the new picks could come closer to,
and only those pairs get the canonical distance. It is never fed one pick at a time. A round hands the few thousand
farthest samples to the host, where a compiled loop picks among them for as long as the farthest of them is farther
than every sample outside; so each pick is the farthest of all.
"""

from typing import Final

import numpy as np
import torch

import kernels
from kernels import Coreset
from winnow.results import Distances, Positions, Vectors
from winnow.selection.base import Tell

_FARTHEST: Final = 4096  # samples a round may pick among
_LANES: Final = 16  # of the canonical distance
_UNIT: Final = 2.0**-24  # the relative error of one float32 operation
_SPECK: Final = 1e-36  # more than all that may be lost to underflow in one distance
_PAIRS: Final = 1 << 25  # pairs of samples and picks looked at together: 128 MB of products


OutOfMemory: Final = torch.OutOfMemoryError  # of the device's; the kernels give the same picks without it


class DeviceRun:
    """As `kernels.CoresetRun`: `run(10)` and then `run(20)` give what `run(20)` gives, and what the kernels give.

    Every sample's distance to the picks so far is on the device ("cuda", "cuda:1", "cpu"); the picks are on the host.
    """

    def __init__(self, vectors: Vectors, device: str, *, pool: Vectors | None = None, start: int | None = None) -> None:
        if torch.get_float32_matmul_precision() != "highest":
            raise RuntimeError("the picks are proven for float32 products of the highest precision only")
        self._host, self._device, self._start = kernels.check_vectors(vectors), torch.device(device), start
        self._vectors = self.tensor(vectors)
        # Around the mean products cancel least; the shift's own rounding is part of the margin.
        self._mean = self._vectors.mean(0)
        self._centred = self._vectors - self._mean
        self._norms = self._centred.square().sum(1)
        self._squared = torch.full((len(vectors),), torch.inf, device=self._device)  # -1 where picked
        self._rank = torch.full((len(vectors),), -1, dtype=torch.int64, device=self._device)  # of the nearest pick
        self._picks: list[Positions] = []
        self._insertion: list[Distances] = []
        self._made = 0
        self._has_pool = pool is not None and len(pool) > 0
        if pool is not None and self._has_pool:
            rows = kernels.check_vectors(pool, width=vectors.shape[1], name="pool")
            self.meet(self.tensor(rows), first_rank=None)

    @property
    def positions(self) -> Positions:
        return np.concatenate([np.empty(0, np.int64), *self._picks])

    def run(self, count: int, *, min_radius: float = 0.0, on_progress: Tell = lambda _done, _total: None) -> None:
        """Until there are `count` picks, or everything lies within `min_radius` (0: never)."""
        count = min(count, len(self._host))
        if count and not self._made and (self._start is not None or not self._has_pool):
            first = kernels.central(self._host) if self._start is None else self._start
            if self.covers(first, min_radius):
                return
            self.take_first(first)
        while self._made < count and self.round(count, min_radius):
            on_progress(self._made, count)

    def cover(self, *, on_progress: Tell = lambda _done, _total: None) -> Coreset:
        """The picks with what covers every sample."""
        positions, insertion = self.positions, np.concatenate([np.empty(0, np.float32), *self._insertion])
        rank, squared = self._rank.cpu().numpy(), self._squared.cpu().numpy()
        nearest = np.where(rank >= 0, positions[np.maximum(rank, 0)], -1) if len(positions) else rank
        on_progress(self._made, self._made)
        return Coreset(positions, insertion, nearest, np.sqrt(np.maximum(squared, np.float32(0))), rank)

    def tensor(self, rows: Vectors) -> torch.Tensor:
        return torch.from_numpy(np.array(rows)).to(self._device)

    def round(self, count: int, min_radius: float) -> bool:
        """Take the picks that are sure to come next; False where all is picked or covered."""
        top = float(self._squared.max()) if len(self._squared) else -1.0
        if top < 0 or (min_radius > 0 and float(np.sqrt(np.float32(top))) <= min_radius):
            return False
        if top == 0:  # only twins of picks are left; they follow in canonical order
            twins = torch.nonzero(self._squared == 0)[: count - self._made, 0].cpu().numpy()
            self._note(twins, np.zeros(len(twins), np.float32))
            return True
        among, outside = self._farthest(top)
        picked, insertion = kernels.pick_among(
            self._host[among], self._squared[among].cpu().numpy(), count - self._made, max(outside, min_radius)
        )
        self.take(among[picked], insertion)
        return True

    def _farthest(self, top: float) -> tuple[Positions, float]:
        """Some samples in canonical order, and the distance that none of the others exceeds."""
        limit = float(torch.topk(self._squared, min(_FARTHEST, len(self._squared))).values[-1])
        outside = float(np.sqrt(np.float32(max(limit, 0.0))))
        if np.sqrt(np.float32(top)) > outside:
            return torch.nonzero(self._squared > limit)[:, 0].cpu().numpy(), outside
        first = torch.nonzero(self._squared == top)[:1, 0]  # thousands lie equally far: the lowest position wins
        return first.cpu().numpy(), 0.0

    def take(self, picks: Positions, insertion: Distances) -> None:
        """Make these the next picks, in this order."""
        self.meet(self._vectors[torch.from_numpy(picks).to(self._device)], first_rank=self._made)
        self._note(picks, insertion)

    def covers(self, position: int, radius: float) -> bool:
        return radius > 0 and float(self._squared[position].sqrt()) <= radius

    def take_first(self, position: int) -> None:
        first = np.array([position])
        self.take(first, np.sqrt(self._squared[first].cpu().numpy()))

    def _note(self, picks: Positions, insertion: Distances) -> None:
        at = torch.from_numpy(picks).to(self._device)
        self._squared[at] = -1
        self._rank[at] = torch.arange(self._made, self._made + len(picks), device=self._device)
        self._picks.append(picks)
        self._insertion.append(insertion)
        self._made += len(picks)

    def meet(self, centres: torch.Tensor, first_rank: int | None) -> None:
        """Lower every sample's distance to these centres; a pool has no rank."""
        step = max(1, _PAIRS // max(1, len(self._squared)))
        for begin in range(0, len(centres), step):
            rank = None if first_rank is None else first_rank + begin
            self._meet_some(centres[begin : begin + step], rank)

    def _meet_some(self, centres: torch.Tensor, first_rank: int | None) -> None:
        rows, columns = torch.nonzero(self._may_be_nearer(centres), as_tuple=True)
        for begin in range(0, len(rows), _PAIRS // self._vectors.shape[1]):
            part = slice(begin, begin + _PAIRS // self._vectors.shape[1])
            self._lower(rows[part], columns[part], centres, first_rank)

    def _may_be_nearer(self, centres: torch.Tensor) -> torch.Tensor:
        """(n, p): False only where the canonical distance is surely no smaller than the one known."""
        shifted = centres - self._mean
        norms = self._norms[:, None] + shifted.square().sum(1)
        # The norms, the product and the canonical distance are off by at most d + 32 roundings of `norms` each.
        margin = 4 * (self._vectors.shape[1] + 32) * _UNIT
        least = torch.addmm(norms, self._centred, shifted.T, alpha=-2.0) - margin * norms - _SPECK
        return ~(least >= self._squared[:, None])  # so that NaN, from overflow, is looked at

    def _lower(self, rows: torch.Tensor, columns: torch.Tensor, centres: torch.Tensor, first_rank: int | None) -> None:
        squared = _canonical(self._vectors[rows], centres[columns])
        nearer = squared < self._squared[rows]
        rows, columns, squared = rows[nearer], columns[nearer], squared[nearer]
        self._squared.scatter_reduce_(0, rows, squared, "amin")
        if first_rank is None:
            return
        nearest = squared == self._squared[rows]
        rows, ranks = rows[nearest], columns[nearest] + first_rank
        self._rank[rows] = torch.iinfo(torch.int64).max
        self._rank.scatter_reduce_(0, rows, ranks, "amin")  # ties go to the lowest rank


def _canonical(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The canonical squared distance of each pair of rows. Single operations: nothing here may be fused."""
    difference = a - b
    terms = torch.nn.functional.pad(difference * difference, (0, -a.shape[1] % _LANES)).view(len(a), -1, _LANES)
    lanes = terms[:, 0]
    for step in range(1, terms.shape[1]):
        lanes = lanes + terms[:, step]
    for half in (8, 4, 2, 1):
        lanes = lanes[:, :half] + lanes[:, half:]
    return lanes[:, 0]
