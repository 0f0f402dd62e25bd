"""The migrations make exactly the schema the queries are written against, and can be undone."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, select, update
from sqlalchemy.exc import IntegrityError

from winnow.store import datasets, jobs, keys, migrate
from winnow.store.db import Database
from winnow.store.tables import job, metadata


def test_the_migrated_schema_is_the_one_in_tables(database):
    with database.begin() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    # Indexes and checks live in the migrations alone; columns, types and keys must agree.
    assert [difference for difference in differences if "index" not in str(difference[0])] == []


def test_migrating_twice_and_back_leaves_nothing(database_url, database):
    migrate.upgrade(database_url)
    migrate.downgrade(database_url, "base")
    with database.begin() as connection:
        assert set(inspect(connection).get_table_names()) <= {"alembic_version"}


def test_a_database_of_an_older_release_learns_to_embed_and_keeps_its_guards(database_url):
    migrate.upgrade(database_url, "0002")
    database = Database(database_url)
    facts = {"spec": {}, "run_limit_s": 60}
    with database.begin() as connection:
        tenant_id = keys.local_caller(connection).tenant_id
        facts |= {"dataset_id": datasets.create(connection, tenant_id=tenant_id, name="d", source={}).id}
        old = jobs.submit(connection, tenant_id=tenant_id, kind="filter", **facts)
    migrate.upgrade(database_url)
    with database.begin() as connection:
        jobs.submit(connection, tenant_id=tenant_id, kind="embed", **facts)
        assert jobs.get(connection, tenant_id, old.id) is not None
    for forbidden in ({"kind": "dance"}, {"attempt": 7}):
        with pytest.raises(IntegrityError), database.begin() as connection:
            connection.execute(update(job).where(job.c.id == old.id).values(forbidden))
    migrate.downgrade(database_url, "0002")
    with database.begin() as connection:
        assert [row.kind for row in connection.execute(select(job))] == ["filter"]
    database.dispose()
