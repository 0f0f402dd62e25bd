"""What a selection leaves behind: who covers whom and how far, and how much better any other could have been."""

from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels import _coreset, _neighbors  # type: ignore[attr-defined]
from kernels.checks import (
    SLICE_TERMS,
    Float,
    KernelError,
    OnProgress,
    Positions,
    check_centres,
    check_vectors,
    slices,
    tell,
    threads_for,
)
from kernels.farthest import Coreset
from kernels.graphs import index_of

_GROUPS: Final = 8  # of samples that ask for their neighbours together, a thread, between two calls of on_progress
_CANDIDATES: Final = 1 << 15  # for the lower bound, looked at before the bar is lowered
_FEW_PAIRS: Final = 1 << 24  # of samples and centres: below, an index costs more than it saves
_FEW_RANKS: Final = 4096  # likewise, for samples that each meet those before it
_LEAF: Final = 256  # members of a bucket, roughly
_SPECK: Final = 1e-18  # a length that underflow could hide: see docs/kernels.md


class LowerBound(NamedTuple):
    """No selection of too few samples covers all within less than `distance`; see `lower_bound`."""

    distance: float  # holds in exact arithmetic
    witness: int  # the sample that comes nearest to covering one pick too many; -1: the bound is 0


class BudgetCurve(NamedTuple):
    """Of every budget, over the samples looked at."""

    radius: Float  # (b,) the largest distance to the nearest of those kept
    mean: NDArray[np.float64]  # (b,)


def cover(
    vectors: Float, centres: Positions, *, n_threads: int = 0, on_progress: OnProgress | None = None
) -> tuple[Positions, Float, Positions]:
    """Each sample's nearest centre, its distance, and the centre's rank; `centres` are positions in rank order.

    A centre is its own nearest. Elsewhere ties go to the lowest rank.
    """
    n = len(check_vectors(vectors))
    centres = check_centres(centres, n)
    if n and not len(centres):
        raise KernelError("there must be at least one centre")
    threads = threads_for(vectors, n_threads)
    distance, covered_at = np.zeros(n, np.float32), np.full(n, -1, np.int64)
    covered_at[centres] = np.arange(len(centres))
    others = np.flatnonzero(covered_at < 0)
    met = _met_in_buckets if len(others) * len(centres) > _FEW_PAIRS else _met_by_all
    distance[others], covered_at[others] = met(vectors, others, centres, threads, on_progress)
    return centres[covered_at], distance, covered_at


def insertion_distances(
    vectors: Float, ranked: Positions, *, n_threads: int = 0, on_progress: OnProgress | None = None
) -> Float:
    """Each ranked sample's distance to everything ranked before it; inf for the first."""
    ranked = check_centres(ranked, len(check_vectors(vectors)))
    threads = threads_for(vectors, n_threads)
    distance = np.full(len(ranked), np.inf, np.float32)
    step, rounds = _FEW_RANKS, max(0, (len(ranked) - 1).bit_length() - (_FEW_RANKS - 1).bit_length())
    total = (rounds + 1) * len(ranked)
    for begin, end in slices(len(ranked), step):  # against those before it in its own block
        some = ranked[begin:end]
        near, _ = _meet(vectors, some, np.arange(len(some)), some, threads, None)
        distance[begin:end] = near
        tell(on_progress, end, total)
    for done in range(1, rounds + 1):  # every second block against the block before it, then blocks of twice the size
        for middle in range(step, len(ranked), 2 * step):
            before, some = ranked[middle - step : middle], ranked[middle : middle + step]
            near, _ = _met_in_buckets(vectors, some, before, threads, None)
            distance[middle : middle + step] = np.minimum(distance[middle : middle + step], near)
            tell(on_progress, done * len(ranked) + middle, total)
        step *= 2
    tell(on_progress, total, total)
    return distance


def budget_curve(
    vectors: Float,
    ranked: Positions,
    budgets: Positions,
    *,
    rows: Positions | None = None,
    n_threads: int = 0,
    on_progress: OnProgress | None = None,
) -> BudgetCurve:
    """How far some samples (`rows`; or all) are from the nearest of the first b ranked, for each b of rising budgets.

    Every ranked sample up to the last budget is met once, whatever the number of budgets.
    """
    n = len(check_vectors(vectors))
    ranked = check_centres(ranked, n)
    ends = np.asarray(budgets, np.int64)
    if ends.ndim != 1 or (ends.size and (ends[0] < 1 or ends[-1] > len(ranked) or (np.diff(ends) <= 0).any())):
        raise KernelError(f"budgets must rise, from at least 1 to at most the {len(ranked)} ranked samples")
    rows = np.arange(n) if rows is None else check_centres(rows, n)
    least = np.full(len(rows), np.inf, np.float32)
    curve = BudgetCurve(np.zeros(len(ends), np.float32), np.zeros(len(ends)))
    for at, (begin, end) in enumerate(pairwise((0, *ends))):
        least = np.minimum(least, _to_nearest(vectors, rows, ranked[begin:end], n_threads))
        if len(rows):
            curve.radius[at], curve.mean[at] = least.max(), least.mean(dtype=np.float64)
        tell(on_progress, int(end), int(ends[-1]))
    return curve


def _to_nearest(vectors: Float, rows: Positions, centres: Positions, n_threads: int) -> Float:
    met = _met_in_buckets if len(rows) * len(centres) > _FEW_PAIRS else _met_by_all
    return met(vectors, rows, centres, threads_for(vectors, n_threads), None)[0]


