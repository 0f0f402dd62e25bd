"""A whole service as its own processes, embedded or on PostgreSQL and Redis, and pictures to filter."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from winnow.store import migrate

FINAL = {"succeeded", "failed", "cancelled"}


class Service:
    """The HTTP door of a running service, with the few verbs the tests repeat."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def filter(self, source: dict[str, Any], selection: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Submit and wait for the end, whatever it is."""
        body = {"dataset": {"name": "test", "source": source}, "selection": selection, **more}
        answer = self.http.post("/v1/jobs", json=body)
        assert answer.status_code == 202, answer.text
        return self.wait(answer.json()["id"])

    def wait(self, job_id: str, limit_s: float = 90.0) -> dict[str, Any]:
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            job = self.http.get(f"/v1/jobs/{job_id}", params={"wait": "5"}).json()
            if job["state"] in FINAL:
                return job
        raise AssertionError(f"{job_id} did not end in {limit_s} s: {job}")

    def paths(self, job: dict[str, Any], **query: Any) -> list[str]:
        answer = self.http.get(f"/v1/jobs/{job['id']}/selection", params=query)
        assert answer.status_code == 200, answer.text
        return answer.text.splitlines()


@contextmanager
def running_service(folder: Path, **settings: str) -> Iterator[Service]:
    """`python -m app` and `python -m worker`, stopped at the end as an operator would."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WINNOW_")}
    environment |= {
        "WINNOW_DATA_DIR": str(folder / "data"),
        "WINNOW_DATABASE_URL": f"sqlite:///{folder / 'winnow.db'}",
        "WINNOW_ALLOW_ROOTS": str(folder),
        "WINNOW_OUTPUT_ROOTS": str(folder),
        "WINNOW_PORT": str(port),
        "WINNOW_SLOTS": "2",
        **settings,
    }
    migrate.upgrade(environment["WINNOW_DATABASE_URL"])
    with ExitStack() as stack:
        for module in ("app", "worker"):
            log = stack.enter_context((folder / f"{module}.log").open("wb"))
            command = [sys.executable, "-m", module]
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
            stack.callback(_stop, process)
        http = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=40))
        _await_ready(http, folder)
        yield Service(http)


def _await_ready(http: httpx.Client, folder: Path) -> None:
    for _ in range(300):
        with suppress(httpx.TransportError):
            if http.get("/readyz").status_code == 200:
                return
        time.sleep(0.1)
    raise AssertionError((folder / "app.log").read_text())


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(params=["embedded", pytest.param("production", marks=[pytest.mark.postgres, pytest.mark.redis])])
def service(request, tmp_path) -> Iterator[Service]:
    """Every test that asks for a service runs on both."""
    settings = {}
    if request.param == "production":
        settings = {
            "WINNOW_DATABASE_URL": request.getfixturevalue("postgres_url"),
            "WINNOW_BROKER_URL": request.getfixturevalue("redis_url"),
        }
    with running_service(tmp_path, **settings) as service:
        yield service


@pytest.fixture
def pictures(tmp_path) -> Path:
    """Sixty small pictures in six bursts, two exact copies, and three files that are no pictures."""
    return _make_pictures(tmp_path / "pictures")


@pytest.fixture
def make_pictures() -> Callable[..., Path]:
    return _make_pictures


@pytest.fixture
def start_service() -> Callable[..., AbstractContextManager[Service]]:
    return running_service


def _make_pictures(folder: Path, order: Callable[[list[int]], list[int]] = list) -> Path:
    """The same files whatever the order they are written in."""
    for number in order(list(range(60))):
        rng = np.random.default_rng(number // 10)
        scene = rng.integers(0, 255, (6, 8, 3)).astype(np.float64)
        jitter = np.random.default_rng(1000 + number).normal(0, 2, scene.shape)
        picture = Image.fromarray(np.clip(scene + jitter, 0, 255).astype(np.uint8)).resize((96, 72))
        path = folder / f"camera-{number % 3}" / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    (folder / "copy-of-000.png").write_bytes((folder / "camera-0" / "000.png").read_bytes())
    (folder / "copy-of-001.png").write_bytes((folder / "camera-1" / "001.png").read_bytes())
    (folder / "truncated.png").write_bytes((folder / "camera-0" / "000.png").read_bytes()[:60])
    (folder / "words.jpg").write_text("not a picture")
    (folder / "empty.png").write_bytes(b"")
    return folder
