"""Jobs: submit, watch, cancel, delete."""

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, StreamingResponse

from app import service
from app.deps import JobIdPath, JobRow, Parts, PartsDep, Reader, Writer, find_job
from app.routers.datasets import IdempotencyKey, PageSize, PageToken, page_of, respond
from app.schemas import JobRequest, job_json, moment
from app.strict_json import StrictRoute
from winnow.errors import InvalidRequest, RequestInFlight
from winnow.queues import FINAL_STATES
from winnow.store import jobs, keys

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=StrictRoute)

_POLL_S: Final = 0.4  # how often a waiting answer looks at the row
_HEARTBEAT_S: Final = 15.0
_MAX_WAIT_S: Final = 60

Wait = Annotated[int, Query(ge=0, le=_MAX_WAIT_S)]
StateQuery = Literal["queued", "running", "cancelling", "succeeded", "failed", "cancelled"]


@router.post("", status_code=202)
async def submit_job(
    parts: PartsDep,
    caller: Writer,
    job: JobRequest,
    response: Response,
    idempotency_key: IdempotencyKey = None,
    validate_only: bool = False,
    prefer: Annotated[str | None, Header(max_length=100)] = None,
) -> Any:
    """Queue a filter job. `?validate_only=true` answers with a plan and stores nothing."""
    if validate_only:
        return JSONResponse(await run_in_threadpool(service.plan_job, parts, caller, job))
    said = await _once_more(parts, caller, idempotency_key, job)
    body = respond(response, said, "jobs")
    response.headers["Retry-After"] = "1"
    wait_s = _preferred_wait(prefer)
    if wait_s:
        row = await _settled(parts, caller, body["id"], wait_s)
        if row.state in FINAL_STATES:
            response.status_code = 200
            return job_json(row)
    return body


@router.get("")
def list_jobs(
    parts: PartsDep,
    caller: Reader,
    state: StateQuery | None = None,
    dataset_id: Annotated[str | None, Query(pattern=r"^ds_[0-9a-f]{32}$")] = None,
    kind: Literal["list", "filter"] | None = None,
    page_size: PageSize = 50,
    page_token: PageToken = None,
) -> dict[str, Any]:
    """Newest first."""
    after = tuple(parts.tokens.read("jobs", page_token)) if page_token else None
    with parts.database.read() as connection:
        rows = jobs.page(
            connection,
            caller.tenant_id,
            size=page_size + 1,
            state=state,
            dataset_id=dataset_id,
            kind=kind,
            after=after,
        )
    return page_of(parts, "jobs", rows, page_size, job_json)


@router.get("/{job_id}")
async def get_job(
    parts: PartsDep,
    caller: Reader,
    job_id: JobIdPath,
    wait: Wait = 0,
    if_none_match: Annotated[str | None, Header(max_length=200)] = None,
) -> Response:
    """The job as it is now, or as it is once it has ended or `wait` seconds have passed."""
    row = await _settled(parts, caller, job_id, wait)
    body = json.dumps(job_json(row), ensure_ascii=False).encode()
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": etag} | ({} if row.state in FINAL_STATES else {"Retry-After": "1"})
    if if_none_match == etag:
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


@router.post("/{job_id}:cancel", status_code=202)
def cancel_job(parts: PartsDep, caller: Writer, job_id: JobIdPath) -> dict[str, Any]:
    """Ask for an end; a running job stops within a second."""
    return service.cancel_job(parts, caller, job_id)


@router.delete("/{job_id}", status_code=204)
def delete_job(parts: PartsDep, caller: Writer, job_id: JobIdPath) -> None:
    """Forget an ended job and its files."""
    service.delete_job(parts, caller, job_id)


@router.get("/{job_id}/events")
async def stream_events(
    parts: PartsDep,
    row: JobRow,
    caller: Reader,
    request: Request,
    last_event_id: Annotated[str | None, Header(max_length=20)] = None,
) -> StreamingResponse:
    """Server-sent events: what happened, progress while it runs, and `done` at the end."""
    after = _event_number(last_event_id)
    stream = _events(parts, caller, row.id, after, request)
    return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def _once_more(parts: Parts, caller: keys.Caller, key: str | None, job: JobRequest) -> service.Said:
    """A twin request that loses the race finds the winner's answer on its second look."""
    try:
        return await run_in_threadpool(service.submit_job, parts, caller, key, job)
    except RequestInFlight:
        return await run_in_threadpool(service.submit_job, parts, caller, key, job)


async def _settled(parts: Parts, caller: keys.Caller, job_id: str, wait_s: float) -> Any:
    deadline = time.monotonic() + wait_s
    while True:
        row = await run_in_threadpool(find_job, parts, caller, job_id)
        if row.state in FINAL_STATES or time.monotonic() >= deadline:
            return row
        await asyncio.sleep(min(_POLL_S, max(0.0, deadline - time.monotonic())))


def _preferred_wait(prefer: str | None) -> int:
    """`Prefer: wait=30`; anything else may be ignored, says RFC 7240."""
    name, _, value = (prefer or "").partition("=")
    return min(int(value), _MAX_WAIT_S) if name.strip().lower() == "wait" and value.isdigit() else 0


def _event_number(text: str | None) -> int:
    if text is None:
        return 0
    if not text.isdigit() or len(text) > 18:
        raise InvalidRequest("Last-Event-ID must be the id of an event of this stream")
    return int(text)


async def _events(parts: Parts, caller: keys.Caller, job_id: str, after: int, request: Request) -> AsyncIterator[str]:
    shown: Any = None
    spoke_at = time.monotonic()
    while not await request.is_disconnected():
        row, happened = await run_in_threadpool(_look, parts, caller, job_id, after)
        for event in happened:
            after = event.seq
            told = {"event": event.event, "attempt": event.attempt, "at": moment(event.at)}
            yield _frame("stage" if event.event == "started" else event.event, told, event.seq)
        if row is None:
            return
        if row.progress is not None and row.progress != shown:
            shown = row.progress
            yield _frame("progress", {"stage": row.stage, **row.progress})
            spoke_at = time.monotonic()
        if row.state in FINAL_STATES:
            yield _frame("done", job_json(row))
            return
        if time.monotonic() - spoke_at > _HEARTBEAT_S:
            spoke_at = time.monotonic()
            yield ": still here\n\n"
        await asyncio.sleep(_POLL_S)


def _look(parts: Parts, caller: keys.Caller, job_id: str, after: int) -> tuple[Any, list[Any]]:
    with parts.database.read() as connection:
        row = jobs.get(connection, caller.tenant_id, job_id)
        return row, jobs.events(connection, job_id, after=after) if row is not None else []


def _frame(name: str, body: Any, number: int | None = None) -> str:
    head = f"id: {number}\n" if number is not None else ""
    return f"{head}event: {name}\ndata: {json.dumps(body)}\n\n"
