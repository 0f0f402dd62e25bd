"""What endpoints are handed: the service's parts, who asks, and the one 404."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

from fastapi import Depends, Header, Path, Request
from sqlalchemy import Row

from app.queue import Doorbell
from app.tokens import Tokens
from winnow.errors import Forbidden, JobNotFinished, NotFound, RateLimited, Unauthenticated
from winnow.settings import Settings
from winnow.store import datasets, jobs, keys
from winnow.store.artifacts import Artifacts
from winnow.store.db import Database

_BEARER: Final = re.compile(r"^Bearer +(\S{1,200})$", re.IGNORECASE)


@dataclass
class Parts:
    """What one API process is made of."""

    settings: Settings
    database: Database
    artifacts: Artifacts
    doorbell: Doorbell
    tokens: Tokens
    buckets: dict[str, tuple[float, float]] = field(default_factory=dict)  # tenant -> tokens left, when
    local: keys.Caller | None = None  # who you are without a key, where none is needed


def _parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


PartsDep = Annotated[Parts, Depends(_parts)]


def _caller(
    parts: PartsDep, authorization: Annotated[str | None, Header(include_in_schema=False)] = None
) -> keys.Caller:
    caller = _identified(parts, authorization)
    _spend(parts, caller.tenant_id)
    return caller


def _identified(parts: Parts, authorization: str | None) -> keys.Caller:
    if authorization is None and not parts.settings.keys_required:
        if parts.local is None:
            with parts.database.begin() as connection:
                parts.local = keys.local_caller(connection)
        return parts.local
    match = _BEARER.match(authorization or "")
    if match is None:
        raise Unauthenticated("give a valid API key as 'Authorization: Bearer wn_...'")
    with parts.database.read() as connection:
        return keys.authenticate(connection, match[1])


def _spend(parts: Parts, tenant_id: str) -> None:
    """A token bucket of one minute's requests a tenant: a burst is fine, a flood is not."""
    rate = parts.settings.rate_per_minute
    left, then = parts.buckets.get(tenant_id, (float(rate), time.monotonic()))
    now = time.monotonic()
    left = min(float(rate), left + (now - then) * rate / 60)
    parts.buckets[tenant_id] = (max(0.0, left - 1), now)
    if left < 1:
        raise RateLimited(f"more than {rate} requests a minute; wait a little and go on")


CallerDep = Annotated[keys.Caller, Depends(_caller)]


def _needs(scope: str) -> Callable[[keys.Caller], keys.Caller]:
    def check(caller: CallerDep) -> keys.Caller:
        if scope not in caller.scopes:
            raise Forbidden(f"this key lacks the scope `{scope}`")
        return caller

    return check


Reader = Annotated[keys.Caller, Depends(_needs("read"))]
Writer = Annotated[keys.Caller, Depends(_needs("write"))]

JobIdPath = Annotated[str, Path(pattern=r"^job_[0-9a-f]{32}$")]
DatasetIdPath = Annotated[str, Path(pattern=r"^ds_[0-9a-f]{32}$")]
UploadIdPath = Annotated[str, Path(pattern=r"^up_[0-9a-f]{32}$")]


def find_job(parts: Parts, caller: keys.Caller, job_id: str) -> Row[Any]:
    """The job, or the one 404: a stranger's job and no job look the same."""
    with parts.database.read() as connection:
        row = jobs.get(connection, caller.tenant_id, job_id)
    if row is None:
        raise NotFound("there is no such job")
    return row


def _job(parts: PartsDep, caller: Reader, job_id: JobIdPath) -> Row[Any]:
    return find_job(parts, caller, job_id)


JobRow = Annotated[Any, Depends(_job)]


def _finished(row: JobRow) -> Any:
    if row.state != "succeeded":
        raise JobNotFinished(f"the job is {row.state}; its result is there once it has succeeded")
    return row


FinishedJob = Annotated[Any, Depends(_finished)]


def _dataset(parts: PartsDep, caller: Reader, dataset_id: DatasetIdPath) -> Row[Any]:
    with parts.database.read() as connection:
        row = datasets.get(connection, caller.tenant_id, dataset_id)
    if row is None:
        raise NotFound("there is no such dataset")
    return row


DatasetRow = Annotated[Any, Depends(_dataset)]
