"""`python -m app`: the API on the host and port of the settings."""

import sys

import uvicorn
from fastapi import FastAPI

from app.http_protocol import guarded
from app.main import create_app
from winnow import log
from winnow.errors import ConnectionBroken, WinnowError
from winnow.settings import Settings
from winnow.store import keys
from winnow.store.db import Database


def main() -> None:
    settings = Settings()
    log.configure(settings.log_level)
    refuse_open_door(settings)
    uvicorn.run(
        _created(settings),
        host=settings.host,
        port=settings.port,
        http=guarded(settings.header_s),
        timeout_keep_alive=15,
        timeout_graceful_shutdown=5,
        server_header=False,
        access_log=False,
        log_config=None,
        ws="none",
    )


def _created(settings: Settings) -> FastAPI:
    try:
        return create_app(settings)
    except ConnectionBroken as error:
        sys.exit(error.detail)


def refuse_open_door(settings: Settings) -> None:
    """Beyond loopback everybody is a stranger: without keys nobody could be told from anybody."""
    if settings.is_loopback:
        return
    database = Database(settings.effective_database_url)
    try:
        with database.read() as connection:
            closed = settings.keys_required and keys.any_usable(connection)
    except WinnowError:
        closed = settings.keys_required
    finally:
        database.dispose()
    if not closed:
        place = "" if settings.database_url else f" --data-dir {settings.data_dir}"
        sys.exit(
            f"refusing to listen on {settings.host} without API keys: anybody could read the datasets.\n"
            f"Make one with `winnow keys create NAME --scope read --scope write{place}`, or listen on 127.0.0.1."
        )


if __name__ == "__main__":
    main()
