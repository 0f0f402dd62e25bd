"""Brings a database to the newest schema by the migrations in `migrations/`; safe to run twice and side by side."""

from pathlib import Path

from alembic import command
from alembic.config import Config

import migrations


def upgrade(database_url: str, revision: str = "head") -> None:
    command.upgrade(_config(database_url), revision)


def downgrade(database_url: str, revision: str) -> None:
    command.downgrade(_config(database_url), revision)


def _config(database_url: str) -> Config:
    """No ini file: the folder is where the package is, the URL is what the caller says."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["database_url"] = database_url
    return config
