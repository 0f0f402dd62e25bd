"""The API in this process, on SQLite and on a real PostgreSQL; the worker's part is played by the store itself."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.main import create_app
from winnow.settings import Settings
from winnow.store import jobs, keys, migrate
from winnow.store.artifacts import Artifacts
from winnow.store.db import Database

DIGESTS = {"input": "sha256:1", "embedding": "sha256:2", "selection": "sha256:3"}


class Api:
    """A client, the database behind it, and a hand that finishes jobs."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        migrate.upgrade(settings.effective_database_url)
        self.app = create_app(settings)
        self.http = TestClient(self.app, "http://127.0.0.1:8000", raise_server_exceptions=False)
        self.database = Database(settings.effective_database_url)

    def submit(self, root: Path, **headers: str) -> Any:
        body = {
            "dataset": {"source": {"type": "folder", "path": str(root)}},
            "selection": {"method": "coreset", "target": {"count": 3}},
        }
        return self.http.post("/v1/jobs", json=body, headers=headers)

    def finish(self, job_id: str, kept: int = 5, removed: int = 40) -> None:
        """Write what a worker would have written."""
        while True:
            with self.database.begin() as connection:
                held = jobs.claim(connection, owner="test", lease_s=60)
                assert held is not None
                if held.job_id == job_id:
                    break
                jobs.finish(connection, held, counts={}, digests={}, files={})
        folder = Artifacts(self.settings.data_dir).attempt(job_id, held.attempt)
        folder.mkdir(parents=True)
        contents = {
            "selection.txt": "".join(f"a/{rank}.jpg\n" for rank in range(kept)),
            "selection.jsonl": "".join(
                json.dumps({"rank": rank, "sample_id": f"{rank:064x}", "path": f"a/{rank}.jpg"}) + "\n"
                for rank in range(kept)
            ),
            "removed.jsonl": "".join(
                json.dumps({"sample_id": f"{number * 3:064x}", "path": f"b/{number}", "reason": "COVERED_BY_KEPT"})
                + "\n"
                for number in range(100, 100 + removed)
            ),
            "quarantine.jsonl": "",
            "manifest.json": "{}",
            "certificate.json": "{}",
        }
        files = []
        for name, text in contents.items():
            (folder / name).write_text(text)
            files.append({"name": name, "bytes": len(text), "sha256": "0" * 64, "media_type": "text/plain"})
        with self.database.begin() as connection:
            result = {"folder": folder.name, "files": files}
            assert jobs.finish(connection, held, counts={"selected": kept}, digests=DIGESTS, files=result)

    def key(self, tenant: str, *scopes: str) -> dict[str, str]:
        with self.database.begin() as connection:
            return {"Authorization": f"Bearer {keys.create(connection, tenant, list(scopes))[1]}"}


@pytest.fixture
def root(tmp_path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    return folder


@pytest.fixture
def make_api(tmp_path, root) -> Iterator[Any]:
    made: list[Api] = []

    def make(**settings: Any) -> Api:
        defaults = {"data_dir": tmp_path / "data", "allow_roots": (root,), "output_roots": (root,)}
        api = Api(Settings(**{**defaults, **settings}))
        api.http.__enter__()
        made.append(api)
        return api

    yield make
    for api in made:
        api.http.__exit__(None, None, None)
        api.database.dispose()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def api(request, make_api) -> Api:
    if request.param == "postgres":
        return make_api(database_url=request.getfixturevalue("postgres_url"))
    return make_api()
