"""Models are called as most servers call them, no longer as the first file that was told of.

Revision ID: 0007
"""

from collections import defaultdict

import sqlalchemy as sa
from alembic import op

from stablequeue_client.shared.model_files.model_file import natural_name, search_key

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    connection = op.get_bind()
    names: dict[tuple[int, str], set[tuple[str, str]]] = defaultdict(set)
    rows = connection.execute(
        sa.text(
            "SELECT models.id, models.name, server_files.name, server_files.server_id FROM models"
            " JOIN server_files ON server_files.model_id = models.id AND server_files.kind = models.type"
            " WHERE models.source = 'sync'"
        )
    )
    for model_id, name, called, server_id in rows:
        names[model_id, name].add((called, server_id))
    renamed = [
        {"id": model_id, "name": name, "key": search_key(name)}
        for (model_id, before), used in names.items()
        if (name := natural_name(used)) != before
    ]
    if renamed:
        connection.execute(
            sa.text("UPDATE models SET name = :name, search_key = :key WHERE id = :id"), renamed
        )


def downgrade() -> None:
    """The names are as good as the ones before."""
