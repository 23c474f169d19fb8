"""Models that no server has any more.

Revision ID: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("models", sa.Column("gone_ms", sa.BigInteger(), nullable=True))
    # What forgotten servers had left no row behind: of that only the time is unknown.
    op.execute(
        """
        UPDATE models SET gone_ms = COALESCE(
            (SELECT max(since_ms) FROM model_server_availability AS was WHERE was.model_id = models.id),
            created_ms)
        WHERE source = 'sync' AND NOT EXISTS (
            SELECT 1 FROM model_server_availability AS held
            WHERE held.model_id = models.id AND held.availability <> 'unavailable')
        """
    )
    for name, condition in (("present", "gone_ms IS NULL"), ("gone", "gone_ms IS NOT NULL")):
        op.create_index(
            f"ix_models_{name}",
            "models",
            ["search_key", "id", "gone_ms"],
            sqlite_where=sa.text(condition),
            postgresql_where=sa.text(condition),
        )


def downgrade() -> None:
    for name in ("present", "gone"):
        op.drop_index(f"ix_models_{name}", "models")
    with op.batch_alter_table("models") as models:  # SQLite before 3.35 cannot drop a column
        models.drop_column("gone_ms")