def _met_by_all(
    vectors: Float, samples: Positions, centres: Positions, threads: int, on_progress: OnProgress | None
) -> tuple[Float, Positions]:
    limits = np.full(len(samples), len(centres), np.int64)
    return _meet(vectors, samples, limits, centres, threads, on_progress)


def _met_in_buckets(
    vectors: Float, samples: Positions, centres: Positions, threads: int, on_progress: OnProgress | None
) -> tuple[Float, Positions]:
    """The same by an index of the centres. They stand first in a copy, by rank, so that ties go to the lowest."""
    rows = np.concatenate([vectors[centres], vectors[samples]])
    asked = np.arange(len(centres), len(rows), dtype=np.int32)
    index = index_of(rows, np.arange(len(centres), dtype=np.int32), threads, lambda: tell(on_progress, 0, len(asked)))
    homes = np.empty(len(asked), np.int32)
    step = max(threads, threads * SLICE_TERMS // (rows.shape[1] * (1 + len(centres) // _LEAF)))
    for begin, end in slices(len(asked), step):
        homes[begin:end] = index.homes(asked[begin:end], threads)
        tell(on_progress, 0, len(asked))
    squared, rank = _nearest_members(index, asked, homes, 1, threads, on_progress)
    return np.sqrt(squared[:, 0]), np.maximum(rank[:, 0], 0).astype(np.int64)  # beyond float32 nobody is found


def _meet(
    vectors: Float,
    samples: Positions,
    limits: Positions,
    centres: Positions,
    n_threads: int,
    on_progress: OnProgress | None,
) -> tuple[Float, Positions]:
    """Of each sample, the distance to the nearest among its first `limits` centres, and that one's rank."""
    threads = threads_for(vectors, n_threads)
    squared, rank = np.empty(len(samples), np.float32), np.empty(len(samples), np.int64)
    step = max(threads, threads * SLICE_TERMS // max(1, len(centres) * vectors.shape[1]))
    for begin, end in slices(len(samples), step):
        _coreset.cover(vectors, samples, limits, centres, begin, end, squared, rank, threads)
        tell(on_progress, end, len(samples))
    return np.sqrt(squared), rank


def lower_bound(
    vectors: Float, picked: Coreset, *, each: int = 1, n_threads: int = 0, on_progress: OnProgress | None = None
) -> LowerBound:
    """What no k samples can reach, for any k of which `each` times k is less than was picked.

    The picks are greedy k-center's, without a pool. Some of those k samples has more than `each` of the picks within
    its radius. So the radius is at least the distance from some sample to the pick that is one too many, counted from
    the nearest (which of a pick is itself), and the least of these is the bound.
    """
    n = len(check_vectors(vectors))
    threads = threads_for(vectors, n_threads)
    if len(picked.positions) <= each or not 0 < picked.insertion[-1] < np.inf:
        return LowerBound(0.0, -1)
    if len(picked.nearest) != n or (n and picked.nearest.min() < 0):
        raise KernelError("a lower bound needs the cover of these vectors by picks alone, without a pool")
    loss = 2 * (vectors.shape[1] + 64) * 1.2e-7  # of a canonical distance, relative: see docs/kernels.md
    # The picks lie no nearer to each other than the last insertion, so a sample this near to one is that far from all
    # others. What cannot beat the best so far is not looked at.
    apart = np.float32(picked.insertion[-1])
    least = np.maximum(picked.distance, apart - picked.distance) * np.float32(1 - 4 * loss)
    order = np.argsort(least, kind="stable")
    index = index_of(vectors, picked.positions.astype(np.int32), threads, lambda: tell(on_progress, 0, n))
    best, witness = np.float32(np.inf), -1
    for begin, end in slices(n, _CANDIDATES):
        if least[order[begin]] >= best:
            break
        some = order[begin:end]
        surplus = _to_surplus(vectors, index, some, picked, each, threads, on_progress, begin)
        at = int(surplus.argmin())
        if surplus[at] < best:
            best, witness = surplus[at], int(some[at])
    tell(on_progress, n, n)
    return LowerBound(max(0.0, float(best) * (1 - loss) - _SPECK), witness)


def _to_surplus(
    vectors: Float,
    index: Any,
    samples: Positions,
    picked: Coreset,
    each: int,
    threads: int,
    on_progress: OnProgress | None,
    done: int,
) -> Float:
    """How far each sample is from the first pick beyond the `each` nearest; a pick is its own nearest."""
    homes = picked.nearest[samples].astype(np.int32)
    told = None if on_progress is None else lambda at, _: on_progress(done + at, len(vectors))
    squared, _ = _nearest_members(index, samples.astype(np.int32), homes, each + 1, threads, told)
    is_pick = picked.nearest[samples] == samples
    return np.sqrt(np.where(is_pick, squared[:, each - 1], squared[:, each]))


def _nearest_members(
    index: Any, rows: NDArray[np.int32], homes: NDArray[np.int32], k: int, threads: int, on_progress: OnProgress | None
) -> tuple[Float, NDArray[np.int32]]:
    """Each row's k nearest members, itself aside: squared distances (inf where there are fewer) and positions."""
    sort = index.sorted(homes).astype(np.int32)
    rows, homes = rows[sort], homes[sort]
    groups = index.groups(homes)
    squared, others = np.full((len(rows), k), np.inf, np.float32), np.full((len(rows), k), -1, np.int32)
    for begin, end in slices(len(groups) - 1, _GROUPS * threads):
        _neighbors.nearest(index, rows, homes, sort, groups, begin, end, others, squared, threads)
        tell(on_progress, int(groups[end]), len(rows))
    return squared, others
