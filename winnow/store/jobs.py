"""The job table: queue, leases and verdicts. The row decides; a message about it is only a doorbell.

Every write of an attempt is fenced by `id AND attempt AND state = 'running'`: a worker that lost its lease changes
nothing. `attempt` is the fencing number; a trigger in the database lets it rise at a claim and nowhere else.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import Connection, Row, and_, case, delete, func, insert, literal, or_, select, text, tuple_, update
from sqlalchemy.sql.elements import ColumnElement

from winnow.queues import COMPUTE_QUEUE, FINAL_STATES, JobKind
from winnow.store import datasets
from winnow.store.db import is_postgres, now
from winnow.store.ids import new_id
from winnow.store.tables import job, job_event, job_result, tenant

CRASH_LIMIT: Final = 3  # the computation died: probably its own fault
LOST_LIMIT: Final = 12  # the worker vanished: probably not the job's fault
FAILURE_LIMIT: Final = 5  # a transient error, reported
RING_AGAIN_S: Final = 3.0

Beat = Literal["held", "cancel", "lost"]


@dataclass(frozen=True)
class Claim:
    """One attempt at one job: what a worker holds while it runs."""

    job_id: str
    attempt: int
    tenant_id: str
    kind: JobKind
    dataset_id: str
    spec: dict[str, Any]
    run_limit_s: int


# --- from the API -----------------------------------------------------------------------------------


def submit(
    connection: Connection,
    *,
    tenant_id: str,
    kind: JobKind,
    dataset_id: str,
    spec: Mapping[str, Any],
    run_limit_s: int,
    priority: int = 0,
) -> Row[Any]:
    """Queue a job; the worker is rung after the commit."""
    values = {
        "id": new_id("job"),
        "tenant_id": tenant_id,
        "kind": kind,
        "queue": COMPUTE_QUEUE,
        "dataset_id": dataset_id,
        "spec": dict(spec),
        "state": "queued",
        "priority": priority,
        "run_after": now(),
        "run_limit_s": run_limit_s,
        "created_at": now(),
        **dict.fromkeys(("attempt", "crashes", "lost", "failures", "releases"), 0),
    }
    row = connection.execute(insert(job).values(values).returning(*job.c)).one()
    _record(connection, row.id, 0, "queued")
    return row


def get(connection: Connection, tenant_id: str, job_id: str) -> Row[Any] | None:
    """The job with its result, or nothing: another tenant's job does not exist."""
    return connection.execute(_with_result().where(job.c.id == job_id, job.c.tenant_id == tenant_id)).one_or_none()


def page(
    connection: Connection,
    tenant_id: str,
    *,
    size: int,
    state: str | None = None,
    dataset_id: str | None = None,
    kind: str | None = None,
    after: tuple[float, str] | None = None,
) -> list[Row[Any]]:
    """Newest first; `after` is the (created_at, id) of the last row of the page before."""
    query = _with_result().where(job.c.tenant_id == tenant_id)
    if state == "cancelling":
        query = query.where(job.c.state == "running", job.c.cancel_requested_at.is_not(None))
    elif state is not None:
        query = query.where(job.c.state == state)
    if dataset_id is not None:
        query = query.where(job.c.dataset_id == dataset_id)
    if kind is not None:
        query = query.where(job.c.kind == kind)
    if after is not None:
        query = query.where(tuple_(job.c.created_at, job.c.id) < tuple_(literal(after[0]), literal(after[1])))
    return list(connection.execute(query.order_by(job.c.created_at.desc(), job.c.id.desc()).limit(size)))


def queued_count(connection: Connection, tenant_id: str) -> int:
    query = select(func.count()).where(job.c.tenant_id == tenant_id, job.c.state == "queued")
    return connection.execute(query).scalar_one()


def counts_by_state(connection: Connection) -> dict[str, int]:
    rows = connection.execute(select(job.c.state, func.count().label("jobs")).group_by(job.c.state))
    return {row.state: row.jobs for row in rows}


