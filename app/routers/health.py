"""Is it alive, is it ready, how is it doing."""

from contextlib import suppress
from typing import Any

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from app.deps import Operator, Parts, PartsDep
from winnow.embeddings.cache import ShardCache
from winnow.errors import Unavailable, WinnowError, WorkerStorageFull
from winnow.store import jobs, migrate

router = APIRouter(tags=["operations"])


@router.get("/livez")
async def live() -> dict[str, Any]:
    """200 where the process answers at all; `async`, so that it needs no thread of those that may all be waiting."""
    return {"status": "ok"}


@router.get("/readyz")
def ready(parts: PartsDep) -> dict[str, Any]:
    """200 where a job could be accepted now: the database answers with our schema, and the disk has room."""
    with parts.database.read() as connection:
        if migrate.is_behind(connection):
            raise Unavailable("the database lacks the newest schema; run `winnow migrate`")
    try:
        parts.artifacts.require_space(0)
    except (WorkerStorageFull, OSError) as error:
        raise Unavailable("the artifact disk is full or away; free some space") from error
    return {"status": "ok", "checks": {"database": "ok", "schema": "ok", "disk": "ok"}}


@router.get("/metrics", response_class=Response)
def metrics(parts: PartsDep, _: Operator) -> Response:
    """For Prometheus: requests by route, jobs by state, the age of the oldest waiting one, the cache of vectors.

    Keys need `admin`."""
    _look_at_queue(parts)
    parts.metrics.set_cache(ShardCache(parts.artifacts.cache).usage())
    return Response(parts.metrics.text(), media_type=CONTENT_TYPE_LATEST)


def _look_at_queue(parts: Parts) -> None:
    """The requests are worth knowing even while the database is away."""
    parts.metrics.set_queue(None)
    with suppress(WinnowError), parts.database.read() as connection:
        parts.metrics.set_queue(jobs.counts_by_state(connection), jobs.oldest_queued_age_s(connection))
