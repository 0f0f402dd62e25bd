"""The worker keeps the cache of vectors within its bound, and never takes away what a job may be using."""

import time

import numpy as np
import pytest

from winnow.embeddings.cache import ShardCache
from winnow.settings import Settings
from winnow.spec import DatasetSpec, FolderSource
from winnow.store import datasets, jobs, keys, migrate
from winnow.store.artifacts import Artifacts
from winnow.store.db import Database
from worker.reconciler import Reconciler, bound_cache


@pytest.fixture
def settings(tmp_path):
    return Settings(data_dir=tmp_path / "data", cache_bytes=0)


@pytest.fixture
def database(settings):
    migrate.upgrade(settings.effective_database_url)
    database = Database(settings.effective_database_url)
    yield database
    database.dispose()


@pytest.fixture
def cache(settings):
    cache = ShardCache(Artifacts(settings.data_dir).cache)
    cache.shelf("encoder@1+1", np.dtype("<f4")).put(np.zeros((1, 32), np.uint8), np.zeros(1, "<f4"))
    return cache


@pytest.fixture
def begun(database):
    """A job that runs."""
    with database.begin() as connection:
        tenant_id = keys.local_caller(connection).tenant_id
        source = FolderSource(type="folder", path="/x")
        dataset = datasets.create(
            connection,
            tenant_id=tenant_id,
            name=DatasetSpec(source=source).name,
            source=source.model_dump(mode="json"),
        )
        jobs.submit(connection, tenant_id=tenant_id, kind="embed", dataset_id=dataset.id, spec={}, run_limit_s=60)
    with database.begin() as connection:
        return jobs.claim(connection, owner="test", lease_s=60)


def test_what_passes_the_bound_goes_once_no_job_runs(database, cache, begun):
    assert bound_cache(database, cache, 0) == 0
    assert cache.usage()
    with database.begin() as connection:
        jobs.fail(connection, begun, code="X", error={"code": "X"})
    assert bound_cache(database, cache, 0) > 0
    assert cache.usage() == []


def test_what_fits_stays(database, cache):
    assert bound_cache(database, cache, 1 << 20) == 0
    assert cache.usage()


def test_the_reconciler_sees_to_it(settings, database, cache, monkeypatch):
    reconciler = Reconciler(settings, database, lambda _job_id: None)
    reconciler.run_once()
    assert cache.usage()
    later = time.time() + 61
    monkeypatch.setattr(Reconciler, "_was_suspended", lambda _self: False)
    monkeypatch.setattr(time, "time", lambda: later)
    reconciler.run_once()
    assert cache.usage() == []
