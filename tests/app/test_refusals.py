"""Whatever goes wrong is answered in one form, `application/problem+json`, with a code a program can rely on."""

import json
import time

import pytest

from app.main import create_app
from winnow.settings import Settings
from winnow.store import datasets


def assert_problem(answer, status, code):
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
    body = answer.json()
    assert (body["status"], body["code"]) == (status, code)
    assert body["request_id"] == answer.headers["X-Request-Id"]
    assert body["detail"]
    return body


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing/here", 404, "NOT_FOUND"),
        ("GET", "/static/nothing.js", 404, "NOT_FOUND"),
        ("GET", "/static/%2e%2e/main.py", 404, "NOT_FOUND"),
        ("PATCH", "/v1/jobs", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/v1/jobs/job_0", 422, "INVALID_REQUEST"),
        ("GET", "/v1/jobs/job_" + "0" * 32, 404, "NOT_FOUND"),
        ("GET", "/v1/datasets/ds_" + "0" * 32 + "/samples", 404, "NOT_FOUND"),
        ("POST", "/v1/jobs/job_" + "0" * 32 + ":cancel", 404, "NOT_FOUND"),
    ],
)
def test_every_refusal_has_one_form(api, method, path, status, code):
    assert_problem(api.http.request(method, path), status, code)


def test_a_part_outside_the_file_is_refused(api, root):
    job_id = api.submit(root).json()["id"]
    api.finish(job_id)
    answer = api.http.get(f"/v1/jobs/{job_id}/artifacts/selection.txt", headers={"Range": "bytes=9999-"})
    assert_problem(answer, 416, "RANGE_NOT_SATISFIABLE")
    assert answer.headers["Content-Range"].startswith("bytes */")


def test_what_does_not_fit_is_pointed_at(api, root):
    body = {
        "dataset": {"source": {"type": "folder", "path": str(root)}},
        "selection": {"method": "coreset", "target": {"count": 0}, "metrics": "l2"},
    }
    problem = assert_problem(api.http.post("/v1/jobs", json=body), 422, "INVALID_REQUEST")
    assert {error["pointer"] for error in problem["errors"]} == {"/selection/target/count", "/selection/metrics"}


