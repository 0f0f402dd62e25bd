"""Every kernel equals its plain numpy twin to the bit, over shapes, ties, duplicates, extremes and thread counts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import kernels
from kernels import reference


def matrices(min_rows=1, max_rows=40, max_width=70):
    """Small grids full of ties and duplicates, and wide ranges with cancellation and denormals."""
    shapes = st.tuples(st.integers(min_rows, max_rows), st.integers(1, max_width))
    grid = st.integers(-2, 2).map(float)
    wild = (
        st.floats(-(2.0**50), 2.0**50, width=32)
        | st.floats(-(2.0**-130), 2.0**-130, width=32)
        | st.sampled_from([1e8, 1e8 + 8])
    )
    return shapes.flatmap(
        lambda shape: st.one_of(
            hnp.arrays(np.float32, shape, elements=grid), hnp.arrays(np.float32, shape, elements=wild)
        )
    )


def same(left, right):
    for mine, truth in zip(left, right, strict=True):
        np.testing.assert_array_equal(mine, truth)
        assert mine.dtype == truth.dtype


@given(matrices(), st.integers(0, 45), st.sampled_from([1, 2, 4]))
@settings(max_examples=150, deadline=None)
def test_coreset(vectors, count, threads):
    same(kernels.coreset(vectors, count, n_threads=threads), reference.coreset(vectors, count))


@given(matrices(), matrices(max_rows=6), st.integers(0, 20), st.sampled_from([0.0, 0.5, 2.0, 1e10]))
@settings(max_examples=100, deadline=None)
def test_coreset_with_a_pool_and_a_radius(vectors, pool, count, min_radius):
    pool = np.resize(pool, (len(pool), vectors.shape[1]))
    options = {"pool": pool, "min_radius": min_radius}
    same(kernels.coreset(vectors, count, **options), reference.coreset(vectors, count, **options))


@given(matrices(max_rows=30, max_width=20), st.integers(0, 30), st.sampled_from([None, 0.0, 1.0, 2.5]))
@settings(max_examples=150, deadline=None)
def test_adjacency(vectors, keep, max_edge):
    same(kernels.adjacency(vectors, keep, max_edge=max_edge), reference.adjacency(vectors, keep, max_edge=max_edge))


def test_adjacency_where_lists_run_dry_again_and_again():
    """Far more points than a list holds, in clumps, so that whole lists die."""
    rng = np.random.default_rng(0)
    vectors = np.repeat(rng.integers(0, 3, (6, 5)), 40, axis=0).astype(np.float32)
    vectors += rng.normal(0, 0.01, vectors.shape).astype(np.float32)
    same(kernels.adjacency(vectors, 3), reference.adjacency(vectors, 3))


@given(matrices(), st.data())
@settings(max_examples=80, deadline=None)
def test_cover(vectors, data):
    centres = data.draw(st.lists(st.integers(0, len(vectors) - 1), min_size=1, max_size=8, unique=True))
    centres = np.array(centres, np.int64)
    same(kernels.cover(vectors, centres, n_threads=2), reference.cover(vectors, centres))


@given(matrices())
@settings(max_examples=80, deadline=None)
def test_central(vectors):
    assert kernels.central(vectors) == reference.central(vectors)


@pytest.mark.parametrize("width", [1, 15, 16, 17, 64, 2048])
def test_every_width_and_more_rows_than_a_block(width):
    rows = 9000 if width <= 64 else 50
    vectors = np.random.default_rng(width).normal(size=(rows, width)).astype(np.float32)
    same(kernels.coreset(vectors, 12, n_threads=2), reference.coreset(vectors, 12))


def test_a_read_only_memory_map_is_as_good_as_an_array(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
    np.save(tmp_path / "v.npy", vectors)
    mapped = np.load(tmp_path / "v.npy", mmap_mode="r")
    same(kernels.coreset(mapped, 20), kernels.coreset(vectors, 20))
    same(kernels.adjacency(mapped, 20), kernels.adjacency(vectors, 20))
