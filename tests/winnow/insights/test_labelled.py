"""What labels say of a selection is counted right, and no gain is claimed that is not there."""

import json

import numpy as np
import pytest
from pydantic import TypeAdapter
from vectors_as_embedded import embedded_of

from winnow.insights import inspect
from winnow.results import Labels, silent
from winnow.selection import select
from winnow.spec import OF_LABELS, SelectionSpec


def classes(n, seed=0, apart=6.0):
    """Ten classes of very unequal size, each a cloud of its own."""
    rng = np.random.default_rng(seed)
    which = np.minimum(9, rng.geometric(0.35, n) - 1)
    middles = rng.normal(size=(10, 16)) * apart
    vectors = (middles[which] + rng.normal(size=(n, 16))).astype(np.float32)
    return vectors, [f"class {number}" for number in which]


def seen(name, vectors, values, asked, tests=None):
    spec = TypeAdapter(SelectionSpec).validate_python(asked)
    tests = np.arange(len(values)) % 5 == 0 if tests is None else tests
    selection = select(spec, vectors, seed=3)
    found = inspect([name], embedded_of(vectors), selection, labels=Labels(values, tests), report=silent)[0].data
    assert json.loads(json.dumps(found, allow_nan=False)) is not None
    return found, selection


CORESET = {"method": "coreset", "target": {"count": 60}}
RANDOM = {"method": "random", "target": {"count": 60}}


def test_the_balance_counts_every_sample_once():
    vectors, values = classes(800)
    values[:30] = [""] * 30
    data, selection = seen("balance", vectors, values, CORESET)
    assert sum(row["samples"] for row in data["classes"]) + data["unlabelled_samples"] == 800
    assert sum(row["kept"] for row in data["classes"]) + data["unlabelled_kept"] == 60
    for row in data["classes"]:
        assert row["samples"] == values.count(row["label"])
        assert row["kept"] == sum(values[position] == row["label"] for position in selection.positions)


def test_vectors_that_know_the_labels_measure_high_and_labels_that_mean_nothing_measure_low():
    vectors, values = classes(800)
    high, _ = seen("encoder", vectors, values, CORESET)
    shuffled = [values[at] for at in np.random.default_rng(1).permutation(800)]
    low, _ = seen("encoder", vectors, shuffled, CORESET)
    assert high["measured"]["knn_accuracy"]["value"] > 0.95 > 0.5 > low["measured"]["knn_accuracy"]["value"]
    assert high["measured"]["twin_recall"] is None


def test_a_selection_that_finds_rare_classes_beats_random():
    rng = np.random.default_rng(0)
    which = np.where(rng.random(2000) < 0.6, 0, rng.integers(1, 50, 2000))
    vectors = ((rng.normal(size=(50, 16)) * 6)[which] + rng.normal(size=(2000, 16))).astype(np.float32)
    data, _ = seen("backtest", vectors, [f"class {number}" for number in which], CORESET)
    assert data["budgets"][0]["gain"]["value"] > 0.1
    assert data["verdict"].startswith("better than random")


def test_random_is_not_said_to_beat_itself():
    verdicts = [
        seen("backtest", *classes(2000, seed, apart=1.0), RANDOM)[0]["verdict"].startswith("no gain shown")
        for seed in range(4)
    ]
    assert sum(verdicts) >= 3  # an interval of 95 % may be wrong once


def test_what_only_measures_teaches_nobody():
    """Were the test samples learnt from, a classifier on two well-hidden classes would look good."""
    vectors, values = classes(400)
    tests = np.arange(400) >= 200
    data, selection = seen("backtest", vectors, values, {"method": "coreset", "target": {"count": 100}}, tests)
    assert data["budgets"][-1]["budget"] == int((~tests[selection.positions]).sum())


@pytest.mark.parametrize("name", OF_LABELS)
@pytest.mark.parametrize("values", [["a"] * 60, [""] * 59 + ["a"], ["a", "b"] * 5 + [""] * 50, ["a"] * 59 + ["b"]])
def test_too_little_to_measure_is_said_not_guessed(name, values):
    vectors = classes(60)[0]
    seen(name, vectors, values, {"method": "coreset", "target": {"count": 10}})


@pytest.mark.parametrize("name", ["encoder", "backtest"])
@pytest.mark.parametrize("rare", range(0, 60, 7))
def test_few_to_learn_from_and_one_of_its_kind_are_no_trouble(name, rare):
    values = ["a"] * 60
    values[rare] = "b"
    vectors = classes(60)[0]
    for tests in (np.arange(60) > 40, np.arange(60) >= 55, np.arange(60) < 55):
        seen(name, vectors, values, {"method": "coreset", "target": {"count": 10}}, tests & (np.arange(60) != rare))


def test_without_labels_there_are_only_the_insights_that_need_none():
    vectors, _ = classes(60)
    selection = select(
        TypeAdapter(SelectionSpec).validate_python({"method": "coreset", "target": {"count": 9}}), vectors, seed=0
    )
    found = inspect(["curve", *OF_LABELS], embedded_of(vectors), selection, report=silent)
    assert [insight.name for insight in found] == ["curve"]
