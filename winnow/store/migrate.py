"""Brings a database to the newest schema by the migrations in `migrations/`; safe to run twice and side by side."""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

import migrations


def upgrade(database_url: str, revision: str = "head") -> None:
    command.upgrade(_config(database_url), revision)


def downgrade(database_url: str, revision: str) -> None:
    command.downgrade(_config(database_url), revision)


def is_behind(connection: Connection) -> bool:
    """Whether `upgrade` has something to do; a database that a newer release has brought further is not behind."""
    heads, known = _revisions()
    current = set(MigrationContext.configure(connection).get_current_heads())
    return not current or (current <= known and current != heads)


@cache
def _revisions() -> tuple[frozenset[str], frozenset[str]]:
    """The newest revisions, and all that this release knows."""
    scripts = ScriptDirectory.from_config(_config("sqlite://"))
    return frozenset(scripts.get_heads()), frozenset(script.revision for script in scripts.walk_revisions())


def _config(database_url: str) -> Config:
    """No ini file: the folder is where the package is, the URL is what the caller says."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["database_url"] = database_url
    return config
