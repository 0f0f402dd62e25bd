"""Jobs with the encoders of others: with weights an answer of 64 numbers and its head, without them a word about it."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import seeded_weights

from winnow.encoders import ENCODERS

pytest.importorskip("torch", reason="torch is not installed (the extra `torch`)")

RESNET = "torchvision/resnet18"
SELECTION = {"method": "coreset", "target": {"count": 6}}


@pytest.fixture(scope="module")
def weights_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    seeded_weights.write(folder, ENCODERS[RESNET])
    return folder


def artifact(service, job, name):
    return service.http.get(f"/v1/jobs/{job['id']}/artifacts/{name}")


def test_a_backbone_ends_in_64_numbers_and_its_head_is_kept(start_service, make_pictures, weights_dir, tmp_path):
    pictures = make_pictures(tmp_path / "pictures")
    answers = []
    for threads in ("1", "2"):
        where = tmp_path / f"service-{threads}"
        where.mkdir()
        settings = {"WINNOW_ALLOW_ROOTS": str(pictures), "WINNOW_WEIGHTS_DIR": str(weights_dir)}
        with start_service(where, **settings, WINNOW_THREADS=threads, WINNOW_DEVICE="cpu") as service:
            source = {"type": "folder", "path": str(pictures)}
            job = service.filter(source, SELECTION, encoder={"name": RESNET})
            assert job["state"] == "succeeded", job
            manifest = artifact(service, job, "manifest.json").json()
            head = np.load(io.BytesIO(artifact(service, job, "head.npz").content), allow_pickle=False)
            shorter = service.filter(source, SELECTION, encoder={"name": RESNET, "dimension": 16, "normalize": True})
            spelled = service.filter(source, SELECTION, encoder={"name": RESNET, "dimension": 64, "head": "pca"})
        assert manifest["head"] | {"digest": "", "explained_variance": 0} == {
            "kind": "pca",
            "components": 64,
            "of": 512,
            "fitted_on": manifest["head"]["fitted_on"],
            "explained_variance": 0,
            "digest": "",
        }
        assert 0.99 < manifest["head"]["explained_variance"] <= 1  # fewer pictures than numbers
        assert re.fullmatch(r"torchvision/resnet18/IMAGENET1K_V1-\w{12}-cpu-\w+", manifest["versions"]["encoder"])
        assert head["matrix"].shape == (512, 64)
        assert "head" in manifest["files"][[file["name"] for file in manifest["files"]].index("head.npz")]["name"]
        assert spelled["digests"] == job["digests"]
        assert shorter["digests"]["embedding"] != job["digests"]["embedding"]
        answers.append((job["digests"], manifest["head"]["digest"], shorter["digests"]))
    assert answers[0] == answers[1]


def test_without_weights_the_job_says_what_to_bring(start_service, make_pictures, tmp_path):
    pictures = make_pictures(tmp_path / "pictures")
    with start_service(tmp_path, TORCH_HOME=str(tmp_path / "none")) as service:
        job = service.filter({"type": "folder", "path": str(pictures)}, SELECTION, encoder={"name": RESNET})
    assert (job["state"], job["error"]["code"]) == ("failed", "WEIGHTS_MISSING")
    assert "winnow encoders fetch torchvision/resnet18" in job["error"]["detail"]
    assert "WINNOW_ALLOW_DOWNLOADS" in job["error"]["detail"]


def test_given_vectors_are_shortened_where_that_is_asked_for(start_service, tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "vectors.npy", rng.normal(size=(400, 96)).astype(np.float32))
    source = {"type": "vectors", "path": str(tmp_path / "vectors.npy")}
    with start_service(tmp_path) as service:
        plain = service.filter(source, SELECTION)
        short = service.filter(source, SELECTION, encoder={"name": "given", "dimension": 12})
        wide = service.filter(source, SELECTION, encoder={"name": "given", "dimension": 97})
        assert artifact(service, plain, "head.npz").status_code == 404
        manifest = artifact(service, short, "manifest.json").json()
    assert (manifest["head"]["components"], manifest["head"]["of"]) == (12, 96)
    assert plain["digests"]["embedding"] != short["digests"]["embedding"]
    assert (wide["state"], wide["error"]["code"]) == ("failed", "INVALID_VECTORS")


def test_the_command_line_lists_encoders_and_says_whose_weights_are_missing(weights_dir, tmp_path):
    winnow = str(Path(sys.executable).with_name("winnow"))
    environment = os.environ | {
        "WINNOW_WEIGHTS_DIR": str(weights_dir),
        "XDG_CACHE_HOME": str(tmp_path),
        "COLUMNS": "200",
    }
    listed = subprocess.run(
        [winnow, "encoders", "list"], env=environment, capture_output=True, text=True, check=True
    ).stdout
    rows = {line.split()[1]: line for line in listed.splitlines() if "/" in line}
    assert "present" in rows[RESNET]
    assert "missing" in rows["torchvision/resnet50"]
    refused = subprocess.run(
        [winnow, "encoders", "fetch", "nobody"], env=environment, capture_output=True, text=True, check=False
    )
    assert refused.returncode != 0
    assert "no such encoder" in " ".join(refused.stderr.split())


def test_the_command_line_filters_with_another_encoder_and_fewer_numbers(make_pictures, tmp_path):
    pictures, out = make_pictures(tmp_path / "pictures"), tmp_path / "out"
    winnow = str(Path(sys.executable).with_name("winnow"))
    asked = ["--encoder", "descriptor-64", "--dimension", "16", "--count", "6", "--out", str(out)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WINNOW_")}
    subprocess.run([winnow, "filter", str(pictures), *asked], env=environment, capture_output=True, check=True)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["versions"]["encoder"] == "descriptor-64/1"
    assert (manifest["head"]["components"], manifest["head"]["of"]) == (16, 64)
