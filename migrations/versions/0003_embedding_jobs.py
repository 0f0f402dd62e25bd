"""Jobs of a third kind: `embed`."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

BEFORE = "kind IN ('list','filter')"
AFTER = "kind IN ('list','filter','embed')"


def upgrade() -> None:
    _replace(BEFORE, AFTER)


def downgrade() -> None:
    op.execute("DELETE FROM job_event WHERE job_id IN (SELECT id FROM job WHERE kind = 'embed')")
    op.execute("DELETE FROM job_result WHERE job_id IN (SELECT id FROM job WHERE kind = 'embed')")
    op.execute("DELETE FROM job WHERE kind = 'embed'")
    _replace(AFTER, BEFORE)


def _replace(old: str, new: str) -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint("job_kind", "job")
        op.create_check_constraint("job_kind", "job", new)
        return
    # SQLite has no statement for this; its manual (lang_altertable, section 7) says to rewrite the schema's text where
    # no stored byte changes. A new table would lose the triggers.
    connection = op.get_bind()
    version = connection.execute(sa.text("PRAGMA schema_version")).scalar_one()
    connection.execute(sa.text("PRAGMA writable_schema = ON"))
    connection.execute(
        sa.text("UPDATE sqlite_schema SET sql = replace(sql, :old, :new) WHERE type = 'table' AND name = 'job'"),
        {"old": old, "new": new},
    )
    connection.execute(sa.text(f"PRAGMA schema_version = {version + 1}"))
    connection.execute(sa.text("PRAGMA writable_schema = OFF"))
