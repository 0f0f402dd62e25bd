"""Distillation, at the size of a toy: it learns, it goes on where it was killed, it ships what it learned."""

import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="torch is not installed (the extra `torch`)")
from winnow.embeddings import student, winnow_64  # noqa: E402 - they need torch
from winnow.embeddings.training import crops, distill, teacher  # noqa: E402

pytestmark = pytest.mark.slow  # minutes: a network learns
CHANNELS = (16, 24, 24, 32, 32, 32, 64, 64, 64, 64, 96, 96, 96, 160, 160, 160, 320)


def untrained_teacher(path):
    """Random weights in the teacher's shapes."""
    rng, shapes, channels = np.random.default_rng(0), [(32, 3, 3, 3)], 32
    for number, out in enumerate(CHANNELS):
        inside = channels * (6 if number else 1)
        shapes += [(inside, channels, 1, 1)] * bool(number) + [(inside, 1, 3, 3), (out, inside, 1, 1)]
        channels = out
    shapes.append((1280, channels, 1, 1))
    arrays = {
        f"w{at:02}": rng.normal(0, np.sqrt(2 / np.prod(s[1:])), s).astype(np.float16) for at, s in enumerate(shapes)
    }
    biases = {f"b{at:02}": np.zeros(s[0], np.float32) for at, s in enumerate(shapes)}
    path.parent.mkdir()
    np.savez(path, **arrays, **biases)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    untrained_teacher(folder / "weights" / "mobilenet_v2_tf2_dequant_f16.npz")
    rng = np.random.default_rng(1)
    with zipfile.ZipFile(folder / "toy.zip", "w") as archive:
        rows = []
        for number in range(60):
            picture = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)).resize((120, 90))
            out = io.BytesIO()
            picture.save(out, "PNG")
            archive.writestr(f"toy/{number}.png", out.getvalue())
            rows.append(f"{number}.png,{'test' if number % 5 == 0 else 'train'}")
        archive.writestr("toy/labels.csv", "\n".join(["path,split", *rows]))
    return folder


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(crops, "SHARES", (crops.Share("toy", 1, 4),))
    for name, value in {"_BATCH": 16, "_HELD_BACK": 32, "_DETAIL": 80, "_WARM_UP": 5}.items():
        monkeypatch.setattr(distill, name, value)


def trained(data, work, epochs):
    made = crops.crops_of(data, work / "crops", data / "weights" / "mobilenet_v2_tf2_dequant_f16.npz", seed=0)
    run = distill.Run(made, epochs, seed=0)
    if (work / "checkpoint.pt").exists():
        run.load(work / "checkpoint.pt")
    return run


def test_it_sees_training_pictures_only(data, tmp_path):
    assert len(trained(data, tmp_path, 1).order) == 48 * 4


def test_it_learns_and_ships_what_it_learned(data, tmp_path):
    torch.set_num_threads(2)
    run = trained(data, tmp_path, 8)
    run.train(tmp_path)
    curve = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert len(curve) == 8
    assert curve[-1]["left_unsaid"] < 0.6 * curve[0]["left_unsaid"]
    distill.ship(run.student, tmp_path / "shipped")
    assert (tmp_path / "shipped").stat().st_size < winnow_64.WEIGHTS.stat().st_size * 1.01


def test_killed_after_any_step_it_ends_at_the_same_weights(data, tmp_path):
    whole = trained(data, tmp_path / "whole", 2)
    whole.train(tmp_path / "whole")
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "crops").symlink_to(tmp_path / "whole" / "crops")
    cut = trained(data, tmp_path / "cut", 2)
    for rows, _ in zip(cut._epoch(), range(7), strict=False):  # and then it dies
        cut._learn(rows)
    cut.save(tmp_path / "cut" / "checkpoint.pt")
    again = trained(data, tmp_path / "cut", 2)
    again.train(tmp_path / "cut")
    for name, tensor in whole.student.state_dict().items():
        torch.testing.assert_close(again.student.state_dict()[name], tensor, rtol=0, atol=0, msg=name)


def test_the_teacher_names_what_it_was_taught(real_pictures):
    """The arrays are read as they were written: its last layer, which training ignores, finds most classes."""
    path = real_pictures / "weights" / "mobilenet_v2_tf2_dequant_f16.npz"
    with zipfile.ZipFile(real_pictures / "inet1k256.zip") as archive, np.load(path) as arrays:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))  # one of each class, in order
        shown = [Image.open(io.BytesIO(archive.read(name))).convert("RGB").resize((160, 160)) for name in names[::20]]
        last = torch.from_numpy(arrays["w52"][1:, :, 0, 0].astype(np.float32))
        bias = torch.from_numpy(arrays["b52"][1:])
    seen = teacher.Teacher(path)(student.as_input(np.stack([np.asarray(picture) for picture in shown])))
    named = (seen @ last.T + bias).argmax(1).numpy()
    assert (named == np.arange(1000)[::20]).mean() > 0.5
