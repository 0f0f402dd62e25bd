"""What endpoints are handed: the service's parts, who asks, and the one 404."""

import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

from fastapi import BackgroundTasks, Depends, Path, Request, Security
from fastapi.security import HTTPBearer
from sqlalchemy import Row

from app.metrics import Metrics
from app.queue import Doorbell
from app.rates import Buckets
from app.tokens import Tokens
from winnow.datasets.allowed import NOTHING_REMOTE, Remote
from winnow.errors import Forbidden, JobNotFinished, NotFound, NothingSelected, Unauthenticated, WinnowError
from winnow.settings import Settings
from winnow.store import datasets, jobs, keys
from winnow.store.artifacts import Artifacts
from winnow.store.db import Database

_BEARER: Final = re.compile(r"^Bearer +(\S{1,200})\Z", re.IGNORECASE)
_TOUCH_EVERY_S: Final = 60.0


@dataclass
class Parts:
    """What one API process is made of."""

    settings: Settings
    database: Database
    artifacts: Artifacts
    doorbell: Doorbell
    tokens: Tokens
    buckets: Buckets
    remote: Remote = NOTHING_REMOTE  # what the operator lets datasets reach over the network
    metrics: Metrics = field(default_factory=Metrics)
    local: keys.Caller | None = None  # who you are without a key, where none is needed
    local_lock: threading.Lock = field(default_factory=threading.Lock)
    touched: dict[str, float] = field(default_factory=dict)  # key prefix -> when its use was last noted


def _parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


PartsDep = Annotated[Parts, Depends(_parts)]

# For the API's description only; `_caller` reads the header itself, so that every refusal says the same.
_scheme = HTTPBearer(auto_error=False, bearerFormat="wn_...", description="An API key. None is needed on loopback.")


def _caller(parts: PartsDep, request: Request, later: BackgroundTasks, _: Annotated[Any, Security(_scheme)]) -> Any:
    authorization = request.headers.get("authorization")
    caller = _identified(parts, authorization, later)
    parts.buckets.spend(caller.tenant_id)
    return caller


def _identified(parts: Parts, authorization: str | None, later: BackgroundTasks) -> keys.Caller:
    if authorization is None and not parts.settings.keys_required:
        return _local(parts)
    match = _BEARER.match(authorization or "")
    if match is None:
        raise Unauthenticated("give a valid API key as 'Authorization: Bearer wn_...'")
    with parts.database.read() as connection:
        caller = keys.authenticate(connection, match[1])
    _note_use(parts, match[1], later)
    return caller


def _local(parts: Parts) -> keys.Caller:
    with parts.local_lock:
        if parts.local is None:
            with parts.database.begin() as connection:
                parts.local = keys.local_caller(connection)
        return parts.local


def _note_use(parts: Parts, key: str, later: BackgroundTasks) -> None:
    """Once a minute at most, and after the answer: reading must not wait for a write."""
    prefix, now = key[:15], time.monotonic()
    if now - parts.touched.get(prefix, -_TOUCH_EVERY_S) >= _TOUCH_EVERY_S:
        parts.touched[prefix] = now
        later.add_task(_touch, parts, key)


def _touch(parts: Parts, key: str) -> None:
    with suppress(WinnowError), parts.database.begin() as connection:
        keys.touch(connection, key)


CallerDep = Annotated[keys.Caller, Depends(_caller)]


def _needs(scope: str) -> Callable[[keys.Caller], keys.Caller]:
    def check(caller: CallerDep) -> keys.Caller:
        if scope not in caller.scopes:
            raise Forbidden(f"this key lacks the scope `{scope}`")
        return caller

    return check


Reader = Annotated[keys.Caller, Depends(_needs("read"))]
Writer = Annotated[keys.Caller, Depends(_needs("write"))]


def _operator(parts: PartsDep, request: Request, later: BackgroundTasks) -> None:
    """Numbers over all tenants are for who runs the service; where no keys are needed, that is everybody."""
    if parts.settings.keys_required:
        _needs("admin")(_caller(parts, request, later, None))


Operator = Annotated[None, Depends(_operator)]

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


def _filtered(row: FinishedJob) -> Any:
    if row.kind != "filter":
        raise NothingSelected(
            f"a job of the kind {row.kind!r} selects nothing; POST /v1/jobs with the same dataset and encoder does, "
            "and computes no vector again that is still in the cache"
        )
    return row


FilteredJob = Annotated[Any, Depends(_filtered)]


def _dataset(parts: PartsDep, caller: Reader, dataset_id: DatasetIdPath) -> Row[Any]:
    with parts.database.read() as connection:
        row = datasets.get(connection, caller.tenant_id, dataset_id)
    if row is None:
        raise NotFound("there is no such dataset")
    return row


DatasetRow = Annotated[Any, Depends(_dataset)]
