"""Embeddings: a dataset becomes vectors, as a job like any other; `results` hands them out."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from app import examples, service
from app.deps import PartsDep, Writer
from app.routers.answers import IdempotencyKey
from app.routers.jobs import Prefer, submitted
from app.schemas import EmbedRequest
from app.strict_json import StrictRoute

router = APIRouter(prefix="/v1/embeddings", tags=["jobs"], route_class=StrictRoute, responses=examples.REFUSALS)


@router.post("", status_code=202, responses=examples.EMBED_QUEUED)
async def submit_embedding(
    parts: PartsDep,
    caller: Writer,
    job: EmbedRequest,
    request: Request,
    response: Response,
    idempotency_key: IdempotencyKey = None,
    validate_only: bool = False,
    prefer: Prefer = None,
) -> Any:
    """Queue a job that embeds and selects nothing. `?validate_only=true` answers with a plan and stores nothing."""
    if validate_only:
        return JSONResponse(await run_in_threadpool(service.plan_job, parts, caller, job))
    return await submitted(parts, caller, job, request, response, idempotency_key, prefer)
