"""Runs the migrations: the URL comes from the caller, or from WINNOW_DATABASE_URL for the alembic command."""

import os
from pathlib import Path

from alembic import context
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.engine import make_url

# Any constant will do, as long as every process that migrates uses the same.
_ADVISORY_LOCK = 7_219_403_655


def run() -> None:
    url = make_url(context.config.attributes.get("database_url") or os.environ["WINNOW_DATABASE_URL"])
    if url.drivername in {"postgresql", "postgres"}:
        url = url.set(drivername="postgresql+psycopg")
    if url.database and url.get_backend_name() == "sqlite":
        Path(url.database).absolute().parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            # Two processes that start together must not both run a step. The lock goes with the connection.
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _ADVISORY_LOCK})
            connection.commit()
        context.configure(connection=connection, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()
    engine.dispose()


run()
