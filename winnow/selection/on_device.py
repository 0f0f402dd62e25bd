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


def coreset_on_device(
    vectors: Vectors,
    count: int,
    device: str,
    *,
    pool: Vectors | None = None,
    start: int | None = None,
    min_radius: float = 0.0,
    tell: Tell = lambda _done, _total: None,
) -> Coreset:
    """`kernels.coreset_with_cover`, computed on `device`: "cuda", "cuda:1", "cpu"."""
    if torch.get_float32_matmul_precision() != "highest":
        raise RuntimeError("the picks are proven for float32 products of the highest precision only")
    run = _Run(kernels.check_vectors(vectors), torch.device(device))
    count = min(count, len(vectors))
    has_pool = pool is not None and len(pool) > 0
    if pool is not None and has_pool:
        run.meet(run.tensor(kernels.check_vectors(pool, width=vectors.shape[1], name="pool")), first_rank=None)
    if count and (start is not None or not has_pool):
        first = kernels.central(vectors) if start is None else start
        if run.covers(first, min_radius):
            return run.result()
        run.take_first(first)
    while run.made < count and run.round(count, min_radius):
        tell(run.made, count)
    return run.result()


class _Run:
    """Every sample's distance to the picks so far, on the device; the picks, on the host."""

    def __init__(self, vectors: Vectors, device: torch.device) -> None:
        self._host, self._device = vectors, device
        self._vectors = self.tensor(vectors)
        # Around the mean products cancel least; the shift's own rounding is part of the margin.
        self._mean = self._vectors.mean(0)
        self._centred = self._vectors - self._mean
        self._norms = self._centred.square().sum(1)
        self._squared = torch.full((len(vectors),), torch.inf, device=device)  # -1 where picked
        self._rank = torch.full((len(vectors),), -1, dtype=torch.int64, device=device)  # of the nearest pick
        self._picks: list[Positions] = []
        self._insertion: list[Distances] = []
        self.made = 0

    def tensor(self, rows: Vectors) -> torch.Tensor:
        return torch.from_numpy(np.array(rows)).to(self._device)

    def round(self, count: int, min_radius: float) -> bool:
        """Take the picks that are sure to come next; False where all is picked or covered."""
        top = float(self._squared.max()) if len(self._squared) else -1.0
        if top < 0 or (min_radius > 0 and float(np.sqrt(np.float32(top))) <= min_radius):
            return False
        if top == 0:  # only twins of picks are left; they follow in canonical order
            twins = torch.nonzero(self._squared == 0)[: count - self.made, 0].cpu().numpy()
            self._note(twins, np.zeros(len(twins), np.float32))
            return True
        among, outside = self._farthest(top)
        picked, insertion = kernels.pick_among(
            self._host[among], self._squared[among].cpu().numpy(), count - self.made, max(outside, min_radius)
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
        self.meet(self._vectors[torch.from_numpy(picks).to(self._device)], first_rank=self.made)
        self._note(picks, insertion)

    def covers(self, position: int, radius: float) -> bool:
        return radius > 0 and float(self._squared[position].sqrt()) <= radius

    def take_first(self, position: int) -> None:
        first = np.array([position])
        self.take(first, np.sqrt(self._squared[first].cpu().numpy()))

    def _note(self, picks: Positions, insertion: Distances) -> None:
        at = torch.from_numpy(picks).to(self._device)
        self._squared[at] = -1
        self._rank[at] = torch.arange(self.made, self.made + len(picks), device=self._device)
        self._picks.append(picks)
        self._insertion.append(insertion)
        self.made += len(picks)

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

    def result(self) -> Coreset:
        positions = np.concatenate(self._picks) if self._picks else np.empty(0, np.int64)
        insertion = np.concatenate(self._insertion) if self._picks else np.empty(0, np.float32)
        rank, squared = self._rank.cpu().numpy(), self._squared.cpu().numpy()
        nearest = np.where(rank >= 0, positions[np.maximum(rank, 0)], -1) if len(positions) else rank
        return Coreset(positions, insertion, nearest, np.sqrt(np.maximum(squared, np.float32(0))), rank)


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
