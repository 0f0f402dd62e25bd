"""Vectors as a product: computed by a job of their own, downloaded, and sent back as a dataset."""

import io
import subprocess

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest
from winnow_client import Client

DESCRIPTOR = {"encoder": {"name": "descriptor-64"}}
CORESET = {"method": "coreset", "target": {"count": 10}}
BARE = {"insights": []}


def folder_of(path):
    return {"dataset": {"source": {"type": "folder", "path": str(path)}}}


def embed(service, body):
    answer = service.http.post("/v1/embeddings", json=body)
    assert answer.status_code == 202, answer.text
    return service.wait(answer.json()["id"])


def download(service, job, kind="npy"):
    answer = service.http.get(f"/v1/jobs/{job['id']}/embeddings", params={"format": kind})
    assert answer.status_code == 200, answer.text
    return answer


def table_of(service, job):
    return pq.read_table(io.BytesIO(download(service, job, "parquet").content))


def sent(service, content):
    upload = service.http.post("/v1/uploads").json()
    assert service.http.put(f"/v1/uploads/{upload['id']}", content=content).is_success
    return {"type": "vectors", "upload_id": upload["id"]}


def test_a_folder_becomes_vectors_and_no_selection(service, pictures):
    job = embed(service, folder_of(pictures) | DESCRIPTOR)
    assert (job["kind"], job["state"]) == ("embed", "succeeded"), job
    assert job["counts"] == {"input": 65, "valid": 62, "exact_duplicates": 2, "selected": None, "quarantined": 3}
    assert [name for name, digest in job["digests"].items() if digest] == ["input", "embedding"]
    here = f"/v1/jobs/{job['id']}"
    assert service.http.get(f"{here}/manifest").json()["digests"].keys() == {"input", "embedding"}
    assert len(service.http.get(f"{here}/quarantine").json()["items"]) == 3
    for part in ("selection", "removed", "certificate", f"samples/{'0' * 64}"):
        refused = service.http.get(f"{here}/{part}")
        assert (refused.status_code, refused.json()["code"]) == (409, "NOTHING_SELECTED")


def test_the_three_files_tell_the_same_rows(service, pictures):
    job = embed(service, folder_of(pictures) | DESCRIPTOR)
    matrix = np.load(io.BytesIO(download(service, job).content))
    table = table_of(service, job)
    assert (matrix.shape, matrix.dtype) == ((60, 64), np.float32)
    assert np.stack(table["vector"].to_numpy()).tobytes() == matrix.tobytes()
    ids = table["sample_id"].to_pylist()
    assert ids == sorted(ids)
    sums = download(service, job, "ids")
    assert sums.text == "".join(f"{i}  {path}\n" for i, path in zip(ids, table["path"].to_pylist(), strict=True))
    command = ["sha256sum", "--check", "--strict", "--quiet"]
    assert subprocess.run(command, input=sums.content, cwd=pictures, check=False).returncode == 0
    assert table.schema.metadata[b"winnow.embedding"].decode() == job["digests"]["embedding"]


def test_a_download_goes_on_where_it_was_cut_off(service, pictures):
    job = embed(service, folder_of(pictures) | DESCRIPTOR)
    for kind in ("npy", "parquet", "ids"):
        url = f"/v1/jobs/{job['id']}/embeddings.{kind}"
        whole = service.http.get(url)
        assert job["digests"]["embedding"] in whole.headers["ETag"]
        condition = {"If-Range": whole.headers["ETag"]}
        rest = service.http.get(url, headers={"Range": "bytes=100-", **condition})
        assert (rest.status_code, rest.content) == (206, whole.content[100:])
        assert service.http.get(url, headers={"If-None-Match": whole.headers["ETag"]}).status_code == 304


