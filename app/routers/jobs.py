"""Jobs: submit, watch, cancel, delete."""

import hashlib
import json
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, StreamingResponse

from app import examples, service
from app.deps import JobIdPath, JobRow, Parts, PartsDep, Reader, Writer
from app.downloads import is_known
from app.paging import PageSize, PageToken, capped, page_of
from app.routers.answers import IdempotencyKey, respond
from app.schemas import EmbedRequest, JobRequest, job_json
from app.strict_json import StrictRoute
from app.watching import event_number, happened, is_over, settled
from winnow.queues import FINAL_STATES, JobKind
from winnow.store import jobs
from winnow.store.keys import Caller

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=StrictRoute, responses=examples.REFUSALS)

_MAX_WAIT_S: Final = 60

Wait = Annotated[int, Query(ge=0, le=_MAX_WAIT_S, description="Answer only when the job has ended, or after so long")]
Prefer = Annotated[str | None, Header(max_length=100, description="`wait=30` waits for the end")]
StateQuery = Literal["queued", "running", "cancelling", "succeeded", "failed", "cancelled"]


@router.post("", status_code=202, responses=examples.JOB_QUEUED)
async def submit_job(
    parts: PartsDep,
    caller: Writer,
    job: JobRequest,
    request: Request,
    response: Response,
    idempotency_key: IdempotencyKey = None,
    validate_only: bool = False,
    prefer: Prefer = None,
) -> Any:
    """Queue a filter job. `?validate_only=true` answers with a plan and stores nothing."""
    if validate_only:
        return JSONResponse(await run_in_threadpool(service.plan_job, parts, caller, job))
    return await submitted(parts, caller, job, request, response, idempotency_key, prefer)


async def submitted(
    parts: Parts,
    caller: Caller,
    job: JobRequest | EmbedRequest,
    request: Request,
    response: Response,
    idempotency_key: str | None,
    prefer: str | None,
) -> dict[str, Any]:
    """The job as it was queued, or as it ended where the caller prefers to wait and it ends in time."""
    said = await run_in_threadpool(service.submit_job, parts, caller, idempotency_key, job)
    body = respond(response, said, "jobs")
    response.headers["Retry-After"] = "1"
    wait_s = _preferred_wait(prefer)
    if wait_s and not await run_in_threadpool(service.is_gone, parts, caller, body["id"]):
        row = await settled(parts, caller, body["id"], wait_s, request.is_disconnected)
        if row.state in FINAL_STATES:
            response.status_code = 200
            del response.headers["Retry-After"]
            return job_json(row)
    return body


@router.get("", responses=examples.JOBS)
def list_jobs(
    parts: PartsDep,
    caller: Reader,
    state: StateQuery | None = None,
    dataset_id: Annotated[str | None, Query(pattern=r"^ds_[0-9a-f]{32}$")] = None,
    kind: JobKind | None = None,
    page_size: PageSize = 50,
    page_token: PageToken = None,
) -> dict[str, Any]:
    """Newest first."""
    purpose, size = f"jobs {caller.tenant_id} {state} {dataset_id} {kind}", capped(page_size)
    after = tuple(parts.tokens.read(purpose, page_token)) if page_token else None
    with parts.database.read() as connection:
        rows = jobs.page(
            connection, caller.tenant_id, size=size + 1, state=state, dataset_id=dataset_id, kind=kind, after=after
        )
    return page_of(parts.tokens, purpose, rows, size, job_json)


@router.get("/{job_id}", responses=examples.JOB)
async def get_job(parts: PartsDep, caller: Reader, job_id: JobIdPath, request: Request, wait: Wait = 0) -> Response:
    """The job as it is now, or as it is once it has ended or `wait` seconds have passed."""
    row = await settled(parts, caller, job_id, wait, request.is_disconnected)
    body = json.dumps(job_json(row), ensure_ascii=False).encode()
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if row.state not in FINAL_STATES:
        headers["Retry-After"] = "1"
    if is_known(request.headers, etag):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


@router.post("/{job_id}:cancel", status_code=202, responses=examples.JOB_QUEUED)
def cancel_job(parts: PartsDep, caller: Writer, job_id: JobIdPath) -> dict[str, Any]:
    """Ask for an end; a running job stops within a second."""
    return service.cancel_job(parts, caller, job_id)


@router.delete("/{job_id}", status_code=204)
def delete_job(parts: PartsDep, caller: Writer, job_id: JobIdPath) -> None:
    """Forget an ended job and its files."""
    service.delete_job(parts, caller, job_id)


@router.get("/{job_id}/events", response_class=StreamingResponse, responses=examples.EVENTS)
async def stream_events(
    parts: PartsDep,
    row: JobRow,
    caller: Reader,
    last_event_id: Annotated[str | None, Header(max_length=20)] = None,
) -> Response:
    """Server-sent events: `stage` and `progress` while it runs, `done` at the end; 204 where all has been told."""
    after = event_number(last_event_id)
    if after and await run_in_threadpool(is_over, parts, caller, row.id, after):
        return Response(status_code=204)  # tells an EventSource not to come back
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(happened(parts, caller, row.id, after), media_type="text/event-stream", headers=headers)


def _preferred_wait(prefer: str | None) -> int:
    """`Prefer: wait=30`; anything else may be ignored, says RFC 7240."""
    for preference in (prefer or "").split(","):
        name, _, value = preference.partition("=")
        if name.strip().lower() == "wait" and value.strip().isascii() and value.strip().isdigit():
            return min(int(value), _MAX_WAIT_S)
    return 0