def test_the_body_must_be_json(api):
    answer = api.http.post("/v1/jobs", content=b"a=b", headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert_problem(answer, 415, "UNSUPPORTED_MEDIA_TYPE")


def test_a_request_id_is_carried_through_and_a_strange_one_is_not(api):
    assert api.http.get("/livez", headers={"X-Request-Id": "build-7.42"}).headers["X-Request-Id"] == "build-7.42"
    assert "evil" not in api.http.get("/livez", headers={"X-Request-Id": "evil id"}).headers["X-Request-Id"]


def test_not_ready_before_the_schema_is(tmp_path):
    from starlette.testclient import TestClient

    app = create_app(Settings(data_dir=tmp_path))
    with TestClient(app, "http://127.0.0.1:8000", raise_server_exceptions=False) as http:
        assert http.get("/livez").status_code == 200
        assert "migrate" in assert_problem(http.get("/readyz"), 503, "UNAVAILABLE")["detail"]


@pytest.mark.parametrize("parent", ["n" * 300, "picture.png", "missing"], ids=["too-long", "a-file", "missing"])
def test_an_output_folder_whose_place_cannot_be_used_is_refused(api, root, parent):
    (root / "picture.png").touch()
    body = {
        "dataset": {"source": {"type": "folder", "path": str(root)}},
        "selection": {"method": "random", "target": {"count": 1}},
        "output": {"path": str(root / parent / "new")},
    }
    assert_problem(api.http.post("/v1/jobs", json=body), 422, "OUTPUT_NOT_ALLOWED")


def test_a_row_whose_file_is_missing_is_not_found(api, root):
    """As after a backup restored without its data folder, or in the moment of a deletion."""
    dataset_id = api.submit(root).json()["dataset_id"]
    with api.database.begin() as connection:
        datasets.set_listed(connection, dataset_id, counts={"input": 1}, fingerprint="f", snapshot="gone.parquet")
    assert_problem(api.http.get(f"/v1/datasets/{dataset_id}/samples"), 404, "NOT_FOUND")


VECTORS = {"source": {"type": "vectors", "path": "/x.npy"}}


@pytest.mark.parametrize(
    ("source_type", "more", "pointer"),
    [
        ("vectors", {"encoder": {"name": "descriptor-64"}}, "/encoder/name"),
        ("folder", {"encoder": {"name": "given"}}, "/encoder/name"),
        ("vectors", {"output": {"path": "ROOT/new"}}, "/output"),
    ],
)
@pytest.mark.parametrize("query", ["", "?validate_only=true"])
def test_what_does_not_fit_the_kind_of_dataset_is_refused_at_once(api, root, source_type, more, pointer, query):
    (root / "x.npy").touch()
    path = root / "x.npy" if source_type == "vectors" else root
    body = {
        "dataset": {"source": {"type": source_type, "path": str(path)}},
        "selection": {"method": "random", "target": {"count": 3}},
        **json.loads(json.dumps(more).replace("ROOT", str(root))),
    }
    refused = api.http.post(f"/v1/jobs{query}", json=body)
    assert refused.status_code == 422
    assert [error["pointer"] for error in refused.json()["errors"]] == [pointer]


def test_an_unknown_upload_is_pointed_at_where_it_stands(api):
    source = {"type": "archive", "upload_id": "up_" + "0" * 32}
    body = {"dataset": {"source": source}, "selection": {"method": "random", "target": {"count": 3}}}
    refused = api.http.post("/v1/jobs", json=body).json()
    assert [error["pointer"] for error in refused["errors"]] == ["/dataset/source/upload_id"]


@pytest.mark.parametrize("entry", ["0,", "[],", "0.5,", '"x",'])
def test_an_endless_list_is_refused_before_it_costs_anything(api, root, entry):
    body = '{"insights": [' + entry * 200_000 + "0]}"
    began = time.monotonic()
    refused = api.http.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert refused.status_code == 400
    assert time.monotonic() - began < 1


def test_two_idempotency_keys_are_a_contradiction(api, root):
    twice = [("Idempotency-Key", "a"), ("Idempotency-Key", "b"), ("Content-Type", "application/json")]
    assert api.http.post("/v1/jobs", content=b"{}", headers=twice).status_code == 400


def test_a_repeat_after_the_deletion_is_given_the_first_answer(api, root):
    first = api.submit(root, **{"Idempotency-Key": "k"}).json()
    api.http.post(f"/v1/jobs/{first['id']}:cancel")
    assert api.http.delete(f"/v1/jobs/{first['id']}").status_code == 204
    again = api.submit(root, **{"Idempotency-Key": "k", "Prefer": "wait=1"})
    assert (again.status_code, again.json()) == (202, first)


@pytest.mark.parametrize(
    "sampling",
    [
        {}, {"fps": 1, "every_nth": 2}, {"fps": 0}, {"fps": -1}, {"fps": 1e9}, {"fps": "2"}, {"every_nth": 0},
        {"every_nth": 1.5}, {"keyframes": False}, {"keyframes": 1}, {"scene_change": 0}, {"scene_change": 2},
        {"all": True}, [], "fps",
    ],
    ids=str,
)  # fmt: skip
def test_frames_are_chosen_by_exactly_one_rule(api, root, sampling):
    source = {"type": "videos", "path": str(root), "sampling": sampling}
    answer = api.http.post("/v1/datasets", json={"source": source})
    assert_problem(answer, 422, "INVALID_REQUEST")
    assert all(error["pointer"].startswith("/source/sampling") for error in answer.json()["errors"])


@pytest.mark.parametrize(
    "sampling", [{"fps": 2}, {"fps": 0.5}, {"every_nth": 10}, {"keyframes": True}, {"scene_change": 0.3}], ids=str
)
def test_each_rule_is_taken_and_shown_again(api, root, sampling):
    source = {"type": "videos", "path": str(root), "sampling": sampling}
    shown = api.http.post("/v1/datasets", json={"source": source}).json()["source"]
    assert {name: value for name, value in shown["sampling"].items() if value} == sampling


def test_without_a_rule_it_is_one_frame_a_second(api, root):
    shown = api.http.post("/v1/datasets", json={"source": {"type": "videos", "path": str(root)}}).json()["source"]
    assert shown["sampling"]["fps"] == 1


@pytest.mark.parametrize(
    ("source", "pointer"),
    [
        ({"type": "urls", "urls": [""]}, "/source/urls/0"),
        ({"type": "urls", "urls": 5}, "/source/urls"),
        ({"type": "urls"}, "/source"),
        ({"type": "vectors"}, "/source"),
        ({"type": "videos", "path": "/a", "sampling": {"fps": -1}}, "/source/sampling/fps"),
        ({"type": "folder", "path": 7}, "/source/path"),
    ],
)
def test_a_pointer_leads_to_the_field_also_where_it_is_called_like_its_kind(api, source, pointer):
    answer = api.http.post("/v1/datasets", json={"source": source})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer), answer.json()
