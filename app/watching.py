"""Waiting for a job: until it ends, or event by event. The row is looked at again and again, less often while idle."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from fastapi.concurrency import run_in_threadpool

from app.deps import Parts, find_job
from app.schemas import job_json, moment
from winnow.errors import InvalidRequest, WinnowError
from winnow.queues import FINAL_STATES
from winnow.store import jobs, keys

_SOON_S: Final = 0.05
_IDLE_S: Final = 0.8
_HEARTBEAT_S: Final = 15.0
_EVENTS_A_LOOK: Final = 100


async def settled(
    parts: Parts, caller: keys.Caller, job_id: str, wait_s: float, is_gone: Callable[[], Awaitable[bool]]
) -> Any:
    """The row once the job has ended, or as it is after `wait_s`, or when nobody is there to hear of it."""
    deadline, pause_s = time.monotonic() + wait_s, _SOON_S
    while True:
        row = await run_in_threadpool(find_job, parts, caller, job_id)
        left_s = deadline - time.monotonic()
        if row.state in FINAL_STATES or left_s <= 0 or await is_gone():
            return row
        await asyncio.sleep(min(pause_s, left_s))
        pause_s = min(pause_s * 2, _IDLE_S)


def event_number(text: str | None) -> int:
    """`Last-Event-ID` as a number; 0 tells everything."""
    if text is None:
        return 0
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise InvalidRequest("Last-Event-ID must be the id of an event of this stream")
    return int(text)


def is_over(parts: Parts, caller: keys.Caller, job_id: str, after: int) -> bool:
    row, events = _look(parts, caller, job_id, after)
    return row is None or (row.state in FINAL_STATES and not events)


async def happened(parts: Parts, caller: keys.Caller, job_id: str, after: int) -> AsyncIterator[str]:
    """`stage` for what the row's history and its worker report, `progress` between, `done` last.

    Ends early where the database is away or the job was deleted: the caller comes back with the last id it saw.
    """
    shown: tuple[Any, Any] = (None, None)
    spoke_at, pause_s = time.monotonic(), _SOON_S
    while True:
        try:
            row, events = await run_in_threadpool(_look, parts, caller, job_id, after)
        except WinnowError:
            return
        if row is None:
            return
        frames, after, shown = _news(row, events, after, shown)
        for frame in frames:
            yield frame
        if row.state in FINAL_STATES and len(events) < _EVENTS_A_LOOK:
            yield _frame("done", job_json(row), after)
            return
        pause_s = _SOON_S if frames else min(pause_s * 2, _IDLE_S)
        if frames:
            spoke_at = time.monotonic()
        elif time.monotonic() - spoke_at > _HEARTBEAT_S:
            spoke_at = time.monotonic()
            yield ": still here\n\n"
        await asyncio.sleep(pause_s)


def _news(row: Any, events: list[Any], after: int, shown: tuple[Any, Any]) -> tuple[list[str], int, tuple[Any, Any]]:
    """What to say since the last look: history with its ids, then the stage, then the progress."""
    frames = []
    for event in events:
        after = event.seq
        told = {"stage": event.event, "attempt": event.attempt, "at": moment(event.at)}
        frames.append(_frame("stage", told, event.seq))
    stage, progress = shown
    running = row.state == "running"
    if running and row.stage is not None and row.stage != stage:
        frames.append(_frame("stage", {"stage": row.stage, "attempt": row.attempt}))
    if row.progress is not None and row.progress != progress:
        frames.append(_frame("progress", {"stage": row.stage, **row.progress}))
    return frames, after, (row.stage if running else stage, row.progress)


def _look(parts: Parts, caller: keys.Caller, job_id: str, after: int) -> tuple[Any, list[Any]]:
    with parts.database.read() as connection:
        row = jobs.get(connection, caller.tenant_id, job_id)
        return row, jobs.events(connection, job_id, after=after, size=_EVENTS_A_LOOK) if row is not None else []


def _frame(name: str, body: Any, number: int | None = None) -> str:
    head = f"id: {number}\n" if number is not None else ""
    return f"{head}event: {name}\ndata: {json.dumps(body)}\n\n"
