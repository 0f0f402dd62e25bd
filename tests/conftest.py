"""Fixtures every test may ask for: a fresh PostgreSQL database, a Redis, the real pictures where they are at hand."""

import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # so that every test finds `servers`
from servers import PostgresServer, RedisServer, execute

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
