"""A service whose every process can be killed and comes back, and a checker that knows what must be true afterwards."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from servers import PostgresServer, RedisServer, free_port
from sqlalchemy import select
from winnow_client import Client
from wire import Wire

from winnow.store import keys, migrate
from winnow.store.db import Database
from winnow.store.tables import job as job_table
from winnow.store.tables import job_event

FINAL = {"succeeded", "failed", "cancelled"}


class Kept:
    """A process that is started again whenever it dies, until the test is over."""

    def __init__(self, module: str, environment: dict[str, str], log: Path) -> None:
        self._command, self._environment, self._log = [sys.executable, "-m", module], environment, log
        self._over = threading.Event()
        self.process = self._start()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, number)

    def children(self) -> list[psutil.Process]:
        with suppress(psutil.Error):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def end(self) -> None:
        self._over.set()
        self._keeper.join()
        for number in (signal.SIGCONT, signal.SIGTERM):
            self.signal(number)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _start(self) -> "subprocess.Popen[bytes]":
        with self._log.open("ab") as log:
            return subprocess.Popen(
                self._command, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )

    def _keep(self) -> None:
        while not self._over.wait(0.2):
            if self.process.poll() is not None:
                self.process = self._start()


class Site:
    """One running service and the clients' view of it."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder, self.data = folder, Path(settings.get("WINNOW_DATA_DIR", folder / "data"))
        port = free_port()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("WINNOW_")}
        environment |= {
            "WINNOW_DATA_DIR": str(self.data),
            "WINNOW_DATABASE_URL": f"sqlite:///{folder / 'winnow.db'}",
            "WINNOW_ALLOW_ROOTS": str(folder),
            "WINNOW_PORT": str(port),
            "WINNOW_LEASE_S": "3",
            "WINNOW_BEAT_S": "0.3",
            "WINNOW_REAP_S": "0.3",
            "WINNOW_SLOTS": "2",
            "WINNOW_THREADS": "1",
            **settings,
        }
        self.url, self.environment = f"http://127.0.0.1:{port}", environment
        migrate.upgrade(environment["WINNOW_DATABASE_URL"])
        self.database = Database(environment["WINNOW_DATABASE_URL"])
        with self.database.begin() as connection:
            keys.local_caller(connection)
            keys.set_quota(connection, keys.LOCAL_TENANT, max_running=4, max_queued=1000)
        self.api = Kept("app", environment, folder / "app.log")
        self.worker = Kept("worker", environment, folder / "worker.log")
        self.others: list[Kept] = []
        self.vectors = folder / "vectors.npy"
        np.save(self.vectors, np.random.default_rng(0).normal(size=(2000, 16)).astype(np.float32))

    def another_worker(self) -> Kept:
        """Beside the first, on the same database and disk."""
        self.others.append(Kept("worker", self.environment, self.folder / "another.log"))
        return self.others[-1]

    def computations(self) -> list[psutil.Process]:
        """The processes that compute just now."""
        found = []
        for child in self.worker.children():
            with suppress(psutil.Error):
                if "worker.child" in child.cmdline():
                    found.append(child)
        return found

    def upload(self, content: bytes) -> httpx.Response:
        """What the service says to it, whatever that is."""
        upload_id = httpx.post(f"{self.url}/v1/uploads").json()["id"]
        return httpx.put(f"{self.url}/v1/uploads/{upload_id}", content=content, timeout=30)

    def watch_cache(self, mark: Path) -> Callable[[], tuple[dict[Path, int], dict[Path, int]]]:
        """What lay in the cache of vectors, file by file: as `mark` appeared, and now."""
        before: dict[Path, int] = {}

        def shards() -> dict[Path, int]:
            return {path: path.stat().st_ino for path in self.data.glob("cache/**/*.rows")}

        def watch() -> None:
            while not mark.exists():
                if over.wait(0.005):
                    return
            before.update(shards())

        def ask() -> tuple[dict[Path, int], dict[Path, int]]:
            over.set()
            watcher.join()
            return before, shards()

        over, watcher = threading.Event(), threading.Thread(target=watch, daemon=True)
        watcher.start()
        return ask

    def client(self) -> Client:
        """Stubborn, as a client of a service that is being attacked has to be."""
        return Client(self.url, retries=60, pause=lambda _s: time.sleep(0.3))

    def submit(self, client: Client, dataset_id: str, count: int, key: str) -> str:
        selection = {"method": "coreset", "target": {"count": count}}
        request = {"dataset_id": dataset_id, "selection": selection, "insights": []}
        job_id: str = client.submit(request, idempotency_key=key)["id"]
        return job_id

    def dataset(self, client: Client) -> str:
        dataset_id: str = client.create_dataset({"type": "vectors", "path": str(self.vectors)})["id"]
        return dataset_id

    def wait_all(self, client: Client, job_ids: list[str], limit_s: float) -> dict[str, dict[str, Any]]:
        deadline = time.monotonic() + limit_s
        jobs: dict[str, dict[str, Any]] = {}
        while len(jobs) < len(job_ids):
            assert time.monotonic() < deadline, f"{len(job_ids) - len(jobs)} jobs not final after {limit_s} s"
            for job_id in job_ids:
                if job_id not in jobs:
                    job = client.get(job_id)
                    if job["state"] in FINAL:
                        jobs[job_id] = job
            time.sleep(0.5)
        return jobs

    def answer(self, client: Client, job_id: str) -> tuple[str, tuple[str, ...]]:
        digest = client.get(job_id)["digests"]["selection"]
        return digest, tuple(sample.path for sample in client.selection(job_id))

    def check_history(self, job_ids: list[str]) -> None:
        """What must be true of the database and the disk, whatever happened."""
        with self.database.read() as connection:
            rows = {row.id: row for row in connection.execute(select(job_table))}
            events = list(connection.execute(select(job_event)))
        assert set(job_ids) <= set(rows), "an acknowledged job is not in the table"
        filters = [row for row in rows.values() if row.kind == "filter"]
        assert len(filters) == len(set(job_ids)), "a job stands in the table twice"
        for row in filters:
            ends = [event.event for event in events if event.job_id == row.id and event.event in FINAL]
            assert ends == ["succeeded"], (row.id, ends)
            assert row.lease_owner is None
        assert not [
            path
            for path in self.data.glob("jobs/*/*/.tmp.*")
            if path.parent.name == f"a{rows[path.parent.parent.name].attempt}"
        ]

    def end(self) -> None:
        for process in (self.worker, *self.others, self.api):
            process.end()
        self.database.dispose()


