"""The client retries what may be retried, obeys Retry-After, and says clearly what went wrong."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from winnow_client import (
    Client,
    ConflictError,
    InvalidRequestError,
    JobFailedError,
    NotAllowedError,
    NotFoundError,
    UnavailableError,
)


class Scripted:
    """A real HTTP server that answers from a list and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict, dict]] = []
        self.asked: list[tuple[str, str, dict]] = []
        self.bodies: list[bytes] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                outer.bodies.append(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
                outer.asked.append((self.command, self.path, dict(self.headers)))
                status, headers, body = outer.answers.pop(0)
                content = json.dumps(body).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_DELETE = answer

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    scripted = Scripted()
    yield scripted
    scripted.server.shutdown()
    scripted.server.server_close()


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def client(scripted, pauses) -> Iterator[Client]:
    with Client(scripted.url, "wn_key", retries=3, pause=pauses.append) as client:
        yield client


def test_a_busy_service_is_asked_again_when_it_says_so(scripted, client, pauses):
    scripted.answers = [(503, {"Retry-After": "7"}, {}), (429, {"Retry-After": "2"}, {}), (200, {}, {"id": "job_1"})]
    assert client.get("job_1") == {"id": "job_1"}
    assert pauses == [7.0, 2.0]


def test_a_repeated_submit_carries_the_same_key_so_there_is_one_job(scripted, client):
    scripted.answers = [(503, {}, {}), (202, {}, {"id": "job_1"})]
    client.submit({})
    keys = [headers["Idempotency-Key"] for _, _, headers in scripted.asked]
    assert len(keys) == 2
    assert len(set(keys)) == 1
    assert scripted.asked[0][2]["Authorization"] == "Bearer wn_key"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (422, InvalidRequestError),
        (401, NotAllowedError),
        (403, NotAllowedError),
        (404, NotFoundError),
        (409, ConflictError),
    ],
)
def test_a_refusal_is_an_error_of_its_kind_with_the_services_words(scripted, client, status, kind):
    scripted.answers = [(status, {}, {"code": "SOME_CODE", "detail": "because", "request_id": "r1"})]
    with pytest.raises(kind, match="SOME_CODE: because") as caught:
        client.get("job_1")
    assert (caught.value.code, caught.value.status, caught.value.request_id) == ("SOME_CODE", status, "r1")
    assert len(scripted.asked) == 1


def test_a_service_that_stays_away_is_given_up_on(pauses):
    with Client("http://127.0.0.1:9", retries=2, pause=pauses.append) as client, pytest.raises(UnavailableError):
        client.get("job_1")
    assert len(pauses) == 2


def test_waiting_ends_with_the_job_or_with_its_failure(scripted, client):
    running, done = {"state": "running"}, {"state": "succeeded"}
    scripted.answers = [(200, {}, running), (200, {}, done)]
    seen = []
    assert client.wait("job_1", on_progress=seen.append) == done
    assert seen == [running, done]
    failed = {"state": "failed", "error": {"code": "DATASET_EMPTY", "detail": "nothing there"}}
    scripted.answers = [(200, {}, failed)]
    with pytest.raises(JobFailedError, match="DATASET_EMPTY"):
        client.wait("job_1")


def test_waiting_gives_up_after_its_time(scripted, client):
    scripted.answers = [(200, {}, {"state": "running"})] * 3
    with pytest.raises(TimeoutError):
        client.wait("job_1", timeout_s=0)


def test_pages_are_followed_to_the_end(scripted, client):
    scripted.answers = [
        (200, {}, {"items": [{"path": "a"}], "next_page_token": "t"}),
        (200, {}, {"items": [{"path": "b"}], "next_page_token": None}),
    ]
    assert [item["path"] for item in client.removed("job_1")] == ["a", "b"]
    assert "page_token=t" in scripted.asked[1][1]


def test_a_download_never_overwrites(scripted, client, tmp_path):
    (tmp_path / "list.txt").write_text("mine")
    with pytest.raises(FileExistsError):
        client.download("job_1", "selection.txt", tmp_path / "list.txt")
    scripted.answers = [(404, {}, {"code": "NOT_FOUND", "detail": "no such file"})]
    with pytest.raises(NotFoundError):
        client.download("job_1", "selection.txt", tmp_path / "other.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["list.txt"]


def test_what_a_lost_answer_has_done_is_not_an_error(scripted, client, tmp_path):
    conflict = {"code": "CONFLICT", "detail": "complete"}
    scripted.answers = [(503, {}, {}), (404, {}, {"code": "NOT_FOUND", "detail": "gone"})]
    client.delete("job_1")
    scripted.answers = [
        (409, {}, {"code": "JOB_FINISHED", "detail": "is cancelled"}),
        (200, {}, {"state": "cancelled"}),
    ]
    assert client.cancel("job_1")["state"] == "cancelled"
    scripted.answers = [(409, {}, {"code": "JOB_FINISHED", "detail": "ended"}), (200, {}, {"state": "succeeded"})]
    with pytest.raises(ConflictError):
        client.cancel("job_1")
    (tmp_path / "file").write_bytes(b"x")
    scripted.answers = [(201, {}, {"id": "up_1"}), (409, {}, conflict), (200, {}, {"state": "complete"})]
    assert client.upload(tmp_path / "file") == "up_1"


def test_a_first_deletion_of_nothing_is_an_error(scripted, client):
    scripted.answers = [(404, {}, {"code": "NOT_FOUND", "detail": "never was"})]
    with pytest.raises(NotFoundError):
        client.delete_dataset("ds_1")


def test_a_request_whose_twin_is_being_served_is_repeated(scripted, client):
    scripted.answers = [(409, {}, {"code": "REQUEST_IN_FLIGHT", "detail": "twin"}), (202, {}, {"id": "job_1"})]
    assert client.submit({})["id"] == "job_1"


def test_the_bar_says_how_far_a_job_is(scripted, client, capsys):
    stages = [{"name": "embedding", "done": 5, "total": 10}]
    running = {
        "state": "running",
        "stage": "embedding",
        "finished_at": None,
        "progress": {"fraction": 0.5, "stages": stages},
    }
    scripted.answers = [
        (200, {}, running),
        (200, {}, running | {"state": "succeeded", "stage": "done", "finished_at": "x"}),
    ]
    client.wait("job_1", progress=True)
    said = capsys.readouterr().err
    assert "50% embedding 5/10" in said
    assert said.endswith("\n")
    assert "100% done" in said


def test_a_list_of_urls_too_long_for_a_request_is_uploaded_first(scripted, client):
    scripted.answers = [(201, {}, {"id": "up_1"}), (200, {}, {}), (202, {}, {"id": "job_1"})]
    client.submit_urls(["https://example.com/x.jpg"] * 10_001, count=5)
    assert [(method, path) for method, path, _ in scripted.asked] == [
        ("POST", "/v1/uploads"), ("PUT", "/v1/uploads/up_1"), ("POST", "/v1/jobs"),
    ]  # fmt: skip


def test_frames_of_videos_are_copied_out_where_a_folder_is_named(scripted, client):
    scripted.answers = [(202, {}, {"id": "job_1"})]
    client.submit_videos("/data/tapes", sampling={"fps": 1}, output={"path": "/out/frames"}, count=5)
    assert json.loads(scripted.bodies[0]) == {
        "dataset": {"source": {"type": "videos", "path": "/data/tapes", "sampling": {"fps": 1}}},
        "selection": {"method": "coreset", "target": {"count": 5}},
        "output": {"path": "/out/frames"},
    }
