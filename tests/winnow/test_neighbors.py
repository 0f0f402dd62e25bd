"""Nearest neighbours: exact below a size, fast and honest about its recall above, whichever library is there."""

import subprocess
import sys

import numpy as np
import pytest

import kernels
from winnow import neighbors


def clusters(n=4000, width=16, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(20, width)) * 3
    return (centres[rng.integers(0, 20, n)] + rng.normal(size=(n, width))).astype(np.float32)


def test_small_sets_get_the_exact_answer_of_the_kernels():
    found = neighbors.knn(clusters(500), 7)
    distances, indices = kernels.knn(clusters(500), 7)
    np.testing.assert_array_equal(found.distances, distances)
    np.testing.assert_array_equal(found.indices, indices)
    assert (found.engine, found.recall) == ("exact", 1.0)


def test_faiss_finds_most_and_says_how_much():
    vectors = clusters()
    fast, exact = neighbors.knn(vectors, 10, exact=False), neighbors.knn(vectors, 10, exact=True)
    found = np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(fast.indices, exact.indices, strict=True)])
    assert found > 0.9
    assert fast.recall == pytest.approx(found, abs=0.05)
    assert fast.engine.startswith("IVF")


def test_whatever_faiss_finds_has_its_canonical_distance_in_order_and_never_itself():
    vectors = np.repeat(clusters(1000), 3, axis=0)
    found = neighbors.knn(vectors, 5, exact=False)
    again = kernels.nearest_of(vectors, np.arange(3000), found.indices, 5)
    np.testing.assert_array_equal(found.distances, again[0])
    np.testing.assert_array_equal(found.indices, again[1])
    assert not (found.indices == np.arange(3000)[:, None]).any()
    assert found.distances.dtype == np.float32
    assert found.indices.dtype == np.int64


def test_a_repeat_gives_the_same_answer():
    first, again = (neighbors.knn(clusters(), 10, exact=False, n_threads=2) for _ in range(2))
    np.testing.assert_array_equal(first.indices, again.indices)


def test_size_decides_unless_it_is_said(monkeypatch):
    monkeypatch.setattr(neighbors, "EXACT_UP_TO", 999)
    assert neighbors.knn(clusters(999), 3).engine == "exact"
    assert neighbors.knn(clusters(1000), 3).engine != "exact"


def test_without_faiss_everything_is_exact_and_asking_for_less_is_an_error(monkeypatch):
    monkeypatch.setattr(neighbors, "faiss", None)
    monkeypatch.setattr(neighbors, "EXACT_UP_TO", 999)
    assert neighbors.knn(clusters(1500), 3).engine == "exact"
    with pytest.raises(RuntimeError, match="faiss is not installed"):
        neighbors.knn(clusters(1500), 3, exact=False)


def test_it_imports_where_faiss_is_not():
    script = "import sys; sys.modules['faiss'] = None; from winnow import neighbors; print(neighbors.faiss)"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "None"


@pytest.mark.parametrize("n", [0, 1, 3])
def test_fewer_others_than_asked_for(n):
    assert neighbors.knn(clusters(n), 5, exact=False).indices.shape == (n, max(0, n - 1))


def test_wrong_vectors_are_refused():
    with pytest.raises(kernels.KernelError, match="float32"):
        neighbors.knn(clusters(9).astype(np.float64), 2)
