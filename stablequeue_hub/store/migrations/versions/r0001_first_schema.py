"""The first schema.

Revision ID: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _create_events()
    _create_hub_facts()
    _create_models()
    _create_page_sessions()
    _create_servers()
    _create_keys()
    _create_model_aliases()
    _create_model_server_availability()
    _create_orders()
    _create_replaced_indexes()
    _create_retired_boots()
    _create_server_files()
    _create_server_roots()


def downgrade() -> None:
    for table in (
        "server_roots",
        "server_files",
        "retired_boots",
        "replaced_indexes",
        "orders",
        "model_server_availability",
        "model_aliases",
        "keys",
        "servers",
        "page_sessions",
        "models",
        "hub_facts",
        "events",
    ):
        op.drop_table(table)


def _create_events() -> None:
    op.create_table(
        "events",
        sa.Column("id", _ROW_ID, autoincrement=True, nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("server_id", sa.Text(), nullable=True),
        sa.Column("model_id", _ROW_ID, nullable=True),
        sa.Column("details_json", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    op.create_index("ix_events_model_id", "events", ["model_id", "id"])
    op.create_index("ix_events_server_id", "events", ["server_id", "id"])


def _create_hub_facts() -> None:
    op.create_table(
        "hub_facts",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_hub_facts")),
    )


def _create_models() -> None:
    op.create_table(
        "models",
        sa.Column("id", _ROW_ID, autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("hash_autov2", sa.Text(), nullable=True),
        sa.Column("hash_sha256", sa.Text(), nullable=True),
        sa.Column("hash_blake3", sa.Text(), nullable=True),
        sa.Column("hash_autov1", sa.Text(), nullable=True),
        sa.Column("hash_autov3", sa.Text(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("base_model", sa.Text(), nullable=True),
        sa.Column("civitai_id", sa.Text(), nullable=True),
        sa.Column("civitai_version_id", sa.Text(), nullable=True),
        sa.Column("metadata_json", sa.Text(), nullable=True),
        sa.Column("search_key", _KEY, nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "type IN ('checkpoint', 'lora', 'vae', 'text_encoder', 'embedding')", name=op.f("ck_models_type")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_models")),
        sa.UniqueConstraint("hash_sha256", name=op.f("uq_models_hash_sha256")),
    )
    op.create_index("ix_models_hash_autov1", "models", ["hash_autov1"])
    op.create_index("ix_models_hash_autov2", "models", ["hash_autov2"])
    op.create_index("ix_models_hash_autov3", "models", ["hash_autov3"])
    op.create_index("ix_models_hash_blake3", "models", ["hash_blake3"])
    op.create_index(
        "ix_models_no_metadata",
        "models",
        ["id"],
        sqlite_where=sa.text("metadata_json IS NULL"),
        postgresql_where=sa.text("metadata_json IS NULL"),
    )
    op.create_index("ix_models_search_key", "models", ["search_key", "id"])
    op.create_index("ix_models_type", "models", ["type", "search_key", "id"])


def _create_page_sessions() -> None:
    op.create_table(
        "page_sessions",
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_page_sessions")),
    )


def _create_servers() -> None:
    op.create_table(
        "servers",
        sa.Column("server_id", sa.Text(), nullable=False),
        sa.Column("alias", sa.Text(), nullable=False),
        sa.Column("alias_key", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), server_default="", nullable=False),
        sa.Column("joined_ms", sa.BigInteger(), nullable=False),
        sa.Column("last_contact_ms", sa.BigInteger(), nullable=True),
        sa.Column("index_id", sa.Text(), nullable=True),
        sa.Column("sequence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column(
            "digest",
            sa.Text(),
            server_default="0000000000000000000000000000000000000000000000000000000000000000",
            nullable=False,
        ),
        sa.Column("last_sync_ms", sa.BigInteger(), nullable=True),
        sa.Column("boot_id", sa.Text(), nullable=True),
        sa.Column("boot_counter", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("frozen", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("server_id", name=op.f("pk_servers")),
        sa.UniqueConstraint("alias_key", name=op.f("uq_servers_alias_key")),
    )


def _create_keys() -> None:
    op.create_table(
        "keys",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("secret_hash", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("server_id", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=True),
        sa.Column("last_used_ms", sa.BigInteger(), nullable=True),
        sa.Column("revoked_ms", sa.BigInteger(), nullable=True),
        sa.Column("single_server", sa.Integer(), server_default="0", nullable=False),
        sa.Column("used_by", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "scope IN ('admin', 'jobs', 'view', 'join', 'server')", name=op.f("ck_keys_scope")
        ),
        sa.ForeignKeyConstraint(
            ["server_id"], ["servers.server_id"], name=op.f("fk_keys_server_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_keys")),
    )


def _create_model_aliases() -> None:
    op.create_table(
        "model_aliases",
        sa.Column("id", _ROW_ID, autoincrement=True, nullable=False),
        sa.Column("model_id", _ROW_ID, nullable=False),
        sa.Column("alias_path", sa.Text(), nullable=False),
        sa.Column("alias_key", _KEY, nullable=False),
        sa.Column("stem_key", _KEY, nullable=False),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name=op.f("fk_model_aliases_model_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_aliases")),
        sa.UniqueConstraint("model_id", "alias_path", name=op.f("uq_model_aliases_model_id")),
    )
    op.create_index("ix_model_aliases_alias_key", "model_aliases", ["alias_key"])
    op.create_index("ix_model_aliases_stem_key", "model_aliases", ["stem_key"])


def _create_model_server_availability() -> None:
    op.create_table(
        "model_server_availability",
        sa.Column("id", _ROW_ID, autoincrement=True, nullable=False),
        sa.Column("model_id", _ROW_ID, nullable=False),
        sa.Column("server_id", sa.Text(), nullable=False),
        sa.Column("availability", sa.Text(), nullable=False),
        sa.Column("last_seen", sa.BigInteger(), nullable=False),
        sa.Column("since_ms", sa.BigInteger(), nullable=False),
        sa.Column("files", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "availability IN ('available', 'unhashed', 'unavailable')",
            name=op.f("ck_model_server_availability_availability"),
        ),
        sa.ForeignKeyConstraint(
            ["model_id"],
            ["models.id"],
            name=op.f("fk_model_server_availability_model_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["server_id"],
            ["servers.server_id"],
            name=op.f("fk_model_server_availability_server_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_server_availability")),
        sa.UniqueConstraint("model_id", "server_id", name=op.f("uq_model_server_availability_model_id")),
    )
    op.create_index("ix_msa_availability", "model_server_availability", ["availability", "model_id"])
    op.create_index(
        "ix_msa_cells",
        "model_server_availability",
        ["model_id", "server_id", "availability", "files", "last_seen"],
    )
    op.create_index("ix_msa_server_id", "model_server_availability", ["server_id", "availability"])


def _create_orders() -> None:
    op.create_table(
        "orders",
        sa.Column("id", _ROW_ID, autoincrement=True, nullable=False),
        sa.Column("server_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("arguments_json", sa.Text(), server_default="{}", nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["server_id"], ["servers.server_id"], name=op.f("fk_orders_server_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_orders")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_orders_server_id", "orders", ["server_id", "id"])


def _create_replaced_indexes() -> None:
    op.create_table(
        "replaced_indexes",
        sa.Column("server_id", sa.Text(), nullable=False),
        sa.Column("index_id", sa.Text(), nullable=False),
        sa.Column("replaced_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["server_id"],
            ["servers.server_id"],
            name=op.f("fk_replaced_indexes_server_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("server_id", "index_id", name=op.f("pk_replaced_indexes")),
    )


def _create_retired_boots() -> None:
    op.create_table(
        "retired_boots",
        sa.Column("server_id", sa.Text(), nullable=False),
        sa.Column("boot_id", sa.Text(), nullable=False),
        sa.Column("boot_counter", sa.BigInteger(), nullable=False),
        sa.Column("heard_again", sa.Integer(), server_default="0", nullable=False),
        sa.Column("retired_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["server_id"], ["servers.server_id"], name=op.f("fk_retired_boots_server_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("server_id", "boot_id", name=op.f("pk_retired_boots")),
    )


def _create_server_files() -> None:
    op.create_table(
        "server_files",
        sa.Column("server_id", sa.Text(), nullable=False),
        sa.Column("root_id", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_key", _KEY, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("blake3", sa.Text(), nullable=True),
        sa.Column("autov1", sa.Text(), nullable=True),
        sa.Column("autov3", sa.Text(), nullable=True),
        sa.Column("claims_json", sa.Text(), nullable=True),
        sa.Column("link", sa.Integer(), server_default="0", nullable=False),
        sa.Column("claim", sa.Text(), nullable=True),
        sa.Column("kind_differs", sa.Integer(), server_default="0", nullable=False),
        sa.Column("rejected", sa.Text(), nullable=True),
        sa.Column("row_digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("model_id", _ROW_ID, nullable=True),
        sa.Column("claimed_model_id", _ROW_ID, nullable=True),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["claimed_model_id"],
            ["models.id"],
            name=op.f("fk_server_files_claimed_model_id"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name=op.f("fk_server_files_model_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["server_id"], ["servers.server_id"], name=op.f("fk_server_files_server_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("server_id", "root_id", "path", name=op.f("pk_server_files")),
    )
    op.create_index(
        "ix_server_files_claim",
        "server_files",
        ["claim"],
        sqlite_where=sa.text("claim IS NOT NULL"),
        postgresql_where=sa.text("claim IS NOT NULL"),
    )
    op.create_index("ix_server_files_claimed_model_id", "server_files", ["claimed_model_id", "server_id"])
    op.create_index(
        "ix_server_files_contradicted",
        "server_files",
        ["model_id"],
        sqlite_where=sa.text("model_id IS NOT NULL AND claims_json IS NOT NULL"),
        postgresql_where=sa.text("model_id IS NOT NULL AND claims_json IS NOT NULL"),
    )
    op.create_index(
        "ix_server_files_kind_differs",
        "server_files",
        ["kind", "model_id"],
        sqlite_where=sa.text("kind_differs = 1"),
        postgresql_where=sa.text("kind_differs = 1"),
    )
    op.create_index("ix_server_files_model_id", "server_files", ["model_id", "server_id"])
    op.create_index(
        "ix_server_files_unidentified",
        "server_files",
        ["name_key"],
        sqlite_where=sa.text("model_id IS NULL"),
        postgresql_where=sa.text("model_id IS NULL"),
    )


def _create_server_roots() -> None:
    op.create_table(
        "server_roots",
        sa.Column("server_id", sa.Text(), nullable=False),
        sa.Column("root_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("health", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("rejected", sa.Text(), nullable=True),
        sa.Column("row_digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("since_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["server_id"], ["servers.server_id"], name=op.f("fk_server_roots_server_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("server_id", "root_id", name=op.f("pk_server_roots")),
    )
    # ### end Alembic commands ###