def oldest_queued_age_s(connection: Connection) -> float:
    query = select(now() - func.min(job.c.run_after)).where(job.c.state == "queued")
    return max(0.0, connection.execute(query).scalar_one() or 0.0)


def oldest_unfinished_start(connection: Connection) -> float:
    """When the first of the jobs began that have not ended; infinity where none has begun."""
    query = select(func.min(job.c.started_at)).where(job.c.finished_at.is_(None))
    began = connection.execute(query).scalar_one()
    return math.inf if began is None else float(began)


def request_cancel(connection: Connection, tenant_id: str, job_id: str) -> str | None:
    """The state after the request: 'cancelled' if it had not begun, 'running' if its worker is told; None if final."""
    mine = (job.c.id == job_id, job.c.tenant_id == tenant_id)
    asked_before = connection.execute(select(job.c.cancel_requested_at).where(*mine)).scalar() is not None
    done = job.c.state == "queued"
    statement = (
        update(job)
        .where(*mine, job.c.state.in_(("queued", "running")))
        .values(
            cancel_requested_at=func.coalesce(job.c.cancel_requested_at, now()),
            state=case((done, "cancelled"), else_=job.c.state),
            finished_at=case((done, now()), else_=job.c.finished_at),
        )
        .returning(job.c.state, job.c.attempt)
    )
    row = connection.execute(statement).one_or_none()
    if row is None:
        return None
    if row.state == "cancelled" or not asked_before:
        _record(connection, job_id, row.attempt, "cancelled" if row.state == "cancelled" else "cancelling")
    return str(row.state)


def remove(connection: Connection, tenant_id: str, job_id: str) -> bool:
    """Delete a job that has ended; False where it still runs or does not exist."""
    statement = delete(job).where(job.c.id == job_id, job.c.tenant_id == tenant_id, job.c.state.in_(FINAL_STATES))
    return connection.execute(statement).rowcount == 1


def attempts_in_use(connection: Connection) -> tuple[set[str], set[tuple[str, str]]]:
    """Jobs that have not ended, and the attempt whose files are the result of each that succeeded."""
    unfinished = connection.execute(select(job.c.id).where(job.c.finished_at.is_(None))).scalars()
    results = connection.execute(select(job_result.c.job_id, job_result.c.attempt))
    return set(unfinished), {(row.job_id, f"a{row.attempt}") for row in results}


def events(connection: Connection, job_id: str, *, after: int = 0, size: int = 100) -> list[Row[Any]]:
    query = select(job_event).where(job_event.c.job_id == job_id, job_event.c.seq > after)
    return list(connection.execute(query.order_by(job_event.c.seq).limit(size)))


# --- from the worker --------------------------------------------------------------------------------


def claim(connection: Connection, *, owner: str, lease_s: float) -> Claim | None:
    """Take the next job that is due and whose tenant has room, in one statement."""
    other = job.alias("other")
    running = (
        select(func.count())
        .where(other.c.tenant_id == job.c.tenant_id, other.c.state == "running")
        .correlate(job)
        .scalar_subquery()
    )
    candidate = (
        select(job.c.id)
        .join(tenant, tenant.c.id == job.c.tenant_id)
        .where(
            job.c.state == "queued",
            job.c.queue == COMPUTE_QUEUE,
            job.c.run_after <= now(),
            running < tenant.c.max_running,
        )
        .order_by(job.c.priority.desc(), job.c.run_after, job.c.id)
        .limit(1)
        .with_for_update(of=job, skip_locked=True)
    )
    statement = (
        update(job)
        .where(job.c.id == candidate.scalar_subquery(), job.c.state == "queued")
        .values(
            state="running",
            attempt=job.c.attempt + 1,
            lease_owner=owner,
            lease_until=now() + lease_s,
            started_at=func.coalesce(job.c.started_at, now()),
        )
        .returning(*(job.c[name] for name in _CLAIM_COLUMNS))
    )
    row = connection.execute(statement).one_or_none()
    if row is None:
        return None
    _record(connection, row.id, row.attempt, "started")
    return Claim(row.id, row.attempt, row.tenant_id, row.kind, row.dataset_id, row.spec, row.run_limit_s)


