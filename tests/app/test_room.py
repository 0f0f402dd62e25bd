"""What a caller may free again, and what is refused while something else stands on it."""

import pytest

from winnow.store import keys


def uploaded(api, content=b"0123456789"):
    upload_id = api.http.post("/v1/uploads").json()["id"]
    assert api.http.put(f"/v1/uploads/{upload_id}", content=content).status_code == 200
    return upload_id


def test_an_upload_is_deleted_once_no_dataset_reads_it(api):
    upload_id = uploaded(api)
    stored = api.settings.data_dir / "uploads" / upload_id
    source = {"type": "archive", "upload_id": upload_id}
    dataset = api.http.post("/v1/datasets", json={"name": "x", "source": source}).json()
    assert stored.exists()
    assert api.http.delete(f"/v1/uploads/{upload_id}").json()["code"] == "CONFLICT"
    assert api.http.delete(f"/v1/datasets/{dataset['id']}").json()["code"] == "CONFLICT"  # it is being listed
    api.http.post(f"/v1/jobs/{dataset['job_id']}:cancel")
    for path in (f"/v1/datasets/{dataset['id']}", f"/v1/uploads/{upload_id}"):
        assert api.http.delete(path).status_code == 204
        assert api.http.get(path).status_code == 404
        assert api.http.delete(path).json()["code"] == "NOT_FOUND"
    assert not stored.exists()


def test_deleting_frees_the_quota(make_api):
    api = make_api(max_upload_bytes=1 << 20)
    with api.database.begin() as connection:
        keys.local_caller(connection)
        keys.set_quota(connection, keys.LOCAL_TENANT, max_bytes=15)
    first = uploaded(api)
    second = api.http.post("/v1/uploads").json()["id"]
    full = api.http.put(f"/v1/uploads/{second}", content=b"0123456789")
    assert (full.status_code, full.json()["code"]) == (429, "QUOTA_EXCEEDED")
    assert api.http.delete(f"/v1/uploads/{first}").status_code == 204
    assert api.http.put(f"/v1/uploads/{second}", content=b"0123456789").status_code == 200


def test_a_dataset_that_a_job_names_stays(api, root):
    job = api.submit(root).json()
    api.finish(job["id"])
    assert api.http.delete(f"/v1/datasets/{job['dataset_id']}").status_code == 409
    assert api.http.delete(f"/v1/jobs/{job['id']}").status_code == 204
    assert api.http.delete(f"/v1/datasets/{job['dataset_id']}").status_code == 204


@pytest.mark.parametrize(("content", "headers"), [(b"", {}), (b"abc", {"Content-Range": "bytes 0-2/10"})])
def test_an_upload_is_sealed_with_all_its_bytes_or_not_at_all(api, content, headers):
    upload_id = api.http.post("/v1/uploads").json()["id"]
    refused = api.http.put(f"/v1/uploads/{upload_id}", content=content, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (422, "INVALID_REQUEST")
    assert api.http.get(f"/v1/uploads/{upload_id}").json()["state"] == "open"


@pytest.mark.parametrize("body", [b'{"tenant_id": "x"}', b"abc"])
def test_opening_an_upload_takes_no_bytes_that_would_be_lost(api, body):
    refused = api.http.post("/v1/uploads", content=body, headers={"Content-Type": "application/json"})
    assert (refused.status_code, refused.json()["code"]) == (422, "INVALID_REQUEST")
