"""The upload table: bytes a caller sent, counted against its tenant, later read by a dataset."""

from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from winnow.store.db import now
from winnow.store.ids import new_id
from winnow.store.tables import upload


def create(connection: Connection, *, tenant_id: str) -> Row[Any]:
    values = {"id": new_id("up"), "tenant_id": tenant_id, "created_at": now()}
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


def stored_bytes(connection: Connection, tenant_id: str) -> int:
    query = select(func.coalesce(func.sum(upload.c.bytes), 0)).where(upload.c.tenant_id == tenant_id)
    return int(connection.execute(query).scalar_one())
