"""A copy of the stopped hub's SQLite database from before an update, put back when the update fails.

The new hub may have changed the schema before it failed, and then the old one refuses the database. It never
answered anybody, so nothing is lost by going back.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from stablequeue_client.own_hub.errors import OwnHubError

DATABASE = "hub.sqlite"
COPY = "hub.sqlite.before-update"
SET_ASIDE = "hub.sqlite.after-update"
BESIDE = ("-wal", "-shm", "-journal")


def copy_database(machine_dir: Path) -> None:
    """Raises OwnHubError when there is no room for it."""
    database, copy = machine_dir / DATABASE, machine_dir / COPY
    if not database.is_file():
        return
    try:
        drop_copy(machine_dir)
        os.close(os.open(copy, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
    except (OSError, sqlite3.Error) as error:
        drop_copy(machine_dir)
        raise OwnHubError(
            f"The hub's database could not be copied before the update: {error}.",
            remedy=f"Free disk space in {machine_dir}.",
        ) from error


def put_back(machine_dir: Path) -> None:
    """As it was before the update. The hub must not run."""
    copy = machine_dir / COPY
    if not copy.is_file():
        return
    for ending in BESIDE:
        (machine_dir / (DATABASE + ending)).unlink(missing_ok=True)
    os.replace(copy, machine_dir / DATABASE)


def has_copy(machine_dir: Path) -> bool:
    return (machine_dir / COPY).is_file()


def set_aside(machine_dir: Path) -> None:
    """Keep the database as it is now under another name, with what is not yet merged into it."""
    for ending in ("", *BESIDE):
        (machine_dir / (SET_ASIDE + ending)).unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.replace(machine_dir / (DATABASE + ending), machine_dir / (SET_ASIDE + ending))


def drop_copy(machine_dir: Path) -> None:
    """Also one that was cut off while it was made."""
    for ending in ("", *BESIDE):
        with contextlib.suppress(OSError):
            (machine_dir / (COPY + ending)).unlink()
