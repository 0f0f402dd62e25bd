"""What the kernels promise beside their numbers: clear refusals, order, progress and cancellation."""

import time

import numpy as np
import pytest

import kernels

GOOD = np.arange(12, dtype=np.float32).reshape(6, 2)


def bad_vectors():
    holed = GOOD.copy()
    holed[3, 1] = np.nan
    endless = GOOD.copy()
    endless[2, 0] = np.inf
    return {
        "nan": (holed, "rows 3"),
        "inf": (endless, "rows 2"),
        "float64": (GOOD.astype(np.float64), "float32"),
        "one dimension": (GOOD[0], "two-dimensional"),
        "a list": (GOOD.tolist(), "two-dimensional"),
        "strided": (GOOD[:, ::-1], "C-contiguous"),
        "column order": (np.asfortranarray(GOOD), "C-contiguous"),
        "no columns": (np.empty((3, 0), np.float32), "wide"),
    }


@pytest.mark.parametrize("case", bad_vectors())
@pytest.mark.parametrize(
    "kernel", [lambda v: kernels.coreset(v, 2), lambda v: kernels.adjacency(v, 2), kernels.central]
)
def test_bad_vectors_are_refused_by_name(kernel, case):
    vectors, message = bad_vectors()[case]
    with pytest.raises(kernels.KernelError, match=message):
        kernel(vectors)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kernels.coreset(GOOD, -1), "count"),
        (lambda: kernels.adjacency(GOOD, -1), "count"),
        (lambda: kernels.coreset(GOOD, 2, start=6), "start"),
        (lambda: kernels.coreset(GOOD, 2, min_radius=float("nan")), "min_radius"),
        (lambda: kernels.coreset(GOOD, 2, pool=np.zeros((1, 3), np.float32)), "pool must be 2 wide"),
        (lambda: kernels.cover(GOOD, np.array([6])), "positions"),
        (lambda: kernels.cover(GOOD, np.array([], np.int64)), "at least one"),
        (lambda: kernels.central(np.empty((0, 2), np.float32)), "empty"),
    ],
)
def test_bad_arguments_are_refused_by_name(call, message):
    with pytest.raises(kernels.KernelError, match=message):
        call()


def test_nothing_in_nothing_out():
    empty = np.empty((0, 4), np.float32)
    assert [len(part) for part in kernels.coreset(empty, 5)] == [0, 0]
    assert [len(part) for part in kernels.adjacency(empty, 5)] == [0, 0, 0]
    assert [len(part) for part in kernels.coreset(GOOD, 0)] == [0, 0]


def test_a_count_past_the_end_ranks_everything_and_duplicates_come_last():
    vectors = np.array([[0.0], [5.0], [0.0], [5.0], [1.0]], np.float32)
    positions, insertion = kernels.coreset(vectors, 99, start=0)
    assert positions.tolist() == [0, 1, 4, 2, 3]
    assert insertion.tolist() == [np.inf, 5.0, 1.0, 0.0, 0.0]


def test_insertion_distances_never_rise():
    vectors = np.random.default_rng(1).normal(size=(500, 7)).astype(np.float32)
    insertion = kernels.coreset(vectors, 500)[1]
    assert (np.diff(insertion[1:]) <= 0).all()


@pytest.mark.parametrize(
    "kernel",
    [
        lambda v, tell: kernels.coreset(v, 5000, on_progress=tell),
        lambda v, tell: kernels.adjacency(v, 10, on_progress=tell),
    ],
)
def test_a_running_kernel_can_be_ended_within_a_second(kernel):
    class Enough(Exception):
        pass

    vectors = np.random.default_rng(2).normal(size=(30_000, 64)).astype(np.float32)
    asked_at = None
    began = time.monotonic()

    def tell(done, total):
        nonlocal asked_at
        if time.monotonic() - began > 0.2:
            asked_at = time.monotonic()
            raise Enough

    with pytest.raises(Enough):
        kernel(vectors, tell)
    assert time.monotonic() - began < 1.2


def test_progress_ends_at_the_total():
    seen = []
    kernels.coreset(GOOD, 4, on_progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (4, 4)
