"""What the WebUI of a server can do.

Revision ID: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("servers", sa.Column("capabilities_json", sa.Text(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("servers") as servers:  # SQLite before 3.35 cannot drop a column
        servers.drop_column("capabilities_json")
