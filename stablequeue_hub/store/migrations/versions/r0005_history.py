"""History: when servers were there, and a daily sum of what was made.

Revision ID: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "hub_spans",
        sa.Column("id", ROW_ID, primary_key=True, autoincrement=True),
        sa.Column("from_ms", sa.BigInteger(), nullable=False),
        sa.Column("to_ms", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "presence_spans",
        sa.Column("id", ROW_ID, primary_key=True, autoincrement=True),
        sa.Column(
            "server_id", sa.Text(), sa.ForeignKey("servers.server_id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("from_ms", sa.BigInteger(), nullable=False),
        sa.Column("to_ms", sa.BigInteger()),
        sa.CheckConstraint("state IN ('silent', 'on', 'accepting')", name="ck_presence_spans_state"),
    )
    op.create_index("ix_presence_spans_server_id", "presence_spans", ["server_id", "from_ms"])
    op.create_index(
        "uq_presence_spans_open",
        "presence_spans",
        ["server_id"],
        unique=True,
        sqlite_where=sa.text("to_ms IS NULL"),
        postgresql_where=sa.text("to_ms IS NULL"),
    )
    op.create_table(
        "model_days",
        sa.Column("day", sa.Integer(), primary_key=True),
        sa.Column("server_id", sa.Text(), primary_key=True),
        sa.Column("sha256", sa.Text(), primary_key=True),
        sa.Column("uses", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("unserved", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("wait_ms", sa.BigInteger(), nullable=False, server_default="0"),
    )
    op.create_index("ix_model_days_sha256", "model_days", ["sha256", "day"])
    op.create_table(
        "run_days",
        sa.Column("day", sa.Integer(), primary_key=True),
        sa.Column("server_id", sa.Text(), primary_key=True),
        sa.Column("family", sa.Text(), primary_key=True),
        sa.Column("runs", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("failed", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("wait_ms", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("run_ms", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("measured", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("log_sum", sa.Float(), nullable=False, server_default="0"),
        sa.Column("log_square_sum", sa.Float(), nullable=False, server_default="0"),
    )


def downgrade() -> None:
    for name in ("run_days", "model_days", "presence_spans", "hub_spans"):
        op.drop_table(name)
