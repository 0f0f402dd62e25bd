"""The upload table: bytes a caller sent, counted against its tenant, later read by a dataset."""

from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, or_, select, update

from winnow.store.db import now
from winnow.store.ids import new_id
from winnow.store.tables import dataset, upload


def own_list(dataset_id: str) -> str:
    """The upload that holds a dataset's list of URLs, where that was given inline: it goes with the dataset."""
    return f"up_{dataset_id.removeprefix('ds_')}"


def create(connection: Connection, *, tenant_id: str, upload_id: str | None = None) -> Row[Any]:
    values = {"id": upload_id or new_id("up"), "tenant_id": tenant_id, "created_at": now()}
    return connection.execute(insert(upload).values(values).returning(*upload.c)).one()


def get(connection: Connection, tenant_id: str, upload_id: str) -> Row[Any] | None:
    query = select(upload).where(upload.c.id == upload_id, upload.c.tenant_id == tenant_id)
    return connection.execute(query).one_or_none()


def complete(connection: Connection, upload_id: str, *, size_bytes: int, sha256: str) -> bool:
    """Seal it; False where it was sealed before."""
    statement = (
        update(upload)
        .where(upload.c.id == upload_id, upload.c.completed_at.is_(None))
        .values(bytes=size_bytes, sha256=sha256, completed_at=now())
    )
    return connection.execute(statement).rowcount == 1


def remove(connection: Connection, tenant_id: str, upload_id: str) -> bool:
    """Delete it; False where a dataset reads it, or where there is none."""
    named = (table["upload_id"].as_string() == upload_id for table in (dataset.c.source, dataset.c.labels))
    readers = select(dataset.c.id).where(or_(*named))
    statement = delete(upload).where(upload.c.id == upload_id, upload.c.tenant_id == tenant_id, ~readers.exists())
    return connection.execute(statement).rowcount == 1


def remove_abandoned(connection: Connection, *, older_than_s: float) -> list[str]:
    """Delete what was opened long ago and never sealed; their ids."""
    statement = delete(upload).where(upload.c.completed_at.is_(None), upload.c.created_at < now() - older_than_s)
    return list(connection.execute(statement.returning(upload.c.id)).scalars())


def known(connection: Connection) -> set[str]:
    return set(connection.execute(select(upload.c.id)).scalars())


def stored_bytes(connection: Connection, tenant_id: str) -> int:
    query = select(func.coalesce(func.sum(upload.c.bytes), 0)).where(upload.c.tenant_id == tenant_id)
    return int(connection.execute(query).scalar_one())
