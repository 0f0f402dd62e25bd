"""The schema as SQLAlchemy tables, one for both databases; the migrations make it, a test compares the two.

Times are seconds since 1970 by the database's clock, as double precision: the same arithmetic on PostgreSQL and SQLite.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()

Json = JSON().with_variant(JSONB(), "postgresql")
Big = BigInteger().with_variant(Integer(), "sqlite")  # SQLite's rowid alias must be spelled INTEGER

tenant = Table(
    "tenant",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("max_running", Integer, nullable=False),
    Column("max_queued", Integer, nullable=False),
    Column("max_bytes", Big, nullable=False),
    Column("max_items", Big, nullable=False),
)

api_key = Table(
    "api_key",
    metadata,
    Column("prefix", String, primary_key=True),
    Column("tenant_id", ForeignKey("tenant.id"), nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("scopes", Json, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("last_used_at", Double),
    Column("expires_at", Double),
    Column("revoked_at", Double),
)

upload = Table(
    "upload",
    metadata,
    Column("id", String, primary_key=True),
    Column("tenant_id", ForeignKey("tenant.id"), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("bytes", Big),
    Column("sha256", String),
    Column("completed_at", Double),
)

dataset = Table(
    "dataset",
    metadata,
    Column("id", String, primary_key=True),
    Column("tenant_id", ForeignKey("tenant.id"), nullable=False),
    Column("name", String, nullable=False),
    Column("source", Json, nullable=False),
    Column("labels", Json),
    Column("state", String, nullable=False),
    Column("error", Json),
    Column("counts", Json),
    Column("fingerprint", String),
    Column("snapshot", String),
    Column("created_at", Double, nullable=False),
    Column("listed_at", Double),
)

job = Table(
    "job",
    metadata,
    Column("id", String, primary_key=True),
    Column("tenant_id", ForeignKey("tenant.id"), nullable=False),
    Column("kind", String, nullable=False),
    Column("queue", String, nullable=False),
    Column("dataset_id", ForeignKey("dataset.id"), nullable=False),
    Column("spec", Json, nullable=False),
    Column("state", String, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("run_after", Double, nullable=False),
    Column("run_limit_s", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("crashes", Integer, nullable=False),
    Column("lost", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("releases", Integer, nullable=False),
    Column("lease_owner", String),
    Column("lease_until", Double),
    Column("rung_at", Double),
    Column("cancel_requested_at", Double),
    Column("stage", String),
    Column("progress", Json),
    Column("error_code", String),
    Column("error", Json),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
)

job_event = Table(
    "job_event",
    metadata,
    Column("seq", Big, primary_key=True, autoincrement=True),
    Column("job_id", ForeignKey("job.id", ondelete="CASCADE"), nullable=False),
    Column("at", Double, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("event", String, nullable=False),
    Column("note", Json),
)

job_result = Table(
    "job_result",
    metadata,
    Column("job_id", ForeignKey("job.id", ondelete="CASCADE"), primary_key=True),
    Column("attempt", Integer, nullable=False),
    Column("counts", Json, nullable=False),
    Column("digests", Json, nullable=False),
    Column("files", Json, nullable=False),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("tenant_id", ForeignKey("tenant.id"), nullable=False),
    Column("key", String, nullable=False),
    Column("request_sha256", String, nullable=False),
    Column("status", Integer, nullable=False),
    Column("body", Json, nullable=False),
    Column("created_at", Double, nullable=False),
    UniqueConstraint("tenant_id", "key", name="idempotency_once"),
)
