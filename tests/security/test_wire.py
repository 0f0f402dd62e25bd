"""What a hostile client does below and around HTTP, against a real server process."""

import socket
import sqlite3
import threading
import time

import httpx
import pytest

HEAD = b"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"


def exchange(service, *pieces: bytes, limit_s: float = 3.0) -> bytes:
    """What comes back until the server closes, or falls silent."""
    answer = b""
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.settimeout(limit_s)
        try:
            for piece in pieces:
                connection.sendall(piece)
            while part := connection.recv(65536):
                answer += part
        except (TimeoutError, ConnectionError):
            pass
    return answer


def status(answer: bytes) -> int:
    return int(answer.split(b" ")[1])


def submit(service, tmp_path) -> str:
    body = {
        "dataset": {"source": {"type": "folder", "path": str(tmp_path / "pictures")}},
        "selection": {"method": "random", "target": {"count": 1}},
    }
    return httpx.post(f"{service.url}/v1/jobs", json=body).json()["id"]


FLOODS = {
    "trailer": (CHUNKED + b"0\r\nX-A: ", b"a"),
    "many-trailers": (CHUNKED + b"0\r\n", b"X-A: a\r\n"),
    "chunk-extension": (CHUNKED + b"2;x=", b"a"),
    "before-a-request": (b"", b"\r\n"),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_what_surrounds_a_body_is_bounded_like_a_head(listening, kind):
    begin, filler = FLOODS[kind]
    assert mebibytes_taken(listening, begin, filler * ((1 << 20) // len(filler))) < 16
    assert httpx.get(f"{listening.url}/livez").status_code == 200


def mebibytes_taken(service, begin: bytes, mebibyte: bytes, most: int = 64) -> int:
    """How much goes out before the server closes; the system's own buffers hold a few."""
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.settimeout(5)
        connection.sendall(begin)
        for taken in range(most):
            try:
                connection.sendall(mebibyte)
            except (TimeoutError, ConnectionError):
                return taken
    return most


def test_a_trailer_is_not_taken_for_a_header(listening):
    answer = exchange(listening, CHUNKED + b"0\r\nAuthorization: Bearer x\r\n\r\n")
    assert status(answer) == 422, "401 would mean that the trailer was believed"


@pytest.mark.parametrize("name", ["Host", "Origin", "Authorization", "Content-Type", "Content-Encoding"])
def test_a_header_that_contradicts_itself_is_refused(listening, name):
    twice = f"{name}: a\r\n{name}: 127.0.0.1\r\n".encode()
    host = b"" if name == "Host" else b"Host: 127.0.0.1\r\n"
    answer = exchange(listening, b"GET /livez HTTP/1.1\r\n" + host + twice + b"\r\n")
    assert status(answer) == 400


def test_head_is_get_without_the_body(listening, tmp_path):
    job_id = submit(listening, tmp_path)
    for path in ("/livez", "/openapi.json", f"/v1/jobs/{job_id}", "/nowhere"):
        asked, got = httpx.head(listening.url + path), httpx.get(listening.url + path)
        assert (asked.status_code, asked.content) == (got.status_code, b"")
        assert asked.headers["Content-Length"] == got.headers["Content-Length"]
    raw = exchange(listening, f"HEAD /v1/jobs/{job_id}/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    assert status(raw) == 200
    assert raw.endswith(b"\r\n\r\n")
    assert httpx.get(f"{listening.url}/livez").status_code == 200


def test_nobody_waits_for_a_job_on_behalf_of_a_caller_who_left(listening, tmp_path):
    job_id = submit(listening, tmp_path)
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", listening.port)) as connection:
            connection.sendall(f"GET /v1/jobs/{job_id}?wait=60 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            time.sleep(0.02)
    counted = 'route="/v1/jobs/{job_id}",status="200"} 20.0'
    deadline = time.monotonic() + 5
    while counted not in httpx.get(f"{listening.url}/metrics").text:
        assert time.monotonic() < deadline, "the waits go on without a listener"
        time.sleep(0.2)


def test_the_process_says_it_is_alive_while_every_writer_waits(listening):
    """The database is held by somebody else, and more requests wait for it than there are threads."""
    holder = sqlite3.connect(listening.database, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    writers = [threading.Thread(target=_post_upload, args=(listening,)) for _ in range(50)]
    try:
        for writer in writers:
            writer.start()
        time.sleep(1)
        began = time.monotonic()
        assert httpx.get(f"{listening.url}/livez", timeout=10).status_code == 200
        assert time.monotonic() - began < 1
    finally:
        holder.execute("ROLLBACK")
        holder.close()
        for writer in writers:
            writer.join()


def _post_upload(service) -> None:
    assert httpx.post(f"{service.url}/v1/uploads", timeout=30).status_code == 201
