"""From POST to the list, over real HTTP, embedded and on PostgreSQL, Redis and Celery."""

import io
import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from winnow_client import Client

TEN = {"target": {"count": 10}}


def folder_of(path):
    return {"type": "folder", "path": str(path)}


@pytest.mark.parametrize("method", ["coreset", "adjacency", "random"])
def test_a_folder_becomes_a_list_with_every_sample_accounted_for(service, pictures, method):
    job = service.filter(folder_of(pictures), {"method": method, **TEN})
    assert job["state"] == "succeeded", job
    assert job["counts"] == {"input": 65, "valid": 62, "exact_duplicates": 2, "selected": 10, "quarantined": 3}
    kept = service.paths(job)
    assert len(set(kept)) == 10
    assert all((pictures / path).is_file() for path in kept)
    removed = service.http.get(f"/v1/jobs/{job['id']}/removed", params={"page_size": 100}).json()
    quarantine = service.http.get(f"/v1/jobs/{job['id']}/quarantine").json()
    others = [row["path"] for answer in (removed, quarantine) for row in answer["items"]]
    assert sorted(kept + others) == sorted(str(p.relative_to(pictures)) for p in pictures.rglob("*") if p.is_file())


def test_coreset_at_six_hits_each_of_the_six_bursts(service, pictures):
    job = service.filter(folder_of(pictures), {"method": "coreset", "target": {"count": 6}})
    numbers = [path.rsplit("/", 1)[-1].removeprefix("copy-of-").removesuffix(".png") for path in service.paths(job)]
    assert {int(number) // 10 for number in numbers} == set(range(6))


def test_every_format_tells_the_same_ranking_and_a_limit_is_its_prefix(service, pictures):
    job = service.filter(folder_of(pictures), {"method": "coreset", **TEN})
    kept = service.paths(job)

    def download(name, **query):
        return service.http.get(f"/v1/jobs/{job['id']}/selection", params={"format": name, **query}).content

    assert [json.loads(line)["path"] for line in download("jsonl").splitlines()] == kept
    assert pq.read_table(io.BytesIO(download("parquet")))["path"].to_pylist() == kept
    assert pq.read_table(io.BytesIO(download("parquet", limit=4)))["path"].to_pylist() == kept[:4]
    assert [line.split(",")[2] for line in download("csv").decode().splitlines()[1:]] == kept
    assert service.paths(job, limit=4) == kept[:4]


def test_the_answer_comes_with_its_proof_and_its_pictures(service, pictures):
    job = service.filter(folder_of(pictures), {"method": "coreset", **TEN})
    at = f"/v1/jobs/{job['id']}"
    manifest = service.http.get(f"{at}/manifest").json()
    assert manifest["digests"] == job["digests"]
    assert manifest["spec"]["selection"]["method"] == "coreset"
    for name in ("curve", "histograms", "map", "neighbours"):
        assert service.http.get(f"{at}/insights/{name}").json()["name"] == name
        assert service.http.get(f"{at}/plots/{name}.png").content.startswith(b"\x89PNG")
        assert b"<svg" in service.http.get(f"{at}/plots/{name}.svg").content


def zip_of(folder) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.write(path, path.relative_to(folder))
    return out.getvalue()


def tar_of(folder) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.add(path, path.relative_to(folder))
    return out.getvalue()


@pytest.mark.parametrize("packed", [zip_of, tar_of])
def test_an_uploaded_archive_gives_the_selection_of_its_folder(service, pictures, packed):
    for name in ("truncated.png", "empty.png"):
        (pictures / name).unlink()
    upload = service.http.post("/v1/uploads").json()["id"]
    assert service.http.put(f"/v1/uploads/{upload}", content=packed(pictures)).status_code == 200
    selection = {"method": "coreset", **TEN}
    from_archive = service.filter({"type": "archive", "upload_id": upload}, selection)
    from_folder = service.filter(folder_of(pictures), selection)
    assert from_archive["digests"]["selection"] == from_folder["digests"]["selection"]


@pytest.mark.parametrize("kind", ["npy", "parquet", "csv"])
def test_ready_embeddings_are_ranked_as_they_are(service, tmp_path, kind):
    vectors = np.random.default_rng(0).normal(size=(500, 8)).astype(np.float32)
    path = tmp_path / f"vectors.{kind}"
    if kind == "npy":
        np.save(path, vectors)
    elif kind == "csv":
        np.savetxt(path, vectors, delimiter=",")
    else:
        names = [f"item-{index}" for index in range(500)]
        pq.write_table(pa.table({"id": names, "vector": [list(row) for row in vectors]}), path)
    source = {"type": "vectors", "path": str(path)}
    job = service.filter(source, {"method": "coreset", **TEN}, encoder={"name": "given"})
    assert job["state"] == "succeeded", job
    assert job["counts"]["selected"] == 10


def test_the_selected_files_are_copied_where_the_operator_allows_it(service, pictures, tmp_path):
    target = tmp_path / "to-label"
    job = service.filter(folder_of(pictures), {"method": "coreset", **TEN}, output={"path": str(target)})
    assert job["state"] == "succeeded", job
    copied = {str(path.relative_to(target)) for path in target.rglob("*.png")}
    assert copied == set(service.paths(job))


def test_a_job_on_nothing_usable_fails_with_a_reason(service, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    job = service.filter(folder_of(empty), {"method": "random", **TEN})
    assert job["state"] == "failed"
    assert job["error"]["code"] == "DATASET_EMPTY"


def test_a_strict_job_fails_at_the_first_bad_file(service, pictures):
    job = service.filter(folder_of(pictures), {"method": "random", **TEN}, on_error={"policy": "fail"})
    assert job["error"]["code"] == "TOO_MANY_ITEM_ERRORS"


def test_the_client_reads_names_that_look_like_line_breaks(service, make_pictures, tmp_path):
    folder = make_pictures(tmp_path / "named")
    first = min(folder.rglob("*.png"))
    names = {"a\u2028b.png", "a\x85b.png", "a\nb.png", "a\x0cb.png", "\\a\\nb.png"}
    for name in names:
        (folder / name).write_bytes(first.read_bytes() + name.encode())
    job = service.filter(folder_of(folder), {"method": "random", "target": {"fraction": 1.0}})
    with Client(str(service.http.base_url)) as client:
        assert names <= {sample.path for sample in client.selection(job["id"])}
    assert (
        len(service.http.get(f"/v1/jobs/{job['id']}/selection").content.split(b"\n")) == job["counts"]["selected"] + 1
    )


def test_the_certificate_is_checked_by_numpy_alone(service, tmp_path):
    vectors = np.random.default_rng(1).normal(size=(400, 8)).astype(np.float32)
    np.save(tmp_path / "vectors.npy", vectors)
    source = {"type": "vectors", "path": str(tmp_path / "vectors.npy")}
    job = service.filter(source, {"method": "coreset", "target": {"count": 20}})
    certificate = service.http.get(f"/v1/jobs/{job['id']}/certificate").json()
    assert 1 <= certificate["ratio"] <= 2.001
    assert "the 20 kept" in certificate["claim"]
    (tmp_path / "kept").write_text(service.http.get(f"/v1/jobs/{job['id']}/selection?format=jsonl").text)

    def checked(says):
        (tmp_path / "says").write_text(json.dumps(says))
        script = Path(__file__).parents[2] / "docs" / "check_certificate.py"
        files = [str(tmp_path / name) for name in ("vectors.npy", "kept", "says")]
        return subprocess.run([sys.executable, str(script), *files], capture_output=True, text=True, check=False)

    assert checked(certificate).stdout.startswith("holds")
    assert checked(certificate | {"radius": certificate["radius"] * 0.99}).returncode == 1
    assert checked(certificate | {"lower_bound": certificate["lower_bound"] * 1.01}).returncode == 1


def test_labels_explain_a_selection_and_never_change_it(service, tmp_path):
    """Three kinds of pictures; the same job with labels, and without, and with labels that are refused."""
    vectors = np.concatenate([np.random.default_rng(kind).normal(kind * 9, 1, (60, 8)) for kind in range(3)])
    pq.write_table(
        pa.table({"vector": vectors.astype(np.float32).tolist(), "id": [f"{row}.jpg" for row in range(180)]}),
        tmp_path / "vectors.parquet",
    )
    (tmp_path / "labels.csv").write_text(
        "path,label\n" + "".join(f"{row}.jpg,kind {row // 60}\n" for row in range(180))
    )
    source = {"type": "vectors", "path": str(tmp_path / "vectors.parquet")}
    selection = {"method": "coreset", "target": {"count": 30}}

    def submitted(labels=None, **more):
        dataset = {"source": source} | ({"labels": labels} if labels else {})
        return service.http.post("/v1/jobs", json={"dataset": dataset, "selection": selection, **more})

    labelled = service.wait(submitted({"path": str(tmp_path / "labels.csv")}).json()["id"])
    plain = service.wait(submitted().json()["id"])
    assert labelled["digests"] == plain["digests"]
    read = service.http.get(f"/v1/jobs/{labelled['id']}/insights/balance").json()["data"]
    assert [row["samples"] for row in read["classes"]] == [60, 60, 60]
    assert sum(row["kept"] for row in read["classes"]) == 30
    names = {item["name"] for item in service.http.get(f"/v1/jobs/{labelled['id']}/insights").json()["items"]}
    assert {"balance", "encoder", "backtest"} <= names
    assert service.http.get(f"/v1/jobs/{labelled['id']}/plots/backtest.png").content.startswith(b"\x89PNG")
    assert "balance" not in {i["name"] for i in service.http.get(f"/v1/jobs/{plain['id']}/insights").json()["items"]}
    again = service.http.post("/v1/jobs", json=plain["request"])
    assert again.status_code == 202, again.json()
    refused = submitted(insights=["balance"])
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/insights")
    outside = submitted({"path": "/etc/hostname"})
    assert (outside.status_code, outside.json()["errors"][0]["pointer"]) == (422, "/dataset/labels/path")
    (tmp_path / "labels.csv").write_text("path,label\nnobody.jpg,x\n")
    failed = service.wait(submitted({"path": str(tmp_path / "labels.csv")}).json()["id"])
    assert (failed["state"], failed["error"]["code"]) == ("failed", "INVALID_LABELS")


def test_a_vector_without_direction_is_set_aside_under_cosine(service, tmp_path):
    vectors = np.random.default_rng(1).normal(size=(50, 4)).astype(np.float32) * np.float32(1e30)
    vectors[7] = 0
    np.save(tmp_path / "vectors.npy", vectors)
    source = {"type": "vectors", "path": str(tmp_path / "vectors.npy")}
    job = service.filter(source, {"method": "coreset", "metric": "cosine", "target": {"count": 5}})
    assert (job["state"], job["counts"]["quarantined"]) == ("succeeded", 1)
    rows = service.http.get(f"/v1/jobs/{job['id']}/quarantine").json()["items"]
    assert [(row["path"], row["code"]) for row in rows] == [("row-0000007", "ZERO_VECTOR")]
    assert "direction" in rows[0]["detail"]
    manifest = service.http.get(f"/v1/jobs/{job['id']}/manifest").json()
    assert "inputs.parquet" in {entry["name"] for entry in manifest["files"]}
    removed = service.http.get(f"/v1/jobs/{job['id']}/removed").json()["items"]
    assert sorted(row["kept_at_budget"] for row in removed) == list(range(6, 50))
