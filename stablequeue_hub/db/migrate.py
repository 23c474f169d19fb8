"""The schema, brought up to date (or back) by Alembic; a copy of the data is made before each step."""

from __future__ import annotations

from stablequeue_hub.db.engine import Store


def migrate(store: Store, *, backup_confirmed: bool = False) -> None:
    """Bring the schema to the newest revision. Nothing happens when it is there already.

    Before each step the data is copied (SQLite: ``hub.sqlite.backup-<revision>``; PostgreSQL: pg_dump, or
    refused until ``backup_confirmed``). Raises NewerDataError when the data is newer than this program,
    AlreadyRunningError when another process holds the store and steps are due.
    """
    raise NotImplementedError


def downgrade(store: Store, revision: str, *, backup_confirmed: bool = False) -> None:
    """Take the schema back to ``revision`` (``base``: nothing is left)."""
    raise NotImplementedError
