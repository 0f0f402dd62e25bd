"""Fixtures every test may ask for: a fresh PostgreSQL database, a Redis, the real pictures where they are at hand."""

import json
import os
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # so that every test finds `servers`
from servers import PostgresServer, RedisServer, S3Server, execute
from site_server import Site

_STARTED: list[PostgresServer | RedisServer] = []
_POSTGRES, _REDIS = "WINNOW_TEST_POSTGRES_URL", "WINNOW_TEST_REDIS_URL"


def pytest_configure(config: pytest.Config) -> None:
    """The first process brings up one server of each kind; the workers of xdist find them through the environment."""
    if hasattr(config, "workerinput") or config.option.collectonly:
        return
    for variable, kind in ((_POSTGRES, PostgresServer), (_REDIS, RedisServer)):
        if not os.environ.get(variable):
            server = kind().start()
            _STARTED.append(server)
            os.environ[variable] = server.url


def pytest_unconfigure(config: pytest.Config) -> None:
    while _STARTED:
        _STARTED.pop().remove()


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """A database of the test's own, empty."""
    server, name = os.environ[_POSTGRES], f"winnow_{uuid.uuid4().hex[:16]}"
    execute(server, f"CREATE DATABASE {name}")
    yield f"{server.rsplit('/', 1)[0]}/{name}"
    execute(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def redis_url() -> str:
    """The shared server, in a database number of this worker's own."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 15 + 1
    return f"{os.environ[_REDIS].rsplit('/', 1)[0]}/{number}"


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    pytest.importorskip("moto", reason="moto, the S3 server of the tests, is not installed")
    pytest.importorskip("s3fs", reason="s3fs is not installed: pip install winnow[s3]")
    server = S3Server().start()
    yield server
    server.remove()


@dataclass
class Bucket:
    """A bucket of one test's own, and the connection an administrator would make of it."""

    server: S3Server
    name: str
    credentials: Path

    def put(self, objects: Mapping[str, bytes], **options: Any) -> None:
        self.server.put(self.name, objects, **options)

    def delete(self, key: str) -> None:
        self.server.client.delete_object(Bucket=self.name, Key=key)

    def table(self, **changes: Any) -> dict[str, Any]:
        """The connection as its table in the administrator's file says it."""
        plain = {
            "protocol": "s3",
            "bucket": self.name,
            "endpoint_url": self.server.url,
            "region": "us-east-1",
            "credentials_file": str(self.credentials),
        }
        return {name: value for name, value in (plain | changes).items() if value is not None}


@pytest.fixture
def bucket(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    name = f"test-{uuid.uuid4().hex[:16]}"
    s3_server.trouble()
    s3_server.client.create_bucket(Bucket=name)
    credentials = tmp_path_factory.mktemp("secrets") / "lake.json"
    credentials.write_text(json.dumps({"key": s3_server.KEY, "secret": s3_server.SECRET}))
    yield Bucket(s3_server, name, credentials)
    s3_server.trouble()


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.remove()


@pytest.fixture(scope="session")
def real_pictures() -> Path:
    """A folder of real datasets, which the repository does not hold."""
    folder = Path(os.environ.get("WINNOW_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("the real pictures are not here; WINNOW_TEST_DATA may name their folder")
    return folder


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests ran against the real servers: a green run without them would prove little."""
    passed = terminalreporter.stats.get("passed", [])
    for marker in ("postgres", "redis"):
        terminalreporter.write_line(
            f"{sum(marker in report.keywords for report in passed)} passed against a real {marker}"
        )
