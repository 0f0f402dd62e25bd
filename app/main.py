"""Puts the API together from its settings; nothing is done at import."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

import winnow
from app import errors
from app.deps import Parts
from app.metrics import Gauges
from app.middleware import Guard
from app.queue import CeleryDoorbell, NoDoorbell
from app.routers import catalog, datasets, health, jobs, results
from app.tokens import Tokens, load_secret
from winnow.settings import Settings
from winnow.store.artifacts import Artifacts
from winnow.store.db import Database

_WEB = Path(__file__).parent / "web"


def create_app(settings: Settings) -> FastAPI:
    parts = Parts(
        settings=settings,
        database=Database(settings.effective_database_url),
        artifacts=Artifacts(settings.data_dir),
        doorbell=CeleryDoorbell(settings.broker_url) if settings.broker_url else NoDoorbell(),
        tokens=Tokens(load_secret(settings.data_dir)),
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        parts.doorbell.close()
        parts.database.dispose()

    app = FastAPI(title="Winnow", version=winnow.__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.parts, app.state.gauges = parts, Gauges()
    errors.install(app)
    for part in (datasets, jobs, results, catalog, health):
        app.include_router(part.router)
    _serve_page(app)
    app.add_middleware(Guard, settings=settings, requests=app.state.gauges.requests, seconds=app.state.gauges.seconds)
    return app


def _serve_page(app: FastAPI) -> None:
    """The page a person looks at; it reads the public API only."""
    app.mount("/web", StaticFiles(directory=_WEB), name="web")

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(_WEB / "index.html")

    @app.get("/docs", include_in_schema=False)
    def reference() -> FileResponse:
        return FileResponse(_WEB / "docs.html")
