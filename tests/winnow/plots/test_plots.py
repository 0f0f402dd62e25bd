"""Pictures are drawn from any insight, are equal for equal data, and take no orders from file names."""

import io

import pytest
from PIL import Image

from winnow.plots import PICTURES, draw
from winnow.results import Insight
from winnow.spec import ALL_INSIGHTS

HOSTILE = "$\\frac{1}{0}$ <img src=x onerror=alert(1)> \n\x1b[31m \u202egpj.exe"


def sample(rank, distance=None):
    return {"path": f"{HOSTILE}{rank}", "sample_id": f"{rank:064x}", "distance": distance}


SHARE = {"value": 0.7, "within": 0.05}
DATA = {
    "curve": {"budget": [1, 10, 100], "radius": [3.0, 2.0, 0.5], "mean_distance": [1.0, 0.5, 0.1], "knee": 10},
    "histograms": {
        "edges": [0.0, 1.0, 2.0],
        "counts": {"before": [3, 1], "after": [0, 2], "to_nearest_kept": [4, 0]},
        "median": {"before": 0.5, "after": 1.5, "to_nearest_kept": None},
    },
    "map": {
        "variance_share": [0.5, 0.2],
        "samples": 2,
        "points": [{"x": 0.0, "y": 1.0, "rank": 0, **sample(0)}, {"x": 1.0, "y": 0.0, "rank": None, **sample(1)}],
    }
    | {},
    "neighbours": {"rows": [{**sample(0), "rank": 0, "stands_for": 2, "removed": [sample(1, 0.1), sample(2, 0.2)]}]},
    "balance": {
        "classes": [{"label": f"{HOSTILE}{number}", "samples": 40 - number, "kept": number} for number in range(30)],
        "other_classes": 3,
        "other_samples": 5,
        "other_kept": 1,
        "unlabelled_samples": 2,
        "unlabelled_kept": 0,
        "classes_without_any_kept": 1,
    },
    "encoder": {
        "measured": {
            "knn_accuracy": SHARE,
            "probe_accuracy": SHARE,
            "low_shot": {50: SHARE, 100: SHARE},
            "intra_class_edges": SHARE,
            "twin_recall": None,
        },
        "samples": 300,
    },
    "backtest": {
        "budgets": [{"budget": budget, "ranked": SHARE, "random": SHARE, "gain": SHARE} for budget in (50, 100)],
        "verdict": "no gain shown",
        "samples": 300,
    },
}
for point in DATA["map"]["points"]:
    point["rank"] = 0 if point["x"] == 0.0 else None


def thumbnail(_path):
    out = io.BytesIO()
    Image.new("RGB", (120, 90), (200, 40, 40)).save(out, "JPEG")
    return out.getvalue()


def test_every_insight_has_its_picture():
    assert set(PICTURES) == set(ALL_INSIGHTS) == set(DATA)


@pytest.mark.parametrize("name", ALL_INSIGHTS)
@pytest.mark.parametrize("thumbnails", [lambda _path: None, thumbnail], ids=["without", "with thumbnails"])
def test_a_picture_is_a_picture_and_equal_data_give_equal_bytes(name, thumbnails):
    first, second = (draw(Insight(name, "title", DATA[name]), thumbnails=thumbnails) for _ in range(2))
    assert first == second
    with Image.open(io.BytesIO(first["png"])) as picture:
        assert picture.width > 600
    assert b"<svg" in first["svg"]
    assert b"onerror" not in first["svg"]


@pytest.mark.parametrize(
    ("name", "data"),
    [("encoder", {"measured": None, "reason": "too few"}), ("backtest", {"budgets": [], "reason": "too few"})],
)
def test_what_could_not_be_measured_is_said_in_the_picture(name, data):
    assert draw(Insight(name, "title", data))["svg"].startswith(b"<?xml")
