"""Principal components: the right ones, the same bits every time, and no trouble with samples that are few or alike."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest

from winnow.embeddings import head as heads
from winnow.errors import InvalidVectors
from winnow.spec import EncoderSpec

KINDS = ["pca", "pca-whitening"]


def correlated(rows, width, seed=0):
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(rows, width)) * np.geomspace(10, 0.1, width)
    return (mixed @ rng.normal(size=(width, width)) + rng.normal(size=width)).astype(np.float32)


def test_the_components_are_those_of_scikit_learn():
    decomposition = pytest.importorskip("sklearn.decomposition", reason="scikit-learn is not installed")
    vectors = correlated(3000, 40)
    for kind in KINDS:
        theirs = decomposition.PCA(12, whiten=kind == "pca-whitening", svd_solver="full").fit(vectors.astype(float))
        head = heads.fit(vectors, kind, 12)
        ours, said = heads.apply(head, vectors), theirs.transform(vectors.astype(float))
        signs = np.sign((ours * said).sum(axis=0))
        np.testing.assert_allclose(ours, said * signs, rtol=2e-3, atol=2e-3 * np.abs(said).max())
        np.testing.assert_allclose(head.explained, theirs.explained_variance_ratio_, rtol=1e-6)


def test_a_direction_points_to_where_its_largest_entry_is_positive():
    matrix = heads.fit(correlated(500, 20), "pca", 20).matrix
    assert (matrix[np.abs(matrix).argmax(axis=0), np.arange(20)] > 0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("rows", "width"), [(1, 30), (2, 30), (9, 300), (31, 30), (2500, 1500)])
def test_few_samples_leave_zeros_where_there_is_no_direction(kind, rows, width):
    vectors = correlated(rows, width)
    out = heads.apply(heads.fit(vectors, kind, 16), vectors)
    assert out.shape == (rows, 16)
    assert np.isfinite(out).all()
    alive = min(rows - 1, 16)
    assert (np.abs(out[:, :alive]).max(axis=0, initial=0) > 0).all()
    assert not out[:, alive:].any()
    if kind == "pca" and rows <= 16:  # nothing was lost: distances are what they were
        before = np.linalg.norm(vectors[:, None].astype(float) - vectors[None], axis=2)
        after = np.linalg.norm(out[:, None].astype(float) - out[None], axis=2)
        np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4 * before.max(initial=1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [0.0, 0.1, 3.7, 1e30, 1e-30])
@pytest.mark.parametrize("shape", [(1, 20), (50, 20), (7001, 12), (10, 700)])
def test_samples_that_are_all_alike_become_zeros(kind, value, shape):
    vectors = np.full(shape, value, np.float32)
    rows = heads.apply(heads.fit(vectors, kind, 8), vectors)
    assert np.abs(rows).max() <= 1e-6 * value


def test_whitening_gives_every_direction_the_same_weight():
    vectors = correlated(5000, 30)
    out = heads.apply(heads.fit(vectors, "pca-whitening", 10), vectors)
    np.testing.assert_allclose(out.std(axis=0), np.ones(10), rtol=1e-3)


def test_many_samples_are_fitted_on_some_that_are_evenly_spaced(monkeypatch):
    monkeypatch.setattr(heads, "_MOST_ROWS", 1000)
    vectors = correlated(7001, 12)
    head = heads.fit(vectors, "pca", 8)
    assert head.rows == 1000
    np.testing.assert_array_equal(head.matrix, heads.fit(vectors[np.arange(1000) * 7001 // 1000], "pca", 8).matrix)


def test_wide_vectors_never_need_the_square_of_their_width(monkeypatch):
    monkeypatch.setattr(heads, "_WIDE", 100)
    monkeypatch.setattr(heads, "_MOST_WIDE_ROWS", 60)
    solved, solve = [], np.linalg.eigh
    monkeypatch.setattr(np.linalg, "eigh", lambda matrix: solved.append(matrix.shape) or solve(matrix))
    head = heads.fit(correlated(500, 101), "pca", 8)
    assert head.rows == 60
    assert solved == [(60, 60)]


SCRIPT = """
import numpy as np
from winnow.embeddings import head
vectors = np.random.default_rng(0).normal(size=(20000, 512)).astype(np.float32) @ np.diag(np.geomspace(9, .1, 512))
print(head.facts(head.fit(vectors.astype(np.float32), "pca", 64))["digest"])
"""


def test_the_bits_are_the_same_every_time_in_the_surroundings_of_a_worker():
    from worker.runner import _SURROUNDINGS

    def digest(**said):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], env=os.environ | said, capture_output=True, text=True, check=True
        )
        return done.stdout

    assert digest(**_SURROUNDINGS, OMP_NUM_THREADS="1") == digest(**_SURROUNDINGS, OMP_NUM_THREADS="2")


def test_what_is_asked_for_is_what_comes_out():
    vectors = correlated(200, 100)
    plain, none = heads.headed(EncoderSpec(name="given"), vectors)
    assert none is None
    assert plain is vectors
    short, head = heads.headed(EncoderSpec(name="given", dimension=10, normalize=True), vectors)
    assert short.shape == (200, 10)
    np.testing.assert_allclose(np.linalg.norm(short, axis=1), 1, rtol=1e-6)
    assert heads.facts(head) | {"digest": ""} == {
        "kind": "pca",
        "components": 10,
        "of": 100,
        "fitted_on": 200,
        "explained_variance": heads.facts(head)["explained_variance"],
        "digest": "",
    }
    assert 0.3 < heads.facts(head)["explained_variance"] < 1
    with pytest.raises(InvalidVectors, match="100 wide"):
        heads.headed(EncoderSpec(name="given", dimension=101), vectors)


def test_zeros_have_no_length_to_be_brought_to_one():
    vectors = np.array([[0] * 8, [3, 4] + [0] * 6], np.float32)
    rows, _ = heads.headed(EncoderSpec(name="given", normalize=True), vectors)
    np.testing.assert_allclose(rows[:, :2], [[0, 0], [0.6, 0.8]], rtol=1e-6)


def test_a_head_that_is_kept_can_be_applied_again_and_is_the_same_file_each_time():
    vectors = correlated(100, 30)
    head = heads.fit(vectors, "pca-whitening", 8)
    files = [io.BytesIO(), io.BytesIO()]
    for file in files:
        heads.write(head, file)
    assert files[0].getvalue() == files[1].getvalue()
    kept = np.load(io.BytesIO(files[0].getvalue()), allow_pickle=False)
    again = ((vectors - kept["mean"]) @ kept["matrix"]).astype(np.float32)
    np.testing.assert_allclose(again, heads.apply(head, vectors), rtol=1e-5, atol=1e-5)
