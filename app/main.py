"""Puts the API together from its settings; nothing is done at import."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

import winnow
from app import errors, uploads
from app.deps import Parts
from app.middleware import Guard
from app.queue import CeleryDoorbell, NullDoorbell
from app.rates import Buckets
from app.routers import catalog, datasets, embeddings, health, jobs, results
from app.tokens import Tokens, load_secret
from winnow.connections import load_connections
from winnow.datasets.allowed import Remote, remote_for
from winnow.errors import WinnowError
from winnow.settings import Settings
from winnow.store import migrate
from winnow.store.artifacts import Artifacts
from winnow.store.db import Database

_WEB: Final = Path(__file__).parent / "web"
_DESCRIPTION: Final = (
    "Winnow filters a dataset to the samples worth labelling. POST a job, watch it, download the ranked list. "
    "Refusals are `application/problem+json` (RFC 9457) with a stable `code`."
)

logger = logging.getLogger(__name__)


def create_app(settings: Settings) -> FastAPI:
    parts = Parts(
        settings=settings,
        database=Database(settings.effective_database_url),
        artifacts=Artifacts(settings.data_dir),
        doorbell=CeleryDoorbell(settings.broker_url) if settings.broker_url else NullDoorbell(),
        tokens=Tokens(load_secret(settings.data_dir)),
        buckets=Buckets(settings.rate_per_minute),
        remote=_remote(settings),
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        _look_around(parts)
        yield
        parts.doorbell.close()
        parts.database.dispose()

    app = FastAPI(
        title="Winnow",
        version=winnow.__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own page loads scripts from another site
        redoc_url=None,
    )
    app.state.parts = parts
    errors.install(app)
    for part in (datasets, jobs, embeddings, results, catalog, health):
        app.include_router(part.router)
    if _WEB.is_dir():
        _serve_page(app)
    app.add_middleware(Guard, settings=settings, metrics=parts.metrics)
    return app


def _remote(settings: Settings) -> Remote:
    """Read once; ConnectionBroken where the list of connections makes no sense."""
    return remote_for(
        load_connections(settings.connections),
        allow_urls=settings.allow_urls,
        private=settings.private_places,
        own_names=settings.allowed_hosts,
    )


def _look_around(parts: Parts) -> None:
    """Say at once what /readyz will say, and clear away what a killed process left."""
    uploads.sweep(parts.artifacts.root / "uploads")
    try:
        with parts.database.read() as connection:
            behind = migrate.is_behind(connection)
    except WinnowError as error:
        logger.warning("not ready: %s", error.detail)
        return
    if behind:
        logger.warning("not ready: the database lacks the newest schema; run `winnow migrate`")


def _serve_page(app: FastAPI) -> None:
    """The page a person looks at; it reads the public API only."""
    app.mount("/web", StaticFiles(directory=_WEB), name="web")

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(_WEB / "index.html")

    @app.get("/docs", include_in_schema=False)
    def reference() -> FileResponse:
        return FileResponse(_WEB / "docs.html")
