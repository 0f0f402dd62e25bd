"""Every store test runs twice: on SQLite and on a real PostgreSQL."""

from collections.abc import Iterator

import pytest

from winnow.store import datasets, keys, migrate
from winnow.store.db import Database


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request, tmp_path) -> str:
    if request.param == "postgres":
        return request.getfixturevalue("postgres_url")
    return f"sqlite:///{tmp_path / 'winnow.db'}"


@pytest.fixture
def database(database_url) -> Iterator[Database]:
    migrate.upgrade(database_url)
    database = Database(database_url)
    yield database
    database.dispose()


@pytest.fixture
def caller(database) -> keys.Caller:
    with database.begin() as connection:
        return keys.local_caller(connection)


@pytest.fixture
def dataset_id(database, caller) -> str:
    with database.begin() as connection:
        source = {"type": "folder", "path": "/data"}
        return datasets.create(connection, tenant_id=caller.tenant_id, name="yard", source=source).id
