"""What the kernels promise beside their numbers: clear refusals, order, progress and cancellation."""

import os
import signal
import threading
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
        "other byte order": (GOOD.astype(">f4"), "float32|byte order"),
        "no columns": (np.empty((3, 0), np.float32), "wide"),
    }


@pytest.mark.parametrize("case", bad_vectors())
@pytest.mark.parametrize(
    "kernel",
    [
        lambda v: kernels.coreset(v, 2),
        lambda v: kernels.coreset_with_cover(v, 2),
        lambda v: kernels.adjacency(v, 2),
        lambda v: kernels.cover(v, np.array([0])),
        lambda v: kernels.insertion_distances(v, np.array([0])),
        kernels.central,
    ],
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
        (lambda: kernels.coreset(GOOD, 2, start=-1), "start"),
        (lambda: kernels.coreset(GOOD, 2, min_radius=-1.0), "min_radius"),
        (lambda: kernels.coreset(GOOD, 2, n_threads=-1), "n_threads"),
        (lambda: kernels.coreset(GOOD, 2, pool=GOOD * np.float32(np.nan)), "pool must be finite"),
        (lambda: kernels.adjacency(GOOD, 2, max_edge=float("nan")), "max_edge"),
        (lambda: kernels.cover(GOOD, np.array([1, 1])), "repeat"),
        (lambda: kernels.cover(GOOD, np.array([0.5])), "positions"),
        (lambda: kernels.insertion_distances(GOOD, np.array([-1])), "positions"),
        (lambda: kernels.coreset(GOOD, 2, min_radius=float("nan")), "min_radius"),
        (lambda: kernels.coreset(GOOD, 2, pool=np.zeros((1, 3), np.float32)), "pool must be 2 wide"),
        (lambda: kernels.cover(GOOD, np.array([6])), "positions"),
        (lambda: kernels.cover(GOOD, np.array([], np.int64)), "at least one"),
        (lambda: kernels.budget_curve(GOOD, np.arange(3), np.array([2, 2])), "budgets must rise"),
        (lambda: kernels.budget_curve(GOOD, np.arange(3), np.array([0, 2])), "budgets must rise"),
        (lambda: kernels.budget_curve(GOOD, np.arange(3), np.array([4])), "at most the 3 ranked"),
        (lambda: kernels.budget_curve(GOOD, np.array([1, 1]), np.array([1])), "repeat"),
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
    assert [len(part) for part in kernels.cover(empty, np.array([], np.int64))] == [0, 0, 0]
    assert len(kernels.insertion_distances(GOOD, np.array([], np.int64))) == 0
    assert len(kernels.budget_curve(GOOD, np.arange(3), np.array([], np.int64)).radius) == 0


def test_many_bad_rows_are_counted():
    vectors = np.full((50, 2), np.nan, np.float32)
    with pytest.raises(kernels.KernelError, match="rows 0, 1, 2, 3, 4 and 45 more are not"):
        kernels.coreset(vectors, 1)


def test_a_pool_that_covers_everything_leaves_nothing_to_pick():
    positions, insertion = kernels.coreset(GOOD, 6, pool=GOOD, min_radius=0.5)
    assert len(positions) == len(insertion) == 0
    assert kernels.coreset(GOOD, 6, pool=GOOD)[1].tolist() == [0.0] * 6


def test_where_the_pool_is_nearest_no_pick_is_named():
    picked = kernels.coreset_with_cover(GOOD, 1, pool=GOOD[:1])
    assert picked.positions.tolist() == [5]
    assert picked.nearest.tolist() == [-1, -1, -1, 5, 5, 5]
    assert picked.covered_at.tolist() == [-1, -1, -1, 0, 0, 0]


def test_one_sample_has_no_edge_so_it_stays():
    assert len(kernels.adjacency(GOOD, 0)[0]) == len(GOOD) - 1


def test_the_lengths_of_removed_edges_never_fall():
    vectors = np.random.default_rng(1).normal(size=(500, 3)).astype(np.float32)
    edge = kernels.adjacency(vectors, 1)[2]
    assert (np.diff(edge) >= 0).all()


def test_a_count_past_the_end_ranks_everything_and_duplicates_come_last():
    vectors = np.array([[0.0], [5.0], [0.0], [5.0], [1.0]], np.float32)
    positions, insertion = kernels.coreset(vectors, 99, start=0)
    assert positions.tolist() == [0, 1, 4, 2, 3]
    assert insertion.tolist() == [np.inf, 5.0, 1.0, 0.0, 0.0]


def test_insertion_distances_never_rise():
    vectors = np.random.default_rng(1).normal(size=(500, 7)).astype(np.float32)
    insertion = kernels.coreset(vectors, 500)[1]
    assert (np.diff(insertion[1:]) <= 0).all()


def test_adjacency_takes_constant_data_in_its_stride():
    """Lists of ties must not run short all at once: that would take minutes here."""
    began = time.monotonic()
    assert kernels.adjacency(np.ones((20_000, 8), np.float32), 1)[0].tolist() == list(range(1, 20_000))
    assert time.monotonic() - began < 20


EVERY = np.arange(30_000)
RUNNING = {
    "coreset": lambda v, tell: kernels.coreset(v, 30_000, on_progress=tell),
    "coreset with a pool": lambda v, tell: kernels.coreset(v, 1, pool=v, on_progress=tell),
    "adjacency": lambda v, tell: kernels.adjacency(v, 10, on_progress=tell),
    "cover": lambda v, tell: kernels.cover(v, EVERY[::3], on_progress=tell),
    "curve": lambda v, tell: kernels.budget_curve(v, EVERY, EVERY[999::1000], on_progress=tell),
    "insertion": lambda v, tell: kernels.insertion_distances(v, EVERY, on_progress=tell),
}


@pytest.fixture(scope="module")
def large():
    return np.random.default_rng(2).normal(size=(30_000, 128)).astype(np.float32)


@pytest.mark.parametrize("kernel", RUNNING)
def test_a_running_kernel_can_be_ended_within_a_second(kernel, large):
    class Enough(Exception):
        pass

    began = time.monotonic()

    def tell(done, total):
        if time.monotonic() - began > 0.2:
            raise Enough

    with pytest.raises(Enough):
        RUNNING[kernel](large, tell)
    assert time.monotonic() - began < 1.2


@pytest.mark.parametrize("kernel", RUNNING)
def test_ctrl_c_ends_a_running_kernel_within_a_second(kernel, large):
    # A process started in the background of a shell has its Ctrl-C switched off.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - the interrupt may come between two runs
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
            while True:
                RUNNING[kernel](large, None)
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - began < 2.5


def test_another_thread_runs_while_a_kernel_does(large):
    """The interpreter's lock is let go inside a slice: this thread wakes up far more often than slices end."""
    worker = threading.Thread(target=kernels.cover, args=(large, EVERY[:300]))
    worker.start()
    longest, last = 0.0, time.monotonic()
    while worker.is_alive():
        time.sleep(0.001)
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    assert longest < 1.5


def test_progress_ends_at_the_total():
    seen = []
    kernels.coreset(GOOD, 4, on_progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (4, 4)
