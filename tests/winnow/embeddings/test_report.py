"""What an encoder is worth: high where classes differ to the eye, chance where labels mean nothing."""

import csv

import numpy as np
import pytest
from PIL import Image

from winnow.embeddings.report import report_on
from winnow.errors import InvalidLabels, InvalidRequest


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ninety pictures: dawn, noon and night, each with its own clutter."""
    folder = tmp_path_factory.mktemp("labelled")
    for number in range(90):
        rng = np.random.default_rng(number)
        clutter = rng.normal(0, 40, (6, 6, 3)) + (70, 130, 190)[number % 3]
        picture = Image.fromarray(np.clip(clutter, 0, 255).astype(np.uint8)).resize((64, 64), Image.Resampling.BICUBIC)
        picture.save(folder / f"{number:02d}.png")
    return folder


def table(folder, label_of, split_of=None):
    with (folder / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label"] + (["split"] if split_of else []))
        for number in range(90):
            split = [split_of(number)] if split_of else []
            rows.writerow([f"{number:02d}.png", label_of(number), *split])
    return folder / "labels.csv"


def test_classes_that_differ_to_the_eye_are_told_apart(folder):
    labels = table(
        folder, lambda number: ["dawn", "noon", "night"][number % 3], lambda n: "test" if n < 30 else "train"
    )
    found = report_on(folder, labels, "descriptor-64", processes=1)
    assert found.knn_accuracy.value > 0.6
    assert found.probe_accuracy.value > 0.9
    assert found.intra_class_edges.value > 0.6
    assert found.twin_recall.value > 0.9
    assert [*found.low_shot] == [50]
    assert 0 < found.knn_accuracy.within < 0.2


def test_labels_that_mean_nothing_are_guessed(folder):
    labels = table(folder, lambda number: str(np.random.default_rng(number).integers(3)))
    found = report_on(folder, labels, "descriptor-64", processes=1)
    assert found.probe_accuracy.value < 0.8
    assert found.intra_class_edges.value < 0.5


@pytest.mark.parametrize("text", ["name,kind\n", "path,label\nnobody.png,a\n", "path,label,split\n00.png,a,train\n"])
def test_a_table_that_says_too_little_is_refused(folder, tmp_path, text):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises((InvalidLabels, InvalidRequest)):
        report_on(folder, tmp_path / "labels.csv", "descriptor-64", processes=1)
