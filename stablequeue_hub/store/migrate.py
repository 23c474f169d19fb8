"""The schema, brought up to date (or back) by Alembic; a copy of the data is made before each step.

The revisions lie in ``migrations/versions`` and are plain Alembic scripts, one step each, run in one
transaction. There is no alembic.ini and no env.py: what Alembic needs to know stands here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext, MigrationStep
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from stablequeue_client.shared.errors import AlreadyRunningError, NewerDataError, StoreUnavailableError
from stablequeue_hub.store.backup import back_up
from stablequeue_hub.store.engine import Store
from stablequeue_hub.store.lock import hold_store_lock

_SCRIPTS = Path(__file__).parent / "migrations"
_WAIT_FOR_OTHER_S = 10.0


def current_revision(store: Store) -> str | None:
    """The revision of the data; None for an empty database."""
    with store.read() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def newest_revision() -> str:
    """The revision that this program knows last."""
    return str(_scripts().get_current_head())


def migrate(store: Store, *, backup_confirmed: bool = False) -> None:
    """Bring the schema to the newest revision. Nothing happens when it is there already.

    Before each step the data is copied (SQLite: ``hub.sqlite.backup-<revision>``; PostgreSQL: pg_dump, or
    refused until ``backup_confirmed``); a new database has nothing to copy. Raises NewerDataError when the
    data is newer than this program, AlreadyRunningError when another process holds the store and steps stay
    due.
    """
    if not _steps_due(store):
        return
    with _store_lock(store):
        is_new = current_revision(store) is None
        for revision in _steps_due(store):
            if not is_new:
                back_up(store, current_revision(store), confirmed=backup_confirmed)
            _run(store, revision, upgrade=True)


def downgrade(store: Store, revision: str, *, backup_confirmed: bool = False) -> None:
    """Take the schema back to ``revision`` (``base``: nothing is left). Copies the data first."""
    with _store_lock(store):
        _steps_due(store)
        back_up(store, current_revision(store), confirmed=backup_confirmed)
        _run(store, revision, upgrade=False)


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(_SCRIPTS))


def _steps_due(store: Store) -> list[str]:
    """The revisions between the data and this program, oldest first."""
    current = current_revision(store)
    known = [script.revision for script in reversed(list(_scripts().walk_revisions()))]
    if current is None:
        return known
    if current not in known:
        raise NewerDataError(
            f"The database {store.description} was written by a newer StableQueue (its revision {current})."
        )
    return known[known.index(current) + 1 :]


@contextmanager
def _store_lock(store: Store) -> Iterator[None]:
    """The store lock, unless this process has it. A hub that is just starting may be doing our steps."""
    if store.locked_here:
        yield
        return
    give_up = time.monotonic() + _WAIT_FOR_OTHER_S
    while True:
        try:
            lock = hold_store_lock(store, wait_s=0.5)
            break
        except AlreadyRunningError:
            if not _steps_due(store):
                yield
                return
            if time.monotonic() > give_up:
                raise
    with lock:
        yield


def _run(store: Store, revision: str, *, upgrade: bool) -> None:
    scripts = _scripts()

    def steps(current: Any, _context: MigrationContext) -> list[MigrationStep]:
        plan = scripts._upgrade_revs if upgrade else scripts._downgrade_revs
        return list(plan(revision, current))

    with _schema_transaction(store) as connection:
        options = {"fn": steps, "transactional_ddl": True, "render_as_batch": store.is_sqlite}
        context = MigrationContext.configure(connection, opts=options)
        with Operations.context(context):  # makes ``alembic.op``, which the scripts write to, mean this one
            context.run_migrations()


@contextmanager
def _schema_transaction(store: Store) -> Iterator[Connection]:
    """One writing transaction without enforced foreign keys on SQLite, where rebuilding a table that
    others refer to would else delete their rows; the references are checked before the commit instead."""
    connection = store.dedicated_connection()
    try:
        if store.is_sqlite:
            raw: Any = connection.connection.dbapi_connection
            raw.execute("PRAGMA foreign_keys=OFF").close()
        with connection.begin():
            yield connection
            if store.is_sqlite and connection.exec_driver_sql("PRAGMA foreign_key_check").first():
                raise StoreUnavailableError(
                    f"The new schema of {store.description} would lose references; nothing was changed."
                )
    finally:
        connection.close()
