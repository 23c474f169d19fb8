"""Whose fault a failed run was: contents that a server cannot load, and the WebUI's traceback.

Revision ID: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "unloadable_models",
        sa.Column(
            "server_id",
            sa.Text(),
            sa.ForeignKey("servers.server_id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("sha256", sa.Text(), primary_key=True),
        sa.Column("text", sa.Text(), nullable=False, server_default=""),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
    )
    op.add_column("job_runs", sa.Column("traceback", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("job_runs", "traceback")
    op.drop_table("unloadable_models")
