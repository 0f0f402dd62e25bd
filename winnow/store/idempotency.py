"""The idempotency table: the first answer to a key, replayed for as long as it is kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.postgresql import insert as insert_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_sqlite

from winnow.errors import IdempotencyKeyReused
from winnow.store.db import is_postgres, now
from winnow.store.tables import idempotency

KEPT_S: Final = 48 * 3600.0


@dataclass(frozen=True)
class Answer:
    """What was said the first time."""

    status: int
    body: dict[str, Any]


def find(connection: Connection, tenant_id: str, key: str, request_sha256: str) -> Answer | None:
    """The first answer, if there was one; raises where the key came with another request."""
    query = select(idempotency).where(idempotency.c.tenant_id == tenant_id, idempotency.c.key == key)
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    if row.request_sha256 != request_sha256:
        raise IdempotencyKeyReused("this Idempotency-Key belongs to another request; use a new key for a new request")
    return Answer(row.status, row.body)


def remember(
    connection: Connection, tenant_id: str, key: str, request_sha256: str, status: int, body: Mapping[str, Any]
) -> bool:
    """Keep the answer; False where a twin request was faster (PostgreSQL waits for it to commit first)."""
    make_insert = insert_postgresql if is_postgres(connection.dialect) else insert_sqlite
    statement = make_insert(idempotency).values(
        tenant_id=tenant_id, key=key, request_sha256=request_sha256, status=status, body=dict(body), created_at=now()
    )
    kept = connection.execute(statement.on_conflict_do_nothing().returning(idempotency.c.key))
    return kept.one_or_none() is not None


def forget_old(connection: Connection) -> int:
    return connection.execute(delete(idempotency).where(idempotency.c.created_at < now() - KEPT_S)).rowcount