_CLAIM_COLUMNS: Final = ("id", "attempt", "tenant_id", "kind", "dataset_id", "spec", "run_limit_s")


def beat(
    connection: Connection, held: Claim, *, lease_s: float, stage: str | None, progress: Mapping[str, Any] | None
) -> Beat:
    """Renew the lease, say how far it is, and hear whether to go on: one statement."""
    values: dict[str, Any] = {"lease_until": now() + lease_s}
    if stage is not None:
        values |= {"stage": stage, "progress": dict(progress or {})}
    statement = update(job).where(_mine(held)).values(values).returning(job.c.cancel_requested_at)
    row = connection.execute(statement).one_or_none()
    if row is None:
        return "lost"
    return "held" if row.cancel_requested_at is None else "cancel"


def finish(
    connection: Connection,
    held: Claim,
    *,
    counts: Mapping[str, int],
    digests: Mapping[str, str],
    files: Mapping[str, Any],
    progress: Mapping[str, Any] | None = None,
) -> bool:
    """The verdict 'succeeded' with its result; False where the attempt is no longer ours.

    A caller who asked for an end in the last moment gets it: `cancelling` ends as `cancelled`.
    """
    if connection.execute(select(job.c.cancel_requested_at).where(_mine(held)).with_for_update()).scalar() is not None:
        return cancelled(connection, held)
    values: dict[str, Any] = {"state": "succeeded", "finished_at": now(), "stage": "done"}
    if progress is not None:
        values["progress"] = dict(progress)
    if not _end(connection, held, "succeeded", values):
        return False
    result = {"job_id": held.job_id, "attempt": held.attempt, "counts": counts, "digests": digests, "files": files}
    connection.execute(insert(job_result).values(result))
    return True


def cancelled(connection: Connection, held: Claim) -> bool:
    return _end(connection, held, "cancelled", {"state": "cancelled", "finished_at": now()})


def fail(connection: Connection, held: Claim, *, code: str, error: Mapping[str, Any], transient: bool = False) -> bool:
    """'failed', or back in the queue with a backoff while a transient error has tries left."""
    if not transient:
        return _end(connection, held, "failed", _failed(code, error))
    values = _again_or_failed(job.c.failures, FAILURE_LIMIT, code, error) | {"failures": job.c.failures + 1}
    return _end(connection, held, "retried", values)


def crash(connection: Connection, held: Claim, *, code: str, error: Mapping[str, Any]) -> bool:
    """The computation died under the supervisor; the third time it stays dead."""
    values = _again_or_failed(job.c.crashes, CRASH_LIMIT, code, error) | {"crashes": job.c.crashes + 1}
    return _end(connection, held, "crashed", values)


def release(connection: Connection, held: Claim) -> bool:
    """Hand the job back unharmed: this worker is stopping."""
    values = {"state": "queued", "releases": job.c.releases + 1, "rung_at": None, "run_after": now()}
    return _end(connection, held, "released", values)


# --- from the reconciler ----------------------------------------------------------------------------


def reap(connection: Connection, *, lease_s: float) -> list[str]:
    """Requeue the jobs whose worker fell silent; after a database outage everyone first gets one lease of grace."""
    dead = select(job.c.id).where(job.c.state == "running", job.c.lease_until < now())
    if is_postgres(connection.dialect):
        up_for = now() - text("extract(epoch from pg_postmaster_start_time())::float8")
        dead = dead.where(up_for > lease_s)
    dead = dead.order_by(job.c.lease_until).limit(100).with_for_update(skip_locked=True)
    given_up = job.c.lost + 1 >= LOST_LIMIT
    cancelling = job.c.cancel_requested_at.is_not(None)
    statement = (
        update(job)
        .where(job.c.id.in_(dead.scalar_subquery()), job.c.state == "running", job.c.lease_until < now())
        .values(
            lost=job.c.lost + 1,
            lease_owner=None,
            lease_until=None,
            rung_at=None,
            run_after=now() + _backoff_s(job.c.lost),
            state=case((cancelling, "cancelled"), (given_up, "failed"), else_="queued"),
            finished_at=case((or_(cancelling, given_up), now()), else_=None),
            error_code=case((and_(~cancelling, given_up), "LEASE_EXPIRED"), else_=None),
        )
        .returning(job.c.id, job.c.attempt, job.c.state)
    )
    rows = connection.execute(statement).all()
    for row in rows:
        _record(connection, row.id, row.attempt, "lost" if row.state == "queued" else row.state)
    return [row.id for row in rows]


