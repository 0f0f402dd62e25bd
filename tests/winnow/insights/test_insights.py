"""Each insight is true of the selection it describes, finite, bounded, and the same every time."""

import json
import sys

import numpy as np
import pytest
from pydantic import TypeAdapter
from vectors_as_embedded import embedded_of

from winnow.insights import INSPECTORS, OF_LABELS, inspect
from winnow.results import silent
from winnow.selection import select
from winnow.spec import ALL_INSIGHTS, SelectionSpec


def seen(vectors, count, name):
    embedded = embedded_of(vectors)
    asked = TypeAdapter(SelectionSpec).validate_python({"method": "coreset", "target": {"count": count}})
    selection = select(asked, vectors, seed=0)
    return inspect([name], embedded, selection, report=silent)[0].data, selection


def cloud(n=300, width=5, seed=0):
    return np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)


def test_every_insight_that_can_be_asked_for_exists():
    assert {*INSPECTORS, *OF_LABELS} == set(ALL_INSIGHTS)


@pytest.mark.parametrize("name", INSPECTORS)
@pytest.mark.parametrize("vectors", [cloud(), cloud(1), cloud(2), np.zeros((50, 3), np.float32), cloud(40, 1)], ids=str)
def test_an_insight_is_plain_json_whatever_the_data(name, vectors):
    data, _ = seen(vectors, min(20, len(vectors)), name)
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert seen(vectors, min(20, len(vectors)), name)[0] == data


def test_the_curve_ends_at_the_radius_of_the_selection_and_never_rises():
    data, selection = seen(cloud(), 40, "curve")
    assert data["radius"][-1] == pytest.approx(selection.radius)
    assert (np.diff(data["radius"]) <= 0).all()
    assert data["budget"][-1] == 40
    assert data["knee"] in data["budget"]


def test_the_histograms_count_every_sample_once():
    data, selection = seen(cloud(), 40, "histograms")
    assert sum(data["counts"]["before"]) == sum(data["counts"]["to_nearest_kept"]) == 300
    assert sum(data["counts"]["after"]) == 40
    assert data["median"]["after"] > data["median"]["before"]


def test_the_histogram_before_is_of_neighbours_among_all_samples_not_of_those_looked_at(monkeypatch):
    """An even part of a crowded set is not crowded: to look for neighbours in it alone would hide the duplicates."""
    monkeypatch.setattr(sys.modules["winnow.insights.histograms"], "_SAMPLES", 50)
    twins = np.repeat(cloud(300), 2, axis=0)
    data, _ = seen(twins, 40, "histograms")
    assert data["median"]["before"] == 0
    assert data["samples_measured"] == {"before": 50, "after": 40, "to_nearest_kept": 600}


def test_the_map_shows_every_kept_sample_and_at_most_so_many_others():
    data, selection = seen(cloud(500), 30, "map")
    ranks = sorted(point["rank"] for point in data["points"] if point["rank"] is not None)
    assert ranks == list(range(30))
    assert len(data["points"]) == 500


def test_the_neighbours_of_a_kept_sample_are_those_it_covers_nearest_first():
    data, selection = seen(cloud(), 20, "neighbours")
    for row in data["rows"]:
        distances = [other["distance"] for other in row["removed"]]
        assert distances == sorted(distances)
        for other in row["removed"]:
            position = int(other["path"].removesuffix(".jpg"))
            assert selection.covered_at[position] == row["rank"]
