"""The API in this process, see `in_process`, and as a process of its own for what lies below HTTP."""

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from in_process import api, make_api, root  # noqa: F401 - fixtures
from servers import free_port

from winnow.store import migrate


@dataclass
class Listening:
    """A real server process, impatient, without a worker."""

    port: int
    pid: int
    database: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def resident_mib(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) >> 10


@pytest.fixture
def listening(tmp_path) -> Iterator[Listening]:
    port, database = free_port(), tmp_path / "w.db"
    migrate.upgrade(f"sqlite:///{database}")
    (tmp_path / "pictures").mkdir()
    settings = {
        "WINNOW_DATA_DIR": str(tmp_path),
        "WINNOW_DATABASE_URL": f"sqlite:///{database}",
        "WINNOW_ALLOW_ROOTS": str(tmp_path / "pictures"),
        "WINNOW_PORT": str(port),
    }
    quick = {"WINNOW_HEADER_S": "1", "WINNOW_BODY_IDLE_S": "1", "WINNOW_BODY_TOTAL_S": "3", "PATH": "/usr/bin"}
    process = subprocess.Popen([sys.executable, "-m", "app"], env=settings | quick, stderr=subprocess.DEVNULL)
    for _ in range(200):
        try:
            httpx.get(f"http://127.0.0.1:{port}/livez")
            break
        except httpx.TransportError:
            time.sleep(0.1)
    yield Listening(port, process.pid, database)
    process.terminate()
    process.wait(10)
