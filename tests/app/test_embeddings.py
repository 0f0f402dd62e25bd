"""Embedding jobs at the door: what is taken, what is refused, and who sees what."""

import pytest


def submit(api, root, **more):
    body = {"dataset": {"source": {"type": "folder", "path": str(root)}}, **more}
    return api.http.post("/v1/embeddings", json=body)


def test_it_is_queued_as_a_job_of_its_kind(api, root):
    answer = submit(api, root, encoder={"name": "descriptor-64"})
    job = answer.json()
    assert (answer.status_code, answer.headers["Location"]) == (202, f"/v1/jobs/{job['id']}")
    assert (job["kind"], job["request"]["encoder"]["name"]) == ("embed", "descriptor-64")
    assert "selection" not in job["request"]
    assert api.http.post(f"/v1/jobs/{job['id']}:cancel").json()["state"] == "cancelled"


@pytest.mark.parametrize("more", [{"selection": {"method": "coreset", "target": {"count": 3}}}, {"seed": 1}])
def test_it_takes_nothing_that_selects(api, root, more):
    assert submit(api, root, **more).status_code == 422


def test_it_needs_one_dataset(api):
    assert api.http.post("/v1/embeddings", json={}).status_code == 422


def test_its_plan_has_no_stage_that_selects(api, root):
    dataset = api.http.post("/v1/datasets", json={"source": {"type": "folder", "path": str(root)}}).json()
    body = {"dataset_id": dataset["id"]}
    plan = api.http.post("/v1/embeddings?validate_only=true", json=body).json()
    assert plan["request"].keys() == {"dataset_id", "encoder", "on_error", "spec_version"}
    assert api.http.get("/v1/jobs?kind=embed").json()["items"] == []


def test_it_waits_its_turn_under_the_tenants_quota(make_api, root):
    api = make_api(require_keys=True)
    mine, other = api.key("mine", "read", "write"), api.key("other", "read", "write")
    body = {"dataset": {"source": {"type": "folder", "path": str(root)}}}
    job = api.http.post("/v1/embeddings", json=body, headers=mine).json()
    for part in ("", "/embeddings", "/embeddings.npy"):
        assert api.http.get(f"/v1/jobs/{job['id']}{part}", headers=other).status_code == 404
    assert api.http.get(f"/v1/jobs/{job['id']}/embeddings", headers=mine).json()["code"] == "JOB_NOT_FINISHED"
    assert api.http.post("/v1/embeddings", json=body).status_code == 401


def test_vectors_that_were_not_kept_say_how_to_get_them(api, root):
    job_id = api.submit(root).json()["id"]
    api.finish(job_id)
    refused = api.http.get(f"/v1/jobs/{job_id}/embeddings.parquet")
    assert (refused.status_code, refused.json()["code"]) == (404, "EMBEDDINGS_NOT_KEPT")
    assert "/v1/embeddings" in refused.json()["detail"]
    assert api.http.get(f"/v1/jobs/{job_id}/embeddings.exe").status_code == 422
