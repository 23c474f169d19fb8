"""Jobs that wait.

Revision ID: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "job_payloads",
        sa.Column("id", _ROW_ID, autoincrement=True, nullable=False),
        sa.Column("payload_json", sa.Text(), nullable=False),
        sa.Column("source_server_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_job_payloads"),
    )
    op.create_table(
        "job_requirements",
        sa.Column("payload_id", _ROW_ID, nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["payload_id"],
            ["job_payloads.id"],
            name="fk_job_requirements_payload_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("payload_id", "place", name="pk_job_requirements"),
    )
    op.create_table(
        "jobs",
        sa.Column("seq", _ROW_ID, autoincrement=True, nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False, server_default=""),
        sa.Column("priority", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("submitted_by", sa.Text(), nullable=False),
        sa.Column("payload_id", _ROW_ID, nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("targets_json", sa.Text(), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_ms", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "state IN ('pending', 'processing', 'completed', 'failed', 'cancelled')", name="ck_jobs_state"
        ),
        sa.ForeignKeyConstraint(["payload_id"], ["job_payloads.id"], name="fk_jobs_payload_id"),
        sa.PrimaryKeyConstraint("seq", name="pk_jobs"),
        sa.UniqueConstraint("job_id", name="uq_jobs_job_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_jobs_state", "jobs", ["state", "priority", "seq"])
    op.create_index("ix_jobs_payload_id", "jobs", ["payload_id"])
    op.create_index("ix_jobs_batch_id", "jobs", ["batch_id"])
    op.create_table(
        "job_submissions",
        sa.Column("submitter", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("body_digest", sa.Text(), nullable=False),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("submitter", "idempotency_key", name="pk_job_submissions"),
    )
    op.add_column("events", sa.Column("job_id", sa.Text(), nullable=True))
    op.create_index("ix_events_job_id", "events", ["job_id", "id"])


def downgrade() -> None:
    op.drop_index("ix_events_job_id", "events")
    with op.batch_alter_table("events") as events:  # SQLite before 3.35 cannot drop a column
        events.drop_column("job_id")
    for table in ("job_submissions", "jobs", "job_requirements", "job_payloads"):
        op.drop_table(table)