def test_a_filter_job_keeps_its_vectors_unless_it_is_told_not_to(service, pictures):
    kept = service.filter(folder_of(pictures)["dataset"]["source"], CORESET, **DESCRIPTOR)
    embedded = embed(service, folder_of(pictures) | DESCRIPTOR)
    assert download(service, kept).content == download(service, embedded).content
    assert kept["digests"]["embedding"] == embedded["digests"]["embedding"]
    bare = service.filter(folder_of(pictures)["dataset"]["source"], CORESET, **DESCRIPTOR, keep_vectors=False)
    assert bare["digests"] == kept["digests"]
    refused = service.http.get(f"/v1/jobs/{bare['id']}/embeddings")
    assert (refused.status_code, refused.json()["code"]) == (404, "EMBEDDINGS_NOT_KEPT")
    assert "keep_vectors" in refused.json()["detail"]


def test_what_was_downloaded_can_be_sent_back_and_selects_the_same(service, pictures):
    for method in ("coreset", "adjacency"):
        selection = CORESET | {"method": method}
        seen = service.filter(folder_of(pictures)["dataset"]["source"], selection, **DESCRIPTOR, **BARE)
        given = service.filter(sent(service, download(service, seen, "parquet").content), selection, **BARE)
        assert given["state"] == "succeeded", given
        assert service.paths(given) == service.paths(seen)
        matrix = service.filter(sent(service, download(service, seen).content), selection, **BARE)
        names = table_of(service, seen)["path"].to_pylist()
        assert [names[int(row.removeprefix("row-"))] for row in service.paths(matrix)] == service.paths(seen)


def test_vectors_that_were_given_come_back_in_order_of_their_ids(service):
    rows = np.random.default_rng(1).normal(size=(30, 5)).astype(np.float32)
    rows[7, 2] = np.nan
    out = io.BytesIO()
    np.save(out, rows)
    job = embed(service, {"dataset": {"source": sent(service, out.getvalue())}})
    assert job["counts"]["quarantined"] == 1
    table = table_of(service, job)
    for name, vector in zip(table["path"].to_pylist(), table["vector"].to_numpy(), strict=True):
        assert vector.tobytes() == rows[int(name.removeprefix("row-"))].tobytes()


def test_the_client_hands_out_an_array_and_its_paths(service, pictures, tmp_path):
    odd = "back\\slash\nand line.png"
    (pictures / odd).write_bytes((pictures / "camera-0" / "003.png").read_bytes() + b"\0")
    with Client(str(service.http.base_url)) as client:
        job = client.wait(client.embed_folder(pictures, encoder="descriptor-64")["id"])
        vectors, paths = client.embeddings(job["id"])
        table = pq.read_table(client.download_embeddings(job["id"], tmp_path / "v.parquet"))
        with pytest.raises(ValueError, match="neither"):
            client.download_embeddings(job["id"], tmp_path / "v.txt")
    assert odd in paths
    assert paths == table["path"].to_pylist()
    assert vectors.tobytes() == np.stack(table["vector"].to_numpy()).tobytes()


def test_an_embedding_is_a_job_like_any_other(service, pictures):
    body, key = folder_of(pictures) | DESCRIPTOR, {"Idempotency-Key": "e"}
    plan = service.http.post("/v1/embeddings?validate_only=true", json=body).json()
    assert plan["request"]["encoder"]["name"] == "descriptor-64"
    first = service.http.post("/v1/embeddings", json=body, headers=key).json()
    assert service.http.post("/v1/embeddings", json=body, headers=key).headers["Idempotency-Replayed"] == "true"
    service.wait(first["id"])
    assert [job["id"] for job in service.http.get("/v1/jobs?kind=embed").json()["items"]] == [first["id"]]
    assert "event: done" in read_events(service.http, first["id"])
    assert service.http.delete(f"/v1/jobs/{first['id']}").status_code == 204
    assert service.http.get(f"/v1/jobs/{first['id']}/embeddings").status_code == 404


def read_events(http: httpx.Client, job_id: str) -> str:
    return http.get(f"/v1/jobs/{job_id}/events").text


def test_as_many_items_may_fail_as_the_caller_says(service, pictures):
    for on_error in ({"policy": "fail"}, {"policy": "skip", "max_fraction": 0.01}):
        job = embed(service, folder_of(pictures) | DESCRIPTOR | {"on_error": on_error})
        assert (job["state"], job["error"]["code"]) == ("failed", "TOO_MANY_ITEM_ERRORS")
