"""A folder laid out as ILSVRC2012 becomes Acc@1 and Acc@5: high where classes differ to the eye, chance where not."""

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import seeded_weights
from PIL import Image

pytest.importorskip("sklearn", reason="scikit-learn is not installed (the extra `report`)")
from winnow.embeddings import Runtime
from winnow.embeddings.evaluate import evaluate
from winnow.encoders import ENCODERS
from winnow.errors import InvalidRequest
from winnow.spec import EncoderSpec

CLASSES = 8


def draw(folder, part, each, first=0, classes=CLASSES):
    """Pictures of one colour a class, each with its own clutter."""
    for number in range(classes):
        target = folder / part / f"n{number:08d}"
        target.mkdir(parents=True, exist_ok=True)
        colour = np.array([number & 1, number >> 1 & 1, number >> 2 & 1]) * 55 + 90
        for place in range(first, first + each):
            clutter = np.random.default_rng([number, place]).normal(0, 45, (5, 6, 3)) + colour
            picture = Image.fromarray(np.clip(clutter, 0, 255).astype(np.uint8))
            picture.resize((80, 60), Image.Resampling.BICUBIC).save(target / f"{place}.JPEG", quality=92)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return draw(draw(tmp_path_factory.mktemp("ilsvrc"), "train", 12), "val", 5, first=100)


def found(folder, name="descriptor-64", **more):
    asked = {"per_class": None, "seeds": 3, "cache": None, "processes": 1, "runtime": Runtime(device="cpu")} | more
    return evaluate(folder, EncoderSpec(name=name), **asked)


def test_all_of_train_is_learned_from_and_all_of_val_is_measured(folder):
    said = found(folder)
    assert (said.classes, said.learned, said.measured, said.seeds) == (8, 96, 40, (0,))
    assert (said.version, said.dimension, said.unusable) == ("1", 64, 0)
    assert said.top1.value > 0.9
    assert said.top5.value >= said.top1.value
    assert 0 < said.top1.low < said.top1.value <= said.top1.high <= 1
    assert said == found(folder)


def test_fewer_pictures_of_a_class_are_drawn_anew_for_each_seed(folder):
    said = found(folder, per_class=1)
    assert (said.learned, said.measured, said.seeds) == (8, 40, (0, 1, 2))
    assert said.top1.value < found(folder).top1.value
    assert said.top1.spread > 0


def test_without_train_a_fifth_of_val_is_measured(tmp_path):
    said = found(draw(tmp_path, "val", 10), seeds=2)
    assert (said.learned, said.measured, said.seeds) == (64, 16, (0, 1))
    assert said.top1.value > 0.8


def test_labels_that_mean_nothing_are_guessed(folder, tmp_path):
    rng = np.random.default_rng(0)
    for path in sorted(folder.rglob("*.JPEG")):
        target = tmp_path / path.relative_to(folder).parts[0] / f"n{rng.integers(CLASSES)}"
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target / f"{path.parent.name}-{path.name}")
    said = found(tmp_path)
    assert said.top1.value < 0.4
    assert said.top1.low < 1 / CLASSES < said.top1.high
    assert said.top1.value < said.top5.value < 1


def test_what_cannot_be_read_is_counted_and_copies_are_pictures_too(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "x")
    (tmp_path / "x" / "val" / "n00000000" / "broken.JPEG").write_bytes(b"\xff\xd8 no more")
    shutil.copy(tmp_path / "x" / "val" / "n00000003" / "100.JPEG", tmp_path / "x" / "val" / "n00000003" / "copy.JPEG")
    said = found(tmp_path / "x")
    assert (said.unusable, said.measured) == (1, 41)


def test_a_folder_that_cannot_be_measured_is_refused(tmp_path):
    with pytest.raises(InvalidRequest, match="val/CLASS"):
        found(tmp_path)
    with pytest.raises(InvalidRequest, match="two classes"):
        found(draw(tmp_path, "val", 3, classes=1))


def test_a_backbone_is_measured_on_64_numbers_and_the_second_time_from_its_cache(folder, tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="torch is not installed (the extra `torch`)")
    entry = dataclasses.replace(ENCODERS["torchvision/resnet18"], size=64, shorter=64)
    monkeypatch.setitem(ENCODERS, entry.name, entry)
    seeded_weights.write(tmp_path, entry)
    more = {"runtime": Runtime(device="cpu", weights_dir=tmp_path), "cache": tmp_path / "cache"}
    first = found(folder, entry.name, **more)
    assert first.dimension == 64
    assert first.version.startswith("IMAGENET1K_V1-")
    assert first.top1.value > 0.5  # colours survive even a network that has learned nothing
    from winnow.embeddings import backbone

    monkeypatch.setattr(backbone.Backbone, "embed", lambda *_: pytest.fail("it is in the cache"))
    assert found(folder, entry.name, **more) == first


def test_the_command_says_it_with_its_interval_its_counts_and_its_seeds(folder):
    winnow = str(Path(sys.executable).with_name("winnow"))
    done = subprocess.run(
        [winnow, "evaluate", "descriptor-64", str(folder)],
        env=os.environ | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "Acc@1" in done
    assert "Acc@5" in done
    assert "learned from 96 pictures, measured on 40; seeds 0; 0 unusable" in done
    for wrong, word in ((["nobody"], "no such encoder"), (["descriptor-64", "--dimension", "65"], "cannot be more")):
        refused = subprocess.run(
            [winnow, "evaluate", wrong[0], str(folder), *wrong[1:]], capture_output=True, text=True, check=False
        )
        assert refused.returncode != 0
        assert word in " ".join(refused.stderr.replace("│", " ").split())
