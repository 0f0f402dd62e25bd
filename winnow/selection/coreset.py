"""Greedy k-center: each pick is the sample farthest from all picks before it."""

import math
from contextlib import suppress
from typing import Final, Protocol

import numpy as np

import kernels
from winnow.results import Positions, Proof, Vectors
from winnow.selection.base import Cover, Ranking, Tell, counted_on
from winnow.spec import CoresetSelection, Target

_PROVEN_THRICE: Final = 20_000  # samples: up to here two more bounds cost little, and one may be some per cent better
_WORTH_A_DEVICE: Final = 10**10  # samples times picks: the kernels need seconds from there on
_FOLLOWED: Final = 100_000  # samples that are ranked to the last, so that each can be told its budget


def coreset(
    vectors: Vectors,
    spec: CoresetSelection,
    *,
    seed: int,  # noqa: ARG001 - nothing here is random
    n_threads: int,
    device: str,
    tell: Tell,
) -> Ranking:
    """Stops at the budget, when all is covered within `radius`, or before a pick nearer than `min_distance`."""
    stop_at = _stop_at(spec.target)
    # How many picks a distance takes is known at the end only.
    told = (lambda done, _: tell(done, 0)) if stop_at else tell
    if spec.metric == "geodesic":
        ranking = _along_paths(vectors, spec, stop_at, n_threads, told)
    else:
        ranking = _in_straight_lines(vectors, spec, stop_at, n_threads, device, told)
    if stop_at:
        steps = len(ranking.positions) + (len(vectors) if spec.metric == "geodesic" else 0)
        tell(steps, steps)
    return ranking


class _Run(Protocol):
    """What `kernels.CoresetRun` and `on_device.DeviceRun` have in common, the picks above all."""

    @property
    def positions(self) -> Positions: ...
    def run(self, count: int, *, min_radius: float = 0.0, on_progress: Tell = ...) -> None: ...
    def cover(self, *, on_progress: Tell = ...) -> kernels.Coreset: ...


def _in_straight_lines(
    vectors: Vectors, spec: CoresetSelection, stop_at: float, n_threads: int, device: str, tell: Tell
) -> Ranking:
    """On a GPU where one can hold the samples and there is enough to do; the picks are the same to the last bit."""
    budget = spec.target.budget(len(vectors))
    if device != "cpu" and len(vectors) * budget >= _WORTH_A_DEVICE:
        from winnow.selection import on_device  # noqa: PLC0415 - torch, for whoever has a GPU

        with suppress(on_device.OutOfMemory):
            return _ranked(vectors, on_device.DeviceRun(vectors, device), budget, stop_at, n_threads, tell)
    run = kernels.coreset_run(vectors, budget, n_threads=n_threads, on_progress=tell)
    return _ranked(vectors, run, budget, stop_at, n_threads, tell)


def _ranked(vectors: Vectors, run: _Run, budget: int, stop_at: float, n_threads: int, tell: Tell) -> Ranking:
    run.run(budget, min_radius=stop_at, on_progress=tell)
    picked = run.cover(on_progress=tell)
    cover = Cover(picked.nearest, picked.distance, picked.covered_at)
    proof = _proof(vectors, run, n_threads, tell)
    following = _following(vectors, run, len(picked.positions), tell)
    return Ranking(picked.positions, picked.insertion, following, cover=cover, proof=proof)


def _proof(vectors: Vectors, run: _Run, n_threads: int, tell: Tell) -> Proof | None:
    """The best of those that can be had by going on for one pick, or up to three times as far where that is cheap.

    Nothing is left to prove where the next pick lies on a kept sample.
    """
    count = len(run.positions)

    def still_wanted(_done: int, _total: int) -> None:
        tell(count, count)

    best: Proof | None = None
    for each in (1, 2, 3) if len(vectors) <= _PROVEN_THRICE else (1,):
        wanted = each * count + 1
        run.run(wanted, on_progress=still_wanted)
        picked = run.cover(on_progress=still_wanted)
        if len(picked.positions) < wanted or picked.insertion[-1] == 0:
            break
        bound = kernels.lower_bound(vectors, picked, each=each, n_threads=n_threads, on_progress=still_wanted)
        if best is None or bound.distance > best.lower_bound:
            best = Proof(bound.distance, each, picked.positions[count:], bound.witness)
    return best


def _following(vectors: Vectors, run: _Run, count: int, tell: Tell) -> Positions | None:
    """What larger budgets would keep, where going on to the end takes seconds."""
    if len(vectors) > _FOLLOWED:
        return None
    run.run(len(vectors), on_progress=lambda _done, _total: tell(count, count))
    return run.positions[count:]


def _along_paths(vectors: Vectors, spec: CoresetSelection, stop_at: float, n_threads: int, tell: Tell) -> Ranking:
    """Insertions are path lengths; the cover, made by the caller, is in straight lines, which join all to all."""
    n = len(vectors)
    budget = spec.target.budget(n)
    total = n + budget
    graph = kernels.neighbor_graph(vectors, spec.neighbors, n_threads=n_threads, on_progress=counted_on(tell, 0, total))
    start = kernels.central(vectors, n_threads=n_threads)
    picked = kernels.geodesic_coreset(
        graph, budget, start=start, min_radius=stop_at, on_progress=counted_on(tell, n, total)
    )
    parts = int(np.isinf(picked.insertion).sum())
    radius = float(picked.distance.max())
    notes = {
        "neighbors": spec.neighbors,
        "parts_reached": parts,
        "path_radius": radius if math.isfinite(radius) else None,
    }
    return Ranking(picked.positions, picked.insertion, parts=parts, notes=notes)


def _stop_at(target: Target) -> float:
    """The covering radius at which to stop; 0 for never."""
    if target.radius is not None:
        return target.radius
    if target.min_distance is None:
        return 0.0
    below = np.float32(min(target.min_distance, float(np.finfo(np.float32).max)))
    if float(below) >= target.min_distance:
        below = np.nextafter(below, np.float32(0))
    # Distances are float32: "nearer than min_distance" is "at most the last float32 before it". At least a speck, as
    # duplicates (distance 0) are nearer than any minimum.
    return max(float(below), math.ulp(0.0))
