"""A copy of the data before its schema changes."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from stablequeue_client.shared.errors import BackupNeededError, DataFolderError
from stablequeue_hub.store.engine import Store

_DUMP_TIMEOUT_S = 3600


def back_up(store: Store, revision: str | None, *, confirmed: bool) -> Path | None:
    """Copy the data of ``revision``; the copy's path. None when there is nothing to copy, or (PostgreSQL)
    when the owner ``confirmed`` a backup of their own. Raises BackupNeededError, DataFolderError.
    """
    if revision is None:
        return None
    if store.is_sqlite:
        return _copy_sqlite(store, store.sqlite_path.with_name(f"{store.sqlite_path.name}.backup-{revision}"))
    if confirmed:
        return None
    return _dump_postgresql(store, store.data_dir / f"hub.pgdump.backup-{revision}")


def _copy_sqlite(store: Store, target: Path) -> Path:
    """By SQLite's backup API into a new file, which replaces an older copy only when it is complete."""
    unfinished = target.with_name(target.name + ".part")
    try:
        unfinished.unlink(missing_ok=True)
        os.close(os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        source, copy = sqlite3.connect(store.sqlite_path), sqlite3.connect(unfinished)
        with closing(source), closing(copy):
            source.backup(copy)
        os.replace(unfinished, target)
    except (OSError, sqlite3.Error) as error:
        raise DataFolderError(f"The copy {target} of the database cannot be written: {error}.") from error
    return target


def _dump_postgresql(store: Store, target: Path) -> Path:
    program = shutil.which("pg_dump")
    if program is None:
        raise BackupNeededError(
            f"The database {store.description} needs a schema upgrade, and pg_dump was not found to copy it."
        )
    url = store.url.set(drivername="postgresql", password=None)
    environment = {**os.environ, "PGPASSWORD": str(store.url.password or "")}
    unfinished = target.with_name(target.name + ".part")
    command = [program, "--format=custom", f"--file={unfinished}", f"--dbname={url.render_as_string()}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_DUMP_TIMEOUT_S)
    if done.returncode != 0:
        unfinished.unlink(missing_ok=True)
        raise BackupNeededError(f"pg_dump could not copy {store.description}: {done.stderr.strip()[:500]}")
    os.chmod(unfinished, 0o600)
    os.replace(unfinished, target)
    return target
