"""The attack table's rows on HTTP, keys and output folders; each case carries its row's id."""

import json
import socket
import subprocess
import sys
import time

import httpx
import pytest
from servers import free_port

from winnow.store import keys, migrate

ID = "0" * 32


def raw_post(api, body: bytes, path="/v1/jobs"):
    return api.http.post(path, content=body, headers={"Content-Type": "application/json"})


RANDOM_ONE = {"method": "random", "target": {"count": 1}}


def around(inner: str) -> bytes:
    """A good request, but for what stands where its seed belongs."""
    return job(seed="HERE").replace(b'"HERE"', inner.encode())


def job(**changes) -> bytes:
    dataset = {"source": {"type": "folder", "path": "/x"}}
    return json.dumps({"dataset": dataset, "selection": RANDOM_ONE} | changes).encode()


def of(**dataset) -> bytes:
    return job(dataset={"source": {"type": "folder", "path": "/x"}} | dataset)


BODIES = {
    "H3-depth": b"[" * 100_000 + b"]" * 100_000,
    "H3-many-keys": json.dumps({str(number): 0 for number in range(60_000)}).encode(),
    "H3-duplicate-key": around('1,"seed":2'),
    "H3-nan": around("NaN"),
    "H3-infinite": around("1e999"),
    "H3-million-digits": around("1" * 900_000),
    "H3-int-2-63": around(str(2**63)),
    "H3-nul": of(name="a\0b"),
    "H3-nul-path": of(source={"type": "folder", "path": "/x\0"}),
    "H3-surrogate": of(name="\ud800"),
    "H3-not-utf8": b'{"a":"\xff\xfe"}',
    "H3-empty": b"",
    "H3-list": b"[]",
    "H3-bool-as-int": around("true"),
    "A4-state": job(state="succeeded"),
    "A4-tenant": job(tenant_id="x"),
    "A4-attempt": job(attempt=7),
    "P6-endpoint": of(source={"type": "folder", "path": "/x", "endpoint_url": "http://x"}),
    "two-targets": job(selection={"method": "random", "target": {"count": 1, "fraction": 0.1}}),
}


@pytest.mark.parametrize("row", BODIES)
def test_a_bad_body_is_refused_quickly_and_by_name(api, row):
    began = time.perf_counter()
    answer = raw_post(api, BODIES[row])
    assert time.perf_counter() - began < 1.0
    assert answer.status_code in {400, 422}, answer.text
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["code"].isupper()
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    "path", ["/etc", "/", "relative", "~", "~/x", "/data/../etc", "/x" * 3000], ids=lambda path: f"P1-{path[:12]}"
)
def test_a_source_outside_the_allowed_roots_is_refused_without_naming_ours(api, root, path):
    body = {
        "dataset": {"source": {"type": "folder", "path": path}},
        "selection": {"method": "random", "target": {"count": 1}},
    }
    answer = api.http.post("/v1/jobs", json=body)
    assert (answer.status_code, answer.json()["code"]) in {(422, "SOURCE_NOT_ALLOWED"), (422, "INVALID_REQUEST")}
    assert str(root) not in answer.text


def test_p1_a_path_that_climbs_out_of_the_root_is_refused(api, root):
    body = {"source": {"type": "folder", "path": f"{root}/../.."}}
    assert api.http.post("/v1/datasets", json=body).json()["code"] == "SOURCE_NOT_ALLOWED"


def test_h1_large_and_packed_bodies_are_refused(api):
    assert raw_post(api, b" " * (2 << 20)).status_code == 413
    chunks = (b" " * 65536 for _ in range(64))
    assert api.http.post("/v1/jobs", content=chunks, headers={"Content-Type": "application/json"}).status_code == 413
    packed = api.http.post("/v1/jobs", content=b"x", headers={"Content-Encoding": "gzip"})
    assert packed.status_code == 415


def test_h4_oversized_heads_are_refused(api):
    assert api.http.get("/v1/jobs", headers={"X-A": "a" * 40_000}).status_code == 431
    assert api.http.get("/v1/jobs", headers={f"X-{number}": "a" for number in range(150)}).status_code == 431
    assert api.http.get("/" + "a" * 20_000).status_code == 414


