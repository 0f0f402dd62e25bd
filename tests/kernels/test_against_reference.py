"""Every kernel equals its plain numpy twin to the bit, over shapes, ties, duplicates, extremes and thread counts."""

import numpy as np
import pytest
from drawn import matrices
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import kernels
from kernels import covers, reference


def normal(n, width):
    return np.random.default_rng(width).normal(size=(n, width)).astype(np.float32)


def same(left, right):
    for mine, truth in zip(left, right, strict=True):
        np.testing.assert_array_equal(mine, truth)
        assert mine.dtype == truth.dtype


@given(matrices(), st.integers(0, 45), st.sampled_from([1, 2, 4]))
@settings(max_examples=150, deadline=None)
def test_coreset(vectors, count, threads):
    same(kernels.coreset(vectors, count, n_threads=threads), reference.coreset(vectors, count))


@given(
    matrices(),
    matrices(max_rows=6),
    st.integers(0, 20),
    st.sampled_from([0.0, 1.0, 2.5, 1e10]),
    st.none() | st.integers(0, 40),
)
@settings(max_examples=150, deadline=None)
def test_coreset_with_a_pool_a_radius_and_a_start(vectors, pool, count, min_radius, start):
    pool = np.resize(pool, (len(pool), vectors.shape[1]))
    options = {"pool": pool, "min_radius": min_radius, "start": start if start is None else start % len(vectors)}
    same(kernels.coreset(vectors, count, **options), reference.coreset(vectors, count, **options))


@given(matrices(max_rows=30, max_width=20), st.integers(0, 30), st.sampled_from([None, 0.0, 1.0, 2.5]))
@example(np.zeros((5, 2), np.float32), 1, 0.0)  # one place, and no edge short enough
@settings(max_examples=150, deadline=None)
def test_adjacency(vectors, keep, max_edge):
    same(kernels.adjacency(vectors, keep, max_edge=max_edge), reference.adjacency(vectors, keep, max_edge=max_edge))


def test_adjacency_where_lists_run_dry_again_and_again():
    """Far more points than a list holds, in clumps, so that whole lists die."""
    rng = np.random.default_rng(0)
    vectors = np.repeat(rng.integers(0, 3, (6, 5)), 40, axis=0).astype(np.float32)
    vectors += rng.normal(0, 0.01, vectors.shape).astype(np.float32)
    same(kernels.adjacency(vectors, 3, n_threads=2), reference.adjacency(vectors, 3))


@pytest.fixture(params=["by all", "by an index"])
def small_is_large(request, monkeypatch):
    """Whether a few samples are looked at as a million would be."""
    if request.param == "by an index":
        monkeypatch.setattr(covers, "_FEW_PAIRS", -1)
        monkeypatch.setattr(covers, "_FEW_RANKS", 2)


@pytest.mark.usefixtures("small_is_large")
@given(matrices(), st.data())
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_cover(vectors, data):
    centres = data.draw(st.lists(st.integers(0, len(vectors) - 1), min_size=1, max_size=8, unique=True))
    centres = np.array(centres, np.int64)
    same(kernels.cover(vectors, centres, n_threads=4), reference.cover(vectors, centres))


@pytest.mark.usefixtures("small_is_large")
@given(matrices(), st.integers(0, 40))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_insertion_distances(vectors, seed):
    ranked = np.random.default_rng(seed).permutation(len(vectors))[: 1 + seed]
    mine = kernels.insertion_distances(vectors, ranked, n_threads=4)
    same([mine], [reference.insertion_distances(vectors, ranked)])


@pytest.mark.usefixtures("small_is_large")
@given(matrices(), st.data())
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_budget_curve(vectors, data):
    ranked = np.random.default_rng(0).permutation(len(vectors))
    budgets = np.array(sorted(data.draw(st.sets(st.integers(1, len(vectors)), min_size=1))), np.int64)
    mine, twin = (
        kernels.budget_curve(vectors, ranked, budgets, n_threads=2),
        reference.budget_curve(vectors, ranked, budgets),
    )
    same(mine[:1], twin[:1])
    np.testing.assert_allclose(mine.mean, twin[1], rtol=1e-12)


