"""Is it alive, is it ready, how is it doing."""

from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app.deps import PartsDep
from winnow.errors import Unavailable, WinnowError
from winnow.store import jobs

router = APIRouter(tags=["operations"])


@router.get("/livez")
def live() -> dict[str, Any]:
    return {"status": "ok"}


@router.get("/readyz")
def ready(parts: PartsDep) -> dict[str, Any]:
    """200 where a job could be accepted now: the database answers with our schema, and the disk has room."""
    try:
        with parts.database.read() as connection:
            jobs.oldest_queued_age_s(connection)
    except WinnowError:
        raise
    except Exception as error:  # the driver's own words for a missing table differ
        raise Unavailable("the database lacks the schema; run `winnow migrate`") from error
    parts.artifacts.require_space(0)
    return {"status": "ok"}


@router.get("/metrics", response_class=Response)
def metrics(parts: PartsDep, request: Request) -> Response:
    """For Prometheus: requests by route, jobs by state, the age of the oldest waiting one."""
    with parts.database.read() as connection:
        counts = jobs.counts_by_state(connection)
        oldest = jobs.oldest_queued_age_s(connection)
    gauges = request.app.state.gauges
    for state in ("queued", "running", "succeeded", "failed", "cancelled"):
        gauges.jobs.labels(state).set(counts.get(state, 0))
    gauges.oldest_queued_s.set(oldest)
    return Response(generate_latest(gauges.registry), media_type=CONTENT_TYPE_LATEST)
