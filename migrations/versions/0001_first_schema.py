"""First schema: tenants, keys, uploads, datasets, jobs with their guards, events, results, idempotency."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

json = sa.JSON().with_variant(JSONB(), "postgresql")
big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

STATES = "('queued','running','succeeded','failed','cancelled')"
FINAL = "('succeeded','failed','cancelled')"
LEGAL = (
    "'queued>running','queued>cancelled','queued>failed',"
    "'running>queued','running>succeeded','running>failed','running>cancelled'"
)


def upgrade() -> None:
    op.create_table(
        "tenant",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("name", sa.String, nullable=False, unique=True),
        sa.Column("max_running", sa.Integer, nullable=False),
        sa.Column("max_queued", sa.Integer, nullable=False),
        sa.Column("max_bytes", big, nullable=False),
        sa.Column("max_items", big, nullable=False),
    )
    op.create_table(
        "api_key",
        sa.Column("prefix", sa.String, primary_key=True),
        sa.Column("tenant_id", sa.String, sa.ForeignKey("tenant.id"), nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("scopes", json, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("last_used_at", sa.Double),
        sa.Column("expires_at", sa.Double),
        sa.Column("revoked_at", sa.Double),
    )
    op.create_table(
        "upload",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("tenant_id", sa.String, sa.ForeignKey("tenant.id"), nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("bytes", big),
        sa.Column("sha256", sa.String),
        sa.Column("completed_at", sa.Double),
    )
    op.create_index("upload_tenant", "upload", ["tenant_id"])
    op.create_table(
        "dataset",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("tenant_id", sa.String, sa.ForeignKey("tenant.id"), nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("source", json, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("error", json),
        sa.Column("counts", json),
        sa.Column("fingerprint", sa.String),
        sa.Column("snapshot", sa.String),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("listed_at", sa.Double),
        sa.CheckConstraint("state IN ('pending','ready','failed')", name="dataset_state"),
        sa.CheckConstraint("state <> 'ready' OR snapshot IS NOT NULL", name="dataset_ready_has_snapshot"),
    )
    op.create_index("dataset_tenant", "dataset", ["tenant_id", "created_at", "id"])
    op.create_table(
        "job",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("tenant_id", sa.String, sa.ForeignKey("tenant.id"), nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("queue", sa.String, nullable=False),
        sa.Column("dataset_id", sa.String, sa.ForeignKey("dataset.id"), nullable=False),
        sa.Column("spec", json, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("priority", sa.SmallInteger, nullable=False),
        sa.Column("run_after", sa.Double, nullable=False),
        sa.Column("run_limit_s", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("crashes", sa.Integer, nullable=False),
        sa.Column("lost", sa.Integer, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("releases", sa.Integer, nullable=False),
        sa.Column("lease_owner", sa.String),
        sa.Column("lease_until", sa.Double),
        sa.Column("rung_at", sa.Double),
        sa.Column("cancel_requested_at", sa.Double),
        sa.Column("stage", sa.String),
        sa.Column("progress", json),
        sa.Column("error_code", sa.String),
        sa.Column("error", json),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("started_at", sa.Double),
        sa.Column("finished_at", sa.Double),
        sa.CheckConstraint(f"state IN {STATES}", name="job_state"),
        sa.CheckConstraint("kind IN ('list','filter')", name="job_kind"),
        sa.CheckConstraint(
            "(state = 'running') = (lease_owner IS NOT NULL AND lease_until IS NOT NULL)", name="lease_iff_running"
        ),
        sa.CheckConstraint(f"(state IN {FINAL}) = (finished_at IS NOT NULL)", name="finished_iff_final"),
        sa.CheckConstraint("state <> 'failed' OR error_code IS NOT NULL", name="failed_has_code"),
    )
    queued, running = sa.text("state = 'queued'"), sa.text("state = 'running'")
    op.create_index(
        "job_claim",
        "job",
        ["queue", sa.text("priority DESC"), "run_after", "id"],
        postgresql_where=queued,
        sqlite_where=queued,
    )
    op.create_index("job_lease", "job", ["lease_until"], postgresql_where=running, sqlite_where=running)
    op.create_index("job_running", "job", ["tenant_id"], postgresql_where=running, sqlite_where=running)
    op.create_index("job_queued", "job", ["tenant_id"], postgresql_where=queued, sqlite_where=queued)
    op.create_index("job_tenant", "job", ["tenant_id", "created_at", "id"])
    op.create_index("job_dataset", "job", ["dataset_id"])
    op.create_table(
        "job_event",
        sa.Column("seq", big, primary_key=True, autoincrement=True),
        sa.Column("job_id", sa.String, sa.ForeignKey("job.id", ondelete="CASCADE"), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("event", sa.String, nullable=False),
        sa.Column("note", json),
    )
    op.create_index("job_event_job", "job_event", ["job_id", "seq"])
    op.create_table(
        "job_result",
        sa.Column("job_id", sa.String, sa.ForeignKey("job.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("counts", json, nullable=False),
        sa.Column("digests", json, nullable=False),
        sa.Column("files", json, nullable=False),
    )
    op.create_table(
        "idempotency",
        sa.Column("tenant_id", sa.String, sa.ForeignKey("tenant.id"), nullable=False),
        sa.Column("key", sa.String, nullable=False),
        sa.Column("request_sha256", sa.String, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("body", json, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.UniqueConstraint("tenant_id", "key", name="idempotency_once"),
        sa.CheckConstraint("length(key) BETWEEN 1 AND 255", name="idempotency_key_length"),
    )
    op.create_index("idempotency_age", "idempotency", ["created_at"])
    _guard()


def _guard() -> None:
    """The database itself refuses an illegal history, whoever writes it."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"""
            CREATE FUNCTION job_guard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
              IF OLD.state IN {FINAL} AND ROW(NEW.state, NEW.attempt, NEW.error_code, NEW.finished_at, NEW.spec)
                 IS DISTINCT FROM ROW(OLD.state, OLD.attempt, OLD.error_code, OLD.finished_at, OLD.spec) THEN
                RAISE EXCEPTION 'job % is final', OLD.id USING ERRCODE = 'check_violation';
              END IF;
              IF NEW.state <> OLD.state AND (OLD.state || '>' || NEW.state) NOT IN ({LEGAL}) THEN
                RAISE EXCEPTION 'illegal transition % > %', OLD.state, NEW.state USING ERRCODE = 'check_violation';
              END IF;
              IF NEW.attempt <> OLD.attempt
                 + (CASE WHEN OLD.state = 'queued' AND NEW.state = 'running' THEN 1 ELSE 0 END) THEN
                RAISE EXCEPTION 'attempt rises by one at a claim only' USING ERRCODE = 'check_violation';
              END IF;
              RETURN NEW; END $$""")
        op.execute("CREATE TRIGGER job_guard BEFORE UPDATE ON job FOR EACH ROW EXECUTE FUNCTION job_guard()")
        return
    op.execute(f"""
        CREATE TRIGGER job_guard_final BEFORE UPDATE ON job
        WHEN OLD.state IN {FINAL} AND (NEW.state IS NOT OLD.state OR NEW.attempt IS NOT OLD.attempt
          OR NEW.error_code IS NOT OLD.error_code OR NEW.finished_at IS NOT OLD.finished_at OR NEW.spec IS NOT OLD.spec)
        BEGIN SELECT RAISE(ABORT, 'job is final'); END""")
    op.execute(f"""
        CREATE TRIGGER job_guard_transition BEFORE UPDATE ON job
        WHEN NEW.state <> OLD.state AND (OLD.state || '>' || NEW.state) NOT IN ({LEGAL})
        BEGIN SELECT RAISE(ABORT, 'illegal transition'); END""")
    op.execute("""
        CREATE TRIGGER job_guard_attempt BEFORE UPDATE ON job
        WHEN NEW.attempt <> OLD.attempt + (CASE WHEN OLD.state = 'queued' AND NEW.state = 'running' THEN 1 ELSE 0 END)
        BEGIN SELECT RAISE(ABORT, 'attempt rises by one at a claim only'); END""")


def downgrade() -> None:
    for table in (
        "idempotency",
        "job_result",
        "job_event",
        "job",
        "dataset",
        "upload",
        "api_key",
        "tenant",
    ):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION job_guard()")