@given(matrices(), st.integers(1, 45))
@settings(max_examples=80, deadline=None)
def test_a_coreset_knows_its_own_cover(vectors, count):
    picked = kernels.coreset_with_cover(vectors, count)
    same(picked[2:], kernels.cover(vectors, picked.positions))


@given(matrices(min_rows=3), st.integers(2, 20), st.sampled_from([1, 2, 3]), st.sampled_from([1, 2]))
@settings(max_examples=200, deadline=None)
def test_the_lower_bound_is_just_below_the_truth(vectors, count, each, threads):
    picked = kernels.coreset_with_cover(vectors, min(count, len(vectors)))
    bound = kernels.lower_bound(vectors, picked, each=each, n_threads=threads)
    truth = reference.lower_bound(vectors, picked.positions, each) if len(picked.positions) > each else 0.0
    assert bound.distance <= truth
    assert bound.distance >= truth * (1 - 1e-4) - 1e-17 or picked.insertion[-1] == 0


@given(matrices())
@settings(max_examples=80, deadline=None)
def test_central(vectors):
    assert kernels.central(vectors) == reference.central(vectors)


@pytest.mark.parametrize("width", [1, 15, 16, 17, 64, 65, 81, 130, 2048])
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_coreset_at_every_width_and_with_more_rows_than_a_block(width, threads):
    vectors = normal(9000 if width <= 64 else 300, width)
    same(kernels.coreset(vectors, 12, n_threads=threads), reference.coreset(vectors, 12))


@pytest.mark.parametrize("width", [1, 16, 63, 64, 65, 128, 130, 2048])
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_pairs_given_up_half_way_are_pairs_that_do_not_matter(width, threads):
    """Leading terms tell the pairs apart, so that most sums are never finished."""
    vectors = normal(150, width) * np.linspace(3, 0.1, width, dtype=np.float32)
    ranked = np.arange(0, 150, 7)
    same(kernels.adjacency(vectors, 5, n_threads=threads), reference.adjacency(vectors, 5))
    same(kernels.cover(vectors, ranked, n_threads=threads), reference.cover(vectors, ranked))


@pytest.mark.parametrize("shift", [0.0, 1e4, 3e7])
@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e-42, 1e19, 1e30])
def test_far_from_the_origin_in_denormals_and_in_overflow(shift, scale):
    vectors = (normal(60, 33) + np.float32(shift)) * np.float32(scale)
    same(kernels.coreset(vectors, 60), reference.coreset(vectors, 60))
    same(kernels.adjacency(vectors, 1), reference.adjacency(vectors, 1))
    same(kernels.cover(vectors, np.arange(9)), reference.cover(vectors, np.arange(9)))


@pytest.mark.parametrize("value", [0.0, 1.0, -1e20])
def test_constant_data(value):
    vectors = np.full((70, 5), value, np.float32)
    same(kernels.coreset(vectors, 70), reference.coreset(vectors, 70))
    same(kernels.adjacency(vectors, 1), reference.adjacency(vectors, 1))


@pytest.mark.parametrize("threads", [1, 4])
def test_adjacency_where_more_are_equally_near_than_a_list_holds(threads):
    alike = np.zeros((90, 90), np.float32)  # every pair equally far apart, but for some that are the same
    alike[np.arange(90), np.arange(90) - np.arange(90) % 45 // 40] = 1
    same(kernels.adjacency(alike, 1, n_threads=threads), reference.adjacency(alike, 1))


def test_a_read_only_memory_map_is_as_good_as_an_array(tmp_path):
    vectors = normal(300, 8)
    np.save(tmp_path / "v.npy", vectors)
    mapped = np.load(tmp_path / "v.npy", mmap_mode="r")
    same(kernels.coreset(mapped, 20, pool=mapped[:3]), kernels.coreset(vectors, 20, pool=vectors[:3]))
    same(kernels.adjacency(mapped, 20), kernels.adjacency(vectors, 20))
    same(kernels.cover(mapped, np.arange(9)), kernels.cover(vectors, np.arange(9)))
    assert kernels.central(mapped) == kernels.central(vectors)
