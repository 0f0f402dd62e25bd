"""What every selection method promises, tested the same way for each one in the table."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from winnow.errors import InvalidVectors, JobCancelled
from winnow.selection import METHODS, select
from winnow.spec import SelectionSpec

every_method = pytest.mark.parametrize("method", METHODS)


def spec_of(method, metric="l2", **target):
    return TypeAdapter(SelectionSpec).validate_python({"method": method, "metric": metric, "target": target})


def cloud(n=120, width=6, seed=0):
    return np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)


def test_the_table_and_the_spec_name_the_same_methods():
    schema = TypeAdapter(SelectionSpec).json_schema()
    assert set(schema["discriminator"]["mapping"]) == set(METHODS)


@every_method
@given(st.integers(1, 40), st.integers(1, 60), st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_the_right_number_of_different_samples_is_kept(method, n, count, seed):
    selection = select(spec_of(method, count=count), cloud(n, seed=seed), seed=seed)
    assert len(selection.positions) == min(n, count) == len(set(selection.positions.tolist()))
    assert len(selection.insertion) == len(selection.positions)


@every_method
@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_every_sample_is_explained_by_its_nearest_kept_one(method, metric):
    vectors = cloud()
    selection = select(spec_of(method, metric, count=15), vectors, seed=1)
    compared = vectors if metric == "l2" else vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    table = np.linalg.norm(compared[:, None] - compared[selection.positions][None], axis=2)
    np.testing.assert_allclose(selection.distance, table.min(axis=1), atol=1e-5)
    np.testing.assert_array_equal(selection.nearest, selection.positions[selection.covered_at])
    assert selection.radius == pytest.approx(table.min(axis=1).max(), abs=1e-5)


@every_method
def test_a_shorter_run_is_a_prefix_of_a_longer_one(method):
    short, long = (select(spec_of(method, count=count), cloud(), seed=3) for count in (10, 40))
    np.testing.assert_array_equal(short.positions, long.positions[:10])


@every_method
def test_threads_change_nothing(method):
    one, four = (select(spec_of(method, fraction=0.3), cloud(900, 20), seed=3, n_threads=n) for n in (1, 4))
    np.testing.assert_array_equal(one.positions, four.positions)
    np.testing.assert_array_equal(one.distance, four.distance)


@every_method
def test_the_stated_budget_is_the_one_at_which_a_sample_is_kept(method):
    vectors = cloud(40)
    budgets = select(spec_of(method, count=10), vectors, seed=2).full_rank
    for position in np.flatnonzero(budgets > 0):
        budget = int(budgets[position])
        assert position in select(spec_of(method, count=budget), vectors, seed=2).positions
        if budget > 1:
            assert position not in select(spec_of(method, count=budget - 1), vectors, seed=2).positions


@every_method
def test_vectors_without_a_length_are_refused_for_cosine_and_named(method):
    vectors = cloud(5)
    vectors[3] = 0
    with pytest.raises(InvalidVectors, match="rows 3"):
        select(spec_of(method, "cosine", count=2), vectors, seed=0)


@every_method
def test_nothing_to_select_from_is_an_error(method):
    with pytest.raises(InvalidVectors):
        select(spec_of(method, count=2), np.empty((0, 4), np.float32), seed=0)


@every_method
def test_progress_rises_to_its_total_in_every_stage(method):
    seen = {}
    select(
        spec_of(method, count=20),
        cloud(),
        seed=0,
        report=lambda stage, done, total, skipped=0: seen.setdefault(stage, []).append((done, total)),
    )
    assert "selecting" in seen
    for stage in seen.values():
        assert stage == sorted(stage)
        assert stage[-1][0] == stage[-1][1]


@every_method
def test_what_the_report_raises_ends_the_selection(method):
    def cancel(stage, done, total, skipped=0):
        raise JobCancelled

    with pytest.raises(JobCancelled):
        select(spec_of(method, count=20), cloud(), seed=0, report=cancel)


@every_method
def test_a_picks_insertion_distance_is_the_one_to_everything_ranked_before(method):
    vectors = cloud()
    selection = select(spec_of(method, count=30), vectors, seed=4)
    ranked = vectors[selection.positions]
    assert selection.insertion[0] == np.inf
    for rank in range(1, 30):
        nearest = np.linalg.norm(ranked[:rank] - ranked[rank], axis=1).min()
        assert selection.insertion[rank] == pytest.approx(nearest, abs=1e-5)


@every_method
def test_a_kept_sample_explains_itself_even_among_duplicates(method):
    vectors = np.repeat(cloud(5), 4, axis=0)
    selection = select(spec_of(method, count=15), vectors, seed=4)
    np.testing.assert_array_equal(selection.nearest[selection.positions], selection.positions)
    np.testing.assert_array_equal(selection.covered_at[selection.positions], np.arange(15))
    assert (selection.distance[selection.positions] == 0).all()


@every_method
@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_a_repeat_gives_the_same_bits_and_leaves_its_input_alone(method, metric):
    vectors = cloud()
    vectors.setflags(write=False)
    first, again = (select(spec_of(method, metric, fraction=0.2), vectors, seed=7) for _ in range(2))
    assert len(first.positions) == 24
    for field in ("positions", "insertion", "nearest", "distance", "covered_at", "full_rank"):
        assert getattr(first, field).tobytes() == getattr(again, field).tobytes()


@every_method
def test_one_sample_is_kept(method):
    selection = select(spec_of(method, fraction=0.5), cloud(1), seed=0)
    assert selection.positions.tolist() == [0]
    assert selection.radius == 0


@every_method
@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_vectors_that_are_not_finite_are_refused_and_named(method, metric):
    vectors = cloud(9)
    vectors[4, 1] = np.nan
    vectors[7, 0] = np.inf
    with pytest.raises(InvalidVectors, match="rows 4, 7 are not"):
        select(spec_of(method, metric, count=2), vectors, seed=0)


@every_method
def test_distances_beyond_float32_are_an_error_and_not_a_wrong_answer(method):
    with pytest.raises(InvalidVectors, match="too far apart"):
        select(spec_of(method, count=2), cloud(9) * np.float32(1e25), seed=0)


def test_cosine_does_not_care_how_long_a_vector_is():
    vectors = cloud()
    stretched = vectors * np.float32(2) ** np.arange(-60, 60, dtype=np.float32)[:, None]
    plain, long = (select(spec_of("coreset", "cosine", count=20), v, seed=0) for v in (vectors, stretched))
    np.testing.assert_array_equal(plain.positions, long.positions)
    assert plain.distance.max() <= 2


def test_random_follows_its_seed_and_nothing_else():
    first, again, other = (select(spec_of("random", count=20), cloud(), seed=s).positions.tolist() for s in (1, 1, 2))
    assert first == again != other
    assert select(spec_of("random", count=5), cloud(10), seed=0).positions.tolist() == [7, 4, 9, 3, 8]


def test_coreset_covers_everything_within_the_radius_with_no_pick_to_spare():
    vectors = cloud(300)
    selection = select(spec_of("coreset", radius=2.0), vectors, seed=0)
    assert selection.radius <= 2.0
    assert selection.insertion[-1] > 2.0


def test_coreset_keeps_only_samples_farther_apart_than_the_minimum():
    vectors = cloud(300)
    kept = vectors[select(spec_of("coreset", min_distance=2.0), vectors, seed=0).positions]
    apart = np.linalg.norm(kept[:, None] - kept[None], axis=2)
    assert apart[~np.eye(len(kept), dtype=bool)].min() >= 2.0 - 1e-5


@pytest.mark.parametrize("method", ["coreset", "adjacency"])
def test_a_minimum_distance_is_met_to_the_last_bit(method):
    vectors = np.array([[0.0], [1.0], [2.0], [3.0]], np.float32)
    for minimum, kept in [(1.0, 4), (1.0000001, 2), (5e-324, 4), (1e300, 1)]:
        assert len(select(spec_of(method, min_distance=minimum), vectors, seed=0).positions) == kept


@pytest.mark.parametrize("method", ["coreset", "adjacency"])
def test_any_minimum_distance_drops_exact_duplicates(method):
    vectors = np.repeat(cloud(6), 3, axis=0)
    assert len(select(spec_of(method, min_distance=5e-324), vectors, seed=0).positions) == 6


def test_adjacency_leaves_no_edge_shorter_than_the_minimum():
    vectors = cloud(200)
    kept = vectors[select(spec_of("adjacency", min_distance=1.5), vectors, seed=0).positions]
    apart = np.linalg.norm(kept[:, None] - kept[None], axis=2)
    assert 1 < len(kept) < 200
    assert apart[~np.eye(len(kept), dtype=bool)].min() >= 1.5 - 1e-5


@pytest.mark.parametrize("metric", ["l2", "cosine"])
@pytest.mark.parametrize("seed", range(4))
def test_no_selection_of_that_size_beats_the_lower_bound(metric, seed):
    """Against every selection there is."""
    vectors = cloud(11, 3, seed)
    selection = select(spec_of("coreset", metric, count=3), vectors, seed=0)
    compared = vectors.astype(np.float64)
    if metric == "cosine":
        compared /= np.linalg.norm(compared, axis=1, keepdims=True)
    table = np.linalg.norm(compared[:, None] - compared[None], axis=2)
    best = min(table[:, list(chosen)].min(axis=1).max() for chosen in itertools.combinations(range(11), 3))
    assert 0 < selection.proof.lower_bound <= best
    assert best <= selection.radius * (1 + 1e-6) <= 2 * best
