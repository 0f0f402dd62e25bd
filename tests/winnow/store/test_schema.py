"""The migrations make exactly the schema the queries are written against, and can be undone."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect

from winnow.store import migrate
from winnow.store.tables import metadata


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
