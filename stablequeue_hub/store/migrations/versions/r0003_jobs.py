"""Jobs that wait.

Revision ID: 0003
"""

import json

import sqlalchemy as sa
from alembic import op

from stablequeue_client.shared.model_files.model_file import search_key

revision = "0003"
down_revision = "0002"

_KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "job_payloads",
        sa.Column("id", _ROW_ID, autoincrement=True, nullable=False),
        sa.Column("source_server_id", sa.Text(), nullable=True),
        sa.Column("needs_json", sa.Text(), nullable=False, server_default="[]"),
        sa.Column("prompt", sa.Text(), nullable=False, server_default=""),
        sa.Column("brief_json", sa.Text(), nullable=True),
        sa.Column("payload_json", sa.Text(), nullable=False),
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
        sa.Column("decision", sa.Text(), nullable=True),
        sa.Column("decision_server_id", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["payload_id"],
            ["job_payloads.id"],
            name="fk_job_requirements_payload_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("payload_id", "place", name="pk_job_requirements"),
    )
    op.create_index("ix_job_requirements_status", "job_requirements", ["status"])
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
        sa.Column("deadline_ms", sa.BigInteger(), nullable=True),
        sa.Column("server_id", sa.Text(), nullable=True),
        sa.Column("fence", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("refusals", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("starred", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("failure_text", sa.Text(), nullable=True),
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
    processing = sa.text("state = 'processing'")
    op.create_index(
        "uq_jobs_server_id",
        "jobs",
        ["server_id"],
        unique=True,
        sqlite_where=processing,
        postgresql_where=processing,
    )
    op.create_table(
        "job_exclusions",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("server_id", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False, server_default=""),
        sa.Column("sequence", sa.BigInteger(), nullable=True),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.job_id"], name="fk_job_exclusions_job_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "server_id", name="pk_job_exclusions"),
    )
    op.create_table(
        "job_runs",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("server_id", sa.Text(), nullable=False),
        sa.Column("runner_id", sa.Text(), nullable=False, server_default=""),
        sa.Column("started_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_ms", sa.BigInteger(), nullable=True),
        sa.Column("ended", sa.Text(), nullable=True),
        sa.Column("text", sa.Text(), nullable=False, server_default=""),
        sa.Column("models_json", sa.Text(), nullable=False, server_default="[]"),
        sa.Column("renamed_json", sa.Text(), nullable=False, server_default="[]"),
        sa.Column("loaded_json", sa.Text(), nullable=False, server_default="[]"),
        sa.Column("verdicts_json", sa.Text(), nullable=False, server_default="[]"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.job_id"], name="fk_job_runs_job_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "fence", name="pk_job_runs"),
    )
    op.create_table(
        "job_pictures",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("infotext", sa.Text(), nullable=False, server_default=""),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.job_id"], name="fk_job_pictures_job_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "number", name="pk_job_pictures"),
    )
    op.create_table(
        "legacy_jobs",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("app_type", sa.Text(), nullable=False),
        sa.Column("source_info", sa.Text(), nullable=False),
        sa.Column("hash_source", sa.Text(), nullable=False),
        sa.Column("infotext", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.job_id"], name="fk_legacy_jobs_job_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", name="pk_legacy_jobs"),
    )
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
    op.add_column("servers", sa.Column("jobs_paused", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("servers", sa.Column("api_url", sa.Text(), nullable=True))
    _add_output_names()


def _add_output_names() -> None:
    """LoRAs are found by the name in their header too, also by headers that are known already."""
    op.add_column("models", sa.Column("output_key", _KEY, nullable=True))
    named = sa.text("output_key IS NOT NULL")
    op.create_index(
        "ix_models_output_key", "models", ["output_key"], sqlite_where=named, postgresql_where=named
    )
    connection = op.get_bind()
    known = sa.text("SELECT id, metadata_json FROM models WHERE metadata_json LIKE '%ss_output_name%'")
    for model_id, metadata in connection.execute(known).all():
        name = json.loads(metadata).get("ss_output_name")
        if name:
            connection.execute(
                sa.text("UPDATE models SET output_key = :key WHERE id = :id"),
                {"key": search_key(name), "id": model_id},
            )


def downgrade() -> None:
    op.drop_index("ix_models_output_key", "models")
    with op.batch_alter_table("models") as models:  # SQLite before 3.35 cannot drop a column
        models.drop_column("output_key")
    op.drop_index("ix_events_job_id", "events")
    with op.batch_alter_table("events") as events:
        events.drop_column("job_id")
    with op.batch_alter_table("servers") as servers:
        servers.drop_column("jobs_paused")
        servers.drop_column("api_url")
    for table in (
        "job_pictures",
        "job_runs",
        "job_exclusions",
        "legacy_jobs",
        "job_submissions",
        "jobs",
        "job_requirements",
        "job_payloads",
    ):
        op.drop_table(table)
