"""The dataset table: a source, and once it has been listed, the snapshot every job on it reads."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, insert, literal, select, tuple_, update

from winnow.store import uploads
from winnow.store.db import now
from winnow.store.ids import new_id
from winnow.store.tables import dataset, job


def create(
    connection: Connection,
    *,
    tenant_id: str,
    name: str,
    source: Mapping[str, Any],
    labels: Mapping[str, Any] | None = None,
    dataset_id: str | None = None,
) -> Row[Any]:
    values = {
        "id": dataset_id or new_id("ds"),
        "tenant_id": tenant_id,
        "name": name,
        "source": dict(source),
        "labels": dict(labels) if labels else None,
        "state": "pending",
        "created_at": now(),
    }
    return connection.execute(insert(dataset).values(values).returning(*dataset.c)).one()


def get(connection: Connection, tenant_id: str, dataset_id: str) -> Row[Any] | None:
    query = select(dataset).where(dataset.c.id == dataset_id, dataset.c.tenant_id == tenant_id)
    return connection.execute(query).one_or_none()


def page(
    connection: Connection, tenant_id: str, *, size: int, after: tuple[float, str] | None = None
) -> list[Row[Any]]:
    """Newest first."""
    query = select(dataset).where(dataset.c.tenant_id == tenant_id)
    if after is not None:
        query = query.where(tuple_(dataset.c.created_at, dataset.c.id) < tuple_(literal(after[0]), literal(after[1])))
    return list(connection.execute(query.order_by(dataset.c.created_at.desc(), dataset.c.id.desc()).limit(size)))


def remove(connection: Connection, tenant_id: str, dataset_id: str) -> bool:
    """Delete it, its own list and the ended job that listed it; False where another job names it, or there is none."""
    mine = (dataset.c.id == dataset_id, dataset.c.tenant_id == tenant_id)
    if connection.execute(select(dataset.c.id).where(*mine)).first() is None:
        return False
    listed = and_(job.c.kind == "list", job.c.finished_at.is_not(None))
    others = select(job.c.id).where(job.c.dataset_id == dataset_id, ~listed)
    if connection.execute(others.limit(1)).first() is not None:
        return False
    connection.execute(delete(job).where(job.c.dataset_id == dataset_id, listed))
    gone = connection.execute(delete(dataset).where(*mine)).rowcount == 1
    uploads.remove(connection, tenant_id, uploads.own_list(dataset_id))
    return gone


def set_listed(
    connection: Connection, dataset_id: str, *, counts: Mapping[str, int], fingerprint: str, snapshot: str
) -> bool:
    """Fix the snapshot; False where another job has fixed it first: a dataset never changes again."""
    statement = (
        update(dataset)
        .where(dataset.c.id == dataset_id, dataset.c.state != "ready")
        .values(
            state="ready",
            counts=dict(counts),
            fingerprint=fingerprint,
            snapshot=snapshot,
            listed_at=now(),
            error=None,
        )
    )
    return connection.execute(statement).rowcount == 1


def set_failed(connection: Connection, dataset_id: str, *, error: Mapping[str, Any]) -> None:
    """Note why it could not be listed; a later job may try again."""
    statement = update(dataset).where(dataset.c.id == dataset_id, dataset.c.state == "pending")
    connection.execute(statement.values(state="failed", error=dict(error), listed_at=now()))
