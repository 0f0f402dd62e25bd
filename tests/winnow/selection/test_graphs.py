"""Methods over the graph of near neighbours: what they promise like every method, and what is theirs."""

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

import kernels
from winnow.errors import InvalidVectors
from winnow.selection import select
from winnow.selection.adjacency import adjacency
from winnow.spec import SelectionSpec

OVER_PATHS = {
    "adjacency": {"method": "adjacency", "graph": "local", "neighbors": 3},
    "coreset": {"method": "coreset", "metric": "geodesic", "neighbors": 3},
}
both_methods = pytest.mark.parametrize("method", OVER_PATHS)


def spec_of(method, options=(), **target):
    return TypeAdapter(SelectionSpec).validate_python({**OVER_PATHS[method], **dict(options), "target": target})


def islands(n=60, seed=0):
    """Three clouds so far apart that no near neighbour leads from one to another."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, 2)) + np.repeat([[0, 0], [1000, 0], [0, 5000]], n // 3, axis=0)).astype(np.float32)


@both_methods
def test_a_shorter_run_is_a_prefix_of_a_longer_one(method):
    short, long = (select(spec_of(method, count=count), islands(), seed=0) for count in (10, 40))
    np.testing.assert_array_equal(short.positions, long.positions[:10])


@both_methods
def test_threads_change_nothing(method):
    one, four = (select(spec_of(method, fraction=0.4), islands(900), seed=0, n_threads=n) for n in (1, 4))
    for field in ("positions", "insertion", "nearest", "distance", "covered_at"):
        assert getattr(one, field).tobytes() == getattr(four, field).tobytes()


@both_methods
@pytest.mark.parametrize("target", [{"count": 2}, {"count": 20}, {"min_distance": 0.5}])
def test_every_sample_is_explained_in_a_straight_line_even_where_no_path_leads(method, target):
    vectors = islands()
    selection = select(spec_of(method, **target), vectors, seed=0)
    table = np.linalg.norm(vectors[:, None] - vectors[selection.positions][None], axis=2)
    np.testing.assert_allclose(selection.distance, table.min(axis=1), rtol=1e-3, atol=1e-3)


@both_methods
def test_the_first_of_every_part_is_infinitely_far(method):
    selection = select(spec_of(method, count=30), islands(), seed=0)
    apart = np.isinf(selection.insertion)
    assert apart.tolist() == [True] * 3 + [False] * 27
    assert len({position // 20 for position in selection.positions[:3].tolist()}) == 3


@both_methods
@pytest.mark.parametrize("target", [{"count": 20}, {"min_distance": 0.5}])
def test_progress_rises_to_its_total(method, target):
    seen = []
    select(spec_of(method, **target), islands(), seed=0, report=lambda *told: seen.append(told))
    done = [(done, total) for stage, done, total, *_ in seen if stage == "selecting"]
    assert [step for step, _ in done] == sorted(step for step, _ in done)
    assert done[-1][0] == done[-1][1]


@both_methods
def test_distances_beyond_float32_are_an_error_and_not_a_wrong_answer(method):
    with pytest.raises(InvalidVectors, match="too far apart"):
        select(spec_of(method, count=2), islands() * np.float32(1e25), seed=0)


@both_methods
def test_what_the_graph_was_is_noted(method):
    notes = select(spec_of(method, count=30), islands(), seed=0).notes
    assert notes["neighbors"] == 3
    assert notes.get("parts", notes.get("parts_reached")) == 3


def test_geodesic_covers_everything_within_the_radius_along_paths():
    selection = select(spec_of("coreset", radius=2.0), islands(300), seed=0)
    assert selection.notes["path_radius"] <= 2.0
    assert selection.radius <= 2.0
    assert selection.insertion[-1] > 2.0


def test_auto_takes_the_complete_graph_while_that_is_small_enough(monkeypatch):
    vectors = islands()
    auto = spec_of("adjacency", {"graph": "auto", "neighbors": 10}, count=9)
    assert select(auto, vectors, seed=0).notes["graph"] == "complete"
    monkeypatch.setitem(adjacency.__globals__, "COMPLETE_UP_TO", 59)
    assert select(auto, vectors, seed=0).notes["graph"] == "local"


def test_neighbors_are_those_of_the_kernel():
    vectors = islands()
    ranked = select(spec_of("adjacency", count=60), vectors, seed=0).positions
    removed = kernels.adjacency(vectors, 1, graph="local", neighbors=3)[0]
    np.testing.assert_array_equal(ranked[1:], removed[::-1])


@pytest.mark.parametrize(
    "given",
    [
        {"method": "coreset", "neighbors": 5},
        {"method": "adjacency", "graph": "complete", "neighbors": 5},
        {"method": "adjacency", "metric": "geodesic"},
        {"method": "adjacency", "graph": "local", "neighbors": 0},
        {"method": "adjacency", "graph": "local", "neighbors": 101},
        {"method": "adjacency", "graph": "nearby"},
    ],
)
def test_options_that_would_be_ignored_or_make_no_sense_are_refused(given):
    with pytest.raises(ValidationError):
        TypeAdapter(SelectionSpec).validate_python({**given, "target": {"count": 2}})
