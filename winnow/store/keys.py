"""Tenants and API keys: a key is `wn_<prefix>_<secret>`; the database keeps a hash of the secret and nothing else."""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, insert, or_, select, update

from winnow.errors import InvalidRequest, NotFound, Unauthenticated
from winnow.store.db import now
from winnow.store.ids import new_id
from winnow.store.tables import api_key, tenant

SCOPES: Final = ("read", "write", "admin")
LIMITS: Final = ("max_running", "max_queued", "max_bytes", "max_items")
LOCAL_TENANT: Final = "local"  # who you are on loopback without a key
_KEY: Final = re.compile(r"^wn_([0-9a-f]{12})_([A-Za-z0-9_-]{43})$", re.ASCII)
_ALL_SLOTS: Final = 1024
_NO_HASH: Final = b"\0" * 32


@dataclass(frozen=True)
class Caller:
    """Who asks, what it may do, and how much."""

    tenant_id: str
    tenant_name: str
    scopes: frozenset[str]
    max_queued: int
    max_bytes: int


def ensure_tenant(connection: Connection, name: str, *, max_running: int = 2) -> Row[Any]:
    """The tenant of this name, made with default quotas where there is none."""
    found = connection.execute(select(tenant).where(tenant.c.name == name)).one_or_none()
    if found is not None:
        return found
    values = {
        "id": new_id("ten"),
        "name": name,
        "max_running": max_running,
        "max_queued": 100,
        "max_bytes": 100 << 30,
        "max_items": 20_000_000,
    }
    return connection.execute(insert(tenant).values(values).returning(*tenant.c)).one()


def set_quota(connection: Connection, name: str, **limits: int) -> dict[str, int]:
    """Change these limits of a tenant; all of them, as they stand then."""
    where = tenant.c.name == name
    if limits:
        connection.execute(update(tenant).where(where).values(**limits))
    row = connection.execute(select(*(tenant.c[limit] for limit in LIMITS)).where(where)).one_or_none()
    if row is None:
        raise NotFound(f"no tenant is called {name!r}")
    return dict(row._mapping)


def name_and_max_items(connection: Connection, tenant_id: str) -> tuple[str, int]:
    """What a tenant is called, and how many items a dataset of it may hold."""
    row = connection.execute(select(tenant.c.name, tenant.c.max_items).where(tenant.c.id == tenant_id)).one()
    return row.name, row.max_items


def local_caller(connection: Connection) -> Caller:
    """Whoever sits at the machine: bounded by its slots, not by a share of them."""
    return _caller(ensure_tenant(connection, LOCAL_TENANT, max_running=_ALL_SLOTS), frozenset(SCOPES))


def create(
    connection: Connection, tenant_name: str, scopes: list[str], expires_at: float | None = None
) -> tuple[str, str]:
    """A new key: its public prefix, and the whole text, which is shown this once."""
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        raise InvalidRequest(f"scopes are one or more of {', '.join(SCOPES)}; not {', '.join(unknown) or 'nothing'}")
    prefix, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    values = {
        "prefix": prefix,
        "tenant_id": ensure_tenant(connection, tenant_name).id,
        "hash": _hash(secret),
        "scopes": sorted(set(scopes)),
        "created_at": now(),
        "expires_at": expires_at,
    }
    connection.execute(insert(api_key).values(values))
    return prefix, f"wn_{prefix}_{secret}"


def page(connection: Connection) -> list[Row[Any]]:
    query = select(api_key, tenant.c.name.label("tenant_name")).join(tenant)
    return list(connection.execute(query.order_by(api_key.c.created_at)))


def any_usable(connection: Connection) -> bool:
    return connection.execute(select(api_key.c.prefix).where(*_usable()).limit(1)).first() is not None


def revoke(connection: Connection, prefix: str) -> None:
    statement = update(api_key).where(api_key.c.prefix == prefix, api_key.c.revoked_at.is_(None))
    if connection.execute(statement.values(revoked_at=now())).rowcount == 0:
        raise NotFound(f"no live key begins with {prefix}")


def rotate(connection: Connection, prefix: str, grace_s: float = 0.0) -> tuple[str, str]:
    """A successor with the same rights; the old key ends after `grace_s` seconds."""
    query = select(api_key, tenant.c.name.label("tenant_name")).join(tenant).where(api_key.c.prefix == prefix)
    old = connection.execute(query.where(api_key.c.revoked_at.is_(None))).one_or_none()
    if old is None:
        raise NotFound(f"no live key begins with {prefix}")
    successor = create(connection, old.tenant_name, old.scopes, old.expires_at)
    ends = {"expires_at": now() + grace_s} if grace_s > 0 else {"revoked_at": now()}
    connection.execute(update(api_key).where(api_key.c.prefix == prefix).values(ends))
    return successor


def authenticate(connection: Connection, key: str) -> Caller:
    """Who holds this key. Every refusal says the same, and a wrong prefix costs the same hash as a wrong secret."""
    match = _KEY.match(key)
    prefix, secret = match.groups() if match else ("", key)
    query = select(api_key.c.hash, api_key.c.scopes, *tenant.c).join(tenant)
    row = connection.execute(query.where(api_key.c.prefix == prefix, *_usable())).one_or_none()
    known = row.hash if row is not None else _NO_HASH
    if not hmac.compare_digest(_hash(secret), known) or row is None:
        raise Unauthenticated("give a valid API key as 'Authorization: Bearer wn_...'")
    return _caller(row, frozenset(row.scopes))


def touch(connection: Connection, key: str) -> None:
    """Note the use of a key, once a minute at most, so that reading costs no write."""
    match = _KEY.match(key)
    stale = or_(api_key.c.last_used_at.is_(None), api_key.c.last_used_at < now() - 60.0)
    if match:
        connection.execute(update(api_key).where(api_key.c.prefix == match[1], stale).values(last_used_at=now()))


def _usable() -> tuple[Any, ...]:
    return (
        api_key.c.revoked_at.is_(None),
        or_(api_key.c.expires_at.is_(None), api_key.c.expires_at > now()),
    )


def _hash(secret: str) -> bytes:
    """Plain sha256 is enough for 256 random bits: there is nothing to guess."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _caller(row: Row[Any], scopes: frozenset[str]) -> Caller:
    return Caller(row.id, row.name, scopes, row.max_queued, row.max_bytes)