def due_to_ring(connection: Connection, *, size: int = 50) -> list[str]:
    """Jobs whose doorbell should be pressed (again): the table is its own outbox."""
    waiting = (
        select(job.c.id)
        .where(job.c.state == "queued", job.c.run_after <= now())
        .where(or_(job.c.rung_at.is_(None), job.c.rung_at < now() - RING_AGAIN_S))
        .order_by(job.c.priority.desc(), job.c.run_after)
        .limit(size)
        .with_for_update(skip_locked=True)
    )
    statement = (
        update(job)
        .where(job.c.id.in_(waiting.scalar_subquery()), job.c.state == "queued")
        .values(rung_at=now())
        .returning(job.c.id)
    )
    return list(connection.execute(statement).scalars())


# --- shared -----------------------------------------------------------------------------------------


def _with_result() -> Any:
    columns = (job_result.c.counts, job_result.c.digests, job_result.c.files, job_result.c.attempt)
    labelled = [column.label(f"result_{column.name}") for column in columns]
    return select(*job.c, *labelled).outerjoin(job_result, job_result.c.job_id == job.c.id)


def _mine(held: Claim) -> ColumnElement[bool]:
    return and_(job.c.id == held.job_id, job.c.attempt == held.attempt, job.c.state == "running")


def _end(connection: Connection, held: Claim, event: str, values: dict[str, Any]) -> bool:
    """Leave the state 'running', if it is still this attempt's to leave."""
    statement = update(job).where(_mine(held)).values(lease_owner=None, lease_until=None, **values)
    row = connection.execute(statement.returning(job.c.state)).one_or_none()
    if row is None:
        return False
    _record(connection, held.job_id, held.attempt, row.state if row.state in FINAL_STATES else event)
    if row.state == "failed":  # a dataset that was to be listed says why it is not
        datasets.set_failed(connection, held.dataset_id, error=values["error"])
    return True


def _failed(code: str, error: Mapping[str, Any]) -> dict[str, Any]:
    return {"state": "failed", "finished_at": now(), "error_code": code, "error": dict(error)}


def _again_or_failed(counter: ColumnElement[int], limit: int, code: str, error: Mapping[str, Any]) -> dict[str, Any]:
    """Queued with a backoff, or failed for good; a caller who asked for an end meanwhile gets it."""
    cancelling = job.c.cancel_requested_at.is_not(None)
    given_up = counter + 1 >= limit
    return {
        "state": case((cancelling, "cancelled"), (given_up, "failed"), else_="queued"),
        "finished_at": case((or_(cancelling, given_up), now()), else_=None),
        "error_code": case((and_(~cancelling, given_up), code), else_=None),
        "error": dict(error),
        "rung_at": None,
        "run_after": now() + _backoff_s(counter),
    }


def _backoff_s(counter: ColumnElement[int]) -> ColumnElement[float]:
    """1, 2, 4 ... 256, then 300 seconds: as a table, since SQLite may lack power()."""
    steps = [(counter == step, float(2**step)) for step in range(9)]
    return case(*steps, else_=300.0)


def _record(connection: Connection, job_id: str, attempt: int, event: str) -> None:
    connection.execute(insert(job_event).values(job_id=job_id, attempt=attempt, event=event, at=now()))
