"""Adjacency and coreset over paths, and nearest neighbours, equal their plain numpy twins to the bit."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import kernels
from kernels import _farthest, instructions, reference

LEVELS = [name for name, level in instructions.LEVELS.items() if level <= _farthest.widest()]


def matrices(max_rows=24, max_width=6):
    """Grids full of ties and duplicates, lines with far gaps (graphs in many parts), wide ranges and denormals."""
    shapes = st.tuples(st.integers(1, max_rows), st.integers(1, max_width))
    grid = st.integers(-2, 2).map(float)
    gaps = st.sampled_from([0.0, 1.0, 1.5, 1e6, 1e6 + 1, -1e12])
    wild = st.floats(-(2.0**70), 2.0**70, width=32) | st.floats(-(2.0**-130), 2.0**-130, width=32)
    return shapes.flatmap(lambda shape: st.sampled_from([grid, gaps, wild]).flatmap(lambda kind: arrays(shape, kind)))


def arrays(shape, elements):
    return hnp.arrays(np.float32, shape, elements=elements)


def same(left, right):
    for mine, truth in zip(left, right, strict=True):
        np.testing.assert_array_equal(mine, truth)
        assert mine.dtype == truth.dtype


def cloud(n, width, seed=0):
    return np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)


@given(matrices(), st.integers(0, 30), st.sampled_from([1, 2, 4]))
@settings(max_examples=150, deadline=None)
def test_knn(vectors, k, threads):
    same(kernels.knn(vectors, k, n_threads=threads), reference.knn(vectors, k))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("width", [3, 64, 77])
def test_every_instruction_set_finds_the_same_neighbours(level, width, monkeypatch):
    monkeypatch.setenv("WINNOW_KERNELS_ISA", level)
    vectors = cloud(600, width)
    same(kernels.knn(vectors, 5), reference.knn(vectors, 5))
    same(kernels.adjacency(vectors, 200), reference.adjacency(vectors, 200))


@given(
    matrices(),
    st.integers(0, 24),
    st.integers(1, 12),
    st.sampled_from([None, 0.0, 5e-324, 1.0, 2.5, 1e30, float("inf")]),
    st.sampled_from([1, 2, 4]),
)
@settings(max_examples=400, deadline=None)
def test_adjacency_in_the_local_graph(vectors, keep, neighbors, max_edge, threads):
    options = {"max_edge": max_edge, "graph": "local", "neighbors": neighbors}
    same(kernels.adjacency(vectors, keep, n_threads=threads, **options), reference.adjacency(vectors, keep, **options))


@given(
    matrices(), st.integers(0, 30), st.integers(1, 12), st.integers(0, 24), st.sampled_from([0.0, 1e-30, 1.0, 3.0, 1e6])
)
@settings(max_examples=300, deadline=None)
def test_geodesic_coreset(vectors, count, neighbors, start, min_radius):
    options = {"start": start % len(vectors), "min_radius": min_radius}
    graph = kernels.neighbor_graph(vectors, neighbors)
    truth = reference.geodesic_coreset(reference.path_lengths(vectors, neighbors), count, **options)
    same(kernels.geodesic_coreset(graph, count, **options), truth)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_larger_clouds_where_searches_walk_through_the_dead(threads):
    vectors = cloud(120, 3)
    options = {"graph": "local", "neighbors": 4}
    same(kernels.adjacency(vectors, 1, n_threads=threads, **options), reference.adjacency(vectors, 1, **options))


def test_a_path_follows_the_ring_where_a_straight_line_would_cut_across():
    """An open ring: its ends almost touch, but with two neighbours each nobody is joined across the gap."""
    angle = np.linspace(0, 6.1, 200)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    graph = kernels.neighbor_graph(ring, 2)
    picked = kernels.geodesic_coreset(graph, 2, start=0)
    assert picked.positions.tolist() == [0, 199]
    assert picked.insertion[1] == pytest.approx(6.1, rel=1e-3)
    assert kernels.coreset(ring, 2, start=0)[0].tolist() != [0, 199]


def test_the_parts_of_a_graph_come_first_in_canonical_order():
    vectors = np.array([[0.0], [1.0], [100.0], [101.0], [-500.0], [-501.0]], np.float32)
    picked = kernels.geodesic_coreset(kernels.neighbor_graph(vectors, 1), 4)
    assert picked.positions.tolist() == [0, 2, 4, 1]
    assert picked.insertion.tolist() == [np.inf, np.inf, np.inf, 1.0]
    removed, partner, edge = kernels.adjacency(vectors, 1, graph="local", neighbors=1)
    assert (removed.tolist(), partner.tolist()) == ([1, 3, 5, 2, 4], [0, 2, 4, 0, 0])
    assert edge.tolist() == [1.0, 1.0, 1.0, np.inf, np.inf]


def test_the_local_graph_takes_constant_data_in_its_stride():
    began = time.monotonic()
    removed, _, edge = kernels.adjacency(np.ones((20_000, 8), np.float32), 1, graph="local")
    assert removed.tolist() == list(range(1, 20_000))
    assert not edge.any()
    assert time.monotonic() - began < 20


def test_a_read_only_memory_map_is_as_good_as_an_array(tmp_path):
    vectors = cloud(300, 8)
    np.save(tmp_path / "v.npy", vectors)
    mapped = np.load(tmp_path / "v.npy", mmap_mode="r")
    same(kernels.adjacency(mapped, 20, graph="local"), kernels.adjacency(vectors, 20, graph="local"))
    same(kernels.knn(mapped, 5), kernels.knn(vectors, 5))
    frozen = kernels.neighbor_graph(mapped, 5)
    for array in frozen:
        array.setflags(write=False)
    same(kernels.geodesic_coreset(frozen, 20), kernels.geodesic_coreset(kernels.neighbor_graph(vectors, 5), 20))


def test_nothing_in_nothing_out():
    empty = np.empty((0, 4), np.float32)
    assert [len(part) for part in kernels.adjacency(empty, 5, graph="local")] == [0, 0, 0]
    assert [part.shape for part in kernels.knn(empty, 5)] == [(0, 0), (0, 0)]
    assert [len(part) for part in kernels.geodesic_coreset(kernels.neighbor_graph(empty, 3), 5)] == [0, 0, 0, 0, 0]


GRAPH = kernels.neighbor_graph(np.arange(6, dtype=np.float32)[:, None], 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kernels.adjacency(cloud(5, 2), 1, graph="nearby"), "graph"),
        (lambda: kernels.adjacency(cloud(5, 2), -1, graph="local"), "count"),
        (lambda: kernels.adjacency(cloud(5, 2), 1, graph="local", neighbors=0), "neighbors"),
        (lambda: kernels.adjacency(cloud(5, 2), 1, graph="local", max_edge=-1.0), "max_edge"),
        (lambda: kernels.adjacency(cloud(5, 2) * np.float32(np.nan), 1, graph="local"), "finite"),
        (lambda: kernels.knn(cloud(5, 2), -1), "count"),
        (lambda: kernels.knn(cloud(5, 2).astype(np.float64), 2), "float32"),
        (lambda: kernels.knn(cloud(5, 2), 2, rows=np.array([5])), "positions"),
        (lambda: kernels.nearest_of(cloud(5, 2), np.array([0]), np.array([[5]]), 1), "candidates"),
        (lambda: kernels.nearest_of(cloud(5, 2), np.array([0]), np.array([1]), 1), "candidates"),
        (lambda: kernels.geodesic_coreset(GRAPH, -1), "count"),
        (lambda: kernels.geodesic_coreset(GRAPH, 2, start=6), "start"),
        (lambda: kernels.geodesic_coreset(GRAPH, 2, min_radius=float("nan")), "min_radius"),
        (lambda: kernels.geodesic_coreset(GRAPH._replace(ends=GRAPH.ends + 1), 2), "positions from 0 to 5"),
        (lambda: kernels.geodesic_coreset(GRAPH._replace(starts=GRAPH.starts[:-1]), 2), "starts"),
        (lambda: kernels.geodesic_coreset(GRAPH._replace(starts=GRAPH.starts[::-1].copy()), 2), "starts"),
        (lambda: kernels.geodesic_coreset(GRAPH._replace(ends=GRAPH.ends.astype(np.int32)), 2), "int64"),
        (lambda: kernels.geodesic_coreset(GRAPH._replace(lengths=-GRAPH.lengths), 2), "lengths"),
        (lambda: kernels.geodesic_coreset(GRAPH._replace(lengths=GRAPH.lengths * np.float32(np.inf)), 2), "lengths"),
        (lambda: kernels.path_adjacency(GRAPH._replace(ends=-1 - GRAPH.ends), 2), "positions"),
        (lambda: kernels.path_adjacency(GRAPH, 2, max_edge=float("nan")), "max_edge"),
    ],
)
def test_bad_arguments_are_refused_by_name(call, message):
    with pytest.raises(kernels.KernelError, match=message):
        call()


RUNNING = {
    "adjacency": lambda v, tell: kernels.adjacency(v, 10, graph="local", on_progress=tell),
    "knn": lambda v, tell: kernels.knn(v, 10, on_progress=tell),
}


@pytest.mark.parametrize("kernel", RUNNING)
def test_a_running_kernel_can_be_ended_within_a_second(kernel):
    class Enough(Exception):
        pass

    began = time.monotonic()

    def tell(done, total):
        if time.monotonic() - began > 0.2:
            raise Enough

    with pytest.raises(Enough):
        RUNNING[kernel](cloud(30_000, 64), tell)
    assert time.monotonic() - began < 1.2


@pytest.mark.parametrize("keep", [1, 100])
def test_progress_rises_to_its_total(keep):
    seen = []
    kernels.adjacency(cloud(300, 3), keep, graph="local", on_progress=lambda *told: seen.append(told))
    assert seen == sorted(seen)
    assert {total for _, total in seen} == {seen[-1][0]}


def test_neighbours_of_some_rows_are_those_rows_of_all():
    vectors = cloud(300, 5)
    rows = np.array([7, 299, 0, 41])
    same(kernels.knn(vectors, 6, rows=rows), [part[rows] for part in kernels.knn(vectors, 6)])


@given(matrices(), st.integers(1, 12), st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_the_nearest_of_all_candidates_in_any_order_are_the_nearest(vectors, k, seed):
    n = len(vectors)
    k = min(k, n - 1)
    everyone = np.random.default_rng(seed).permuted(np.tile(np.arange(-1, n), (n, 1)), axis=1)
    same(kernels.nearest_of(vectors, np.arange(n), everyone, k), reference.knn(vectors, k))


def test_too_few_candidates_leave_places_for_nobody():
    distances, others = kernels.nearest_of(cloud(5, 2), np.array([0, 1]), np.array([[0, -1], [3, 1]]), 2)
    assert others.tolist() == [[-1, -1], [3, -1]]
    assert np.isinf(distances).tolist() == [[True, True], [False, True]]
