"""A list of URLs given inline becomes an upload, and its file lives exactly as long as the row that counts it."""

import os
import time

import pytest

from app import service
from winnow.errors import StorageFull
from winnow.store import idempotency, keys
from worker.reconciler import Reconciler

SOURCE = {"type": "urls", "urls": ["https://example.com/x.png?signature=canary"]}
SELECTION = {"method": "random", "target": {"count": 1}}


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def api(request, make_api):
    more = {"database_url": request.getfixturevalue("postgres_url")} if request.param == "postgres" else {}
    return make_api(allow_urls=True, **more)


def submit(api, **changes):
    headers = changes.pop("headers", {})
    body = {"dataset": {"source": SOURCE}, "selection": SELECTION} | changes
    return api.http.post("/v1/jobs", json=body, headers=headers)


def files(api):
    return sorted(path.name for path in (api.settings.data_dir / "uploads").glob("*"))


def quota(api, **limits):
    with api.database.begin() as connection:
        keys.local_caller(connection)
        keys.set_quota(connection, keys.LOCAL_TENANT, **limits)


@pytest.mark.parametrize("changes", [{"encoder": {"name": "given"}}, {"insights": ["balance"]}], ids=str)
def test_a_refused_request_leaves_no_file(api, changes):
    assert submit(api, **changes).status_code == 422
    assert files(api) == []


def test_a_full_queue_and_a_full_store_leave_no_file(api):
    quota(api, max_queued=0)
    assert submit(api).status_code == 429
    quota(api, max_queued=9, max_bytes=1)
    assert submit(api).json()["code"] == "QUOTA_EXCEEDED"
    assert files(api) == []


def test_a_twin_that_came_second_leaves_no_file_of_its_own(api, monkeypatch):
    first = submit(api, headers={"Idempotency-Key": "k"}).json()
    honest, asked = idempotency.find, []
    monkeypatch.setattr(idempotency, "find", lambda *key: honest(*key) if asked.append(key) or len(asked) > 2 else None)
    assert submit(api, headers={"Idempotency-Key": "k"}).json() == first
    assert len(asked) == 3  # seen by neither look before the work was done
    assert len(files(api)) == 1


def test_a_row_that_is_taken_back_takes_its_file_along(api, monkeypatch):
    honest = service._write

    def full(*what):
        honest(*what)
        assert len(files(api)) == 1
        raise StorageFull("no room for the row")

    monkeypatch.setattr(service, "_write", full)
    assert submit(api).status_code == 507
    assert files(api) == []


def test_the_list_is_deleted_with_its_dataset(api):
    made = api.http.post("/v1/datasets", json={"source": SOURCE}).json()
    assert files(api) == [made["source"]["upload_id"]]
    api.finish(made["job_id"])
    assert api.http.delete(made["links"]["self"]).status_code == 204
    assert files(api) == []
    assert api.http.get(f"/v1/uploads/{made['source']['upload_id']}").status_code == 404


def test_a_list_that_another_dataset_reads_stays(api):
    made = api.http.post("/v1/datasets", json={"source": SOURCE}).json()
    other = {"type": "urls", "upload_id": made["source"]["upload_id"]}
    assert api.http.post("/v1/datasets", json={"source": other}).status_code == 202
    api.finish(made["job_id"])
    assert api.http.delete(made["links"]["self"]).status_code == 204
    assert files(api) == [other["upload_id"]]


def test_the_reconciler_sweeps_files_without_a_row_once_they_are_old(api, monkeypatch):
    upload_id = api.http.post("/v1/datasets", json={"source": SOURCE}).json()["source"]["upload_id"]
    folder = api.settings.data_dir / "uploads"
    for name in ("up_" + "0" * 32, "up_" + "1" * 32):
        (folder / name).write_text("https://example.com/x.png?signature=canary")
    for name in (upload_id, "up_" + "0" * 32):
        os.utime(folder / name, (0, 0))
    reconciler = Reconciler(api.settings, api.database, lambda _job_id: None)
    monkeypatch.setattr(reconciler, "_swept_at", time.time() - 3601)
    reconciler.run_once()
    assert files(api) == sorted([upload_id, "up_" + "1" * 32])