@pytest.mark.parametrize(
    "path", ["/v1/jobs/..%2f..%2fetc", "/v1/jobs/%00", "/web/..%2f..%2fpyproject.toml", "/nowhere"]
)
def test_h4_strange_paths_find_nothing(api, path):
    assert api.http.get(path).status_code in {404, 422}


def test_h5_a_key_reused_for_another_body_is_refused_and_so_is_a_long_key(api, root):
    api.submit(root, **{"Idempotency-Key": "k"})
    body = {
        "dataset": {"source": {"type": "folder", "path": str(root)}},
        "selection": {"method": "random", "target": {"count": 1}},
    }
    other = api.http.post("/v1/jobs", json=body, headers={"Idempotency-Key": "k"})
    assert (other.status_code, other.json()["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert api.submit(root, **{"Idempotency-Key": "k" * 256}).status_code == 422


@pytest.mark.parametrize(
    "query",
    ["state=' OR 1=1 --", "page_token=abc", "page_token=%ff", "page_size=0", "page_size=-1", "dataset_id=%25"],
)
def test_h6_queries_are_typed(api, query):
    assert api.http.get(f"/v1/jobs?{query}").status_code == 422


def test_h6_a_token_of_another_list_is_refused(api, root):
    for _ in range(3):
        api.submit(root)
    token = api.http.get("/v1/jobs?page_size=1").json()["next_page_token"]
    assert api.http.get("/v1/datasets", params={"page_token": token}).status_code == 422


def test_a1_every_wrong_key_gets_the_same_answer(make_api):
    api = make_api(require_keys=True)
    good = api.key("acme", "read")["Authorization"]
    with api.database.begin() as connection:
        prefix, revoked = keys.create(connection, "acme", ["read"])
        keys.revoke(connection, prefix)
        _, expired = keys.create(connection, "acme", ["read"], expires_at=1.0)
    assert api.http.get("/v1/jobs", headers={"Authorization": good}).status_code == 200
    bodies = set()
    for wrong in (None, "Bearer x", f"Bearer {revoked}", f"Bearer {expired}", good[:-3] + "AAA", "Basic abc"):
        answer = api.http.get("/v1/jobs", headers={"Authorization": wrong} if wrong else {})
        assert answer.status_code == 401
        bodies.add(json.dumps({**answer.json(), "request_id": ""}))
    assert len(bodies) == 1
    assert api.http.get(f"/v1/jobs?api_key={good}").status_code == 401


def test_a2_a_reading_key_changes_nothing(make_api, root):
    api = make_api(require_keys=True)
    writer, reader = api.key("acme", "read", "write"), api.key("acme", "read")
    job_id = api.submit(root, **writer).json()["id"]
    assert api.http.get(f"/v1/jobs/{job_id}", headers=reader).status_code == 200
    assert api.http.post(f"/v1/jobs/{job_id}:cancel", headers=reader).status_code == 403
    assert api.http.delete(f"/v1/jobs/{job_id}", headers=reader).status_code == 403
    assert api.submit(root, **reader).status_code == 403


def test_a2_numbers_over_all_tenants_are_for_the_operator(make_api):
    api = make_api(require_keys=True)
    given = {"stranger": {}, "tenant": api.key("acme", "read", "write"), "operator": api.key("ops", "admin")}
    answers = {who: api.http.get("/metrics", headers=headers).status_code for who, headers in given.items()}
    assert answers == {"stranger": 401, "tenant": 403, "operator": 200}


def test_p7_another_tenants_things_look_like_nothing(make_api, root):
    api = make_api(require_keys=True)
    mine, strangers = api.key("acme", "read", "write"), api.key("other", "read", "write")
    job = api.submit(root, **mine).json()
    api.finish(job["id"])
    real, random = job["id"], f"job_{ID}"
    for suffix in ("", "/selection", "/removed", "/manifest", "/artifacts", "/events"):
        answers = [api.http.get(f"/v1/jobs/{job_id}{suffix}", headers=strangers) for job_id in (real, random)]
        assert [answer.status_code for answer in answers] == [404, 404]
        assert answers[0].json()["detail"] == answers[1].json()["detail"]
    assert api.http.delete(f"/v1/jobs/{real}", headers=strangers).status_code == 404
    assert api.http.get(f"/v1/datasets/{job['dataset_id']}", headers=strangers).status_code == 404
    assert api.http.get("/v1/jobs", headers=strangers).json()["items"] == []


def test_a3_a_flood_is_slowed_down_for_its_tenant_alone(make_api):
    api = make_api(require_keys=True, rate_per_minute=20)
    loud, quiet = api.key("loud", "read"), api.key("quiet", "read")
    statuses = [api.http.get("/v1/jobs", headers=loud).status_code for _ in range(30)]
    assert 429 in statuses
    assert api.http.get("/v1/jobs", headers=quiet).status_code == 200


def test_a6_another_sites_page_and_a_rebound_name_are_refused(api, root):
    assert api.submit(root, Origin="https://evil.example").status_code == 403
    assert api.http.get("/v1/jobs", headers={"Host": "evil.example"}).status_code == 403
    assert api.submit(root, Origin="http://127.0.0.1:8000").status_code == 202


def test_o1_copies_go_only_to_a_new_folder_below_an_allowed_root(api, root, tmp_path):
    (root / "exists").mkdir()
    (root / "link").symlink_to(tmp_path)
    body = {
        "dataset": {"source": {"type": "folder", "path": str(root)}},
        "selection": {"method": "random", "target": {"count": 1}},
    }

    def code(path):
        return api.http.post("/v1/jobs", json=body | {"output": {"path": str(path)}}).json().get("code")

    assert code(root / "new") is None
    assert code(root / "exists") == "OUTPUT_EXISTS"
    assert (
        code(root / "link")
        == code(tmp_path / "new")
        == code(root / "link" / "new")
        == code("relative")
        == "OUTPUT_NOT_ALLOWED"
    )
    assert code(root / ("n" * 200)) == code(f"{root}/../new") == "OUTPUT_NOT_ALLOWED"


def test_x1_answers_cannot_run_anything(api):
    headers = api.http.get("/v1/jobs").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in headers["content-security-policy"]


def closed_after(connection: socket.socket, limit_s: float) -> bytes:
    connection.settimeout(limit_s)
    answer = b""
    while part := connection.recv(4096):
        answer += part
    return answer


def test_h2_slow_talkers_are_cut_off_while_others_are_served(listening):
    silent = [socket.create_connection(("127.0.0.1", listening.port)) for _ in range(100)]
    slow = socket.create_connection(("127.0.0.1", listening.port))
    slow.sendall(b"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Le")
    stopped = socket.create_connection(("127.0.0.1", listening.port))
    head = b"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{"
    stopped.sendall(head)
    began = time.monotonic()
    assert httpx.get(f"http://127.0.0.1:{listening.port}/livez").status_code == 200
    assert time.monotonic() - began < 1
    for late in (slow, stopped):
        assert b"408" in closed_after(late, 5).split(b"\r\n")[0]
    for connection in (*silent, slow, stopped):
        connection.close()


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: -1\r\n",
    ],
    ids=["H1-two-lengths", "H1-length-and-chunked", "H1-negative"],
)
def test_h1_ambiguous_lengths_are_refused(listening, head):
    with socket.create_connection(("127.0.0.1", listening.port)) as connection:
        connection.sendall(
            b"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n" + head + b"\r\nhello"
        )
        connection.settimeout(5)
        assert connection.recv(4096).split(b" ")[1] in {b"400", b"422"}


def test_b1_the_door_is_not_opened_to_the_world_without_keys(tmp_path):
    environment = {"WINNOW_DATA_DIR": str(tmp_path), "WINNOW_HOST": "0.0.0.0", "WINNOW_PORT": str(free_port())}
    migrate.upgrade(f"sqlite:///{tmp_path / 'winnow.db'}")
    command = [sys.executable, "-m", "app"]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert process.returncode == 1
    assert "winnow keys create" in process.stderr