@pytest.fixture
def start_site(tmp_path) -> Iterator[Callable[..., Site]]:
    sites: list[Site] = []

    def start(**settings: str) -> Site:
        sites.append(Site(tmp_path, **settings))
        return sites[-1]

    yield start
    for site in sites:
        site.end()


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    """A server of this test's own, that forgets nothing."""
    server = PostgresServer(fsync=True).start()
    yield server
    server.remove()


@pytest.fixture
def broker() -> Iterator[RedisServer]:
    server = RedisServer().start()
    yield server
    server.remove()


@pytest.fixture
def stretch() -> Iterator[Callable[[int], Wire]]:
    """A wire to a port, to be cut."""
    wires: list[Wire] = []

    def to(port: int) -> Wire:
        wires.append(Wire(port))
        return wires[-1]

    yield to
    for wire in wires:
        wire.remove()


@pytest.fixture
def dice() -> random.Random:
    """The seed is printed with a failure; WINNOW_TEST_SEED repeats it."""
    seed = int(os.environ.get("WINNOW_TEST_SEED", random.SystemRandom().randrange(1 << 30)))
    print(f"WINNOW_TEST_SEED={seed}")
    return random.Random(seed)


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A disk of 300 MB of its own: a little more than what the service leaves free."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300m", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("only root may mount a small disk to fill")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
