"""Digests this machine has computed, in one ``digests.sqlite`` for all its servers. Losing it costs time.

    digests(path, size, mtime_ns, ctime_ns, inode, sha256, blake3, autov1, payload_sha256, sample, stored_ms)

``path`` is the file's real path, so that two WebUIs over one folder hash it once; an entry counts only when
all stamps are as stored. Nothing here raises: a store that is damaged is moved aside, one that cannot be used
answers that it knows nothing.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from stablequeue_client.files.file_io import escaped
from stablequeue_client.files.same_file import stored_stamps
from stablequeue_client.index.checked_tables import Table
from stablequeue_client.index.database import Connect, Database, Schema, open_database
from stablequeue_client.shared.errors import DataFolderError
from stablequeue_client.shared.model_files.model_file import Digests, StatKey

logger = logging.getLogger(__name__)

ENTRIES_MAX = 200_000

_DIGESTS = Table(
    "digests",
    (
        ("path", "TEXT NOT NULL"), ("size", "INTEGER NOT NULL"), ("mtime_ns", "INTEGER NOT NULL"),
        ("ctime_ns", "INTEGER NOT NULL"), ("inode", "INTEGER NOT NULL"), ("sha256", "TEXT"),
        ("blake3", "TEXT"), ("autov1", "TEXT"), ("payload_sha256", "TEXT"), ("sample", "TEXT"),
        ("stored_ms", "INTEGER NOT NULL"),
    ),
)  # fmt: skip
_SCHEMA = Schema(application_id=0x53516473, version=1, tables=(_DIGESTS,))  # "SQds"


def open_digest_store(
    folder: Path | str, *, clock: Callable[[], float] = time.time, connect: Connect = sqlite3.connect
) -> DigestStore:
    """The store in ``<folder>/digests.sqlite``, made when missing."""
    path = os.path.join(folder, "digests.sqlite")
    database = None
    try:
        database, repaired = open_database(path, _SCHEMA, connect=connect)
        if repaired:
            logger.warning("%s", repaired, extra={"action": "digest_store_repaired"})
    except DataFolderError as error:
        logger.warning("Files are hashed anew: %s", error, extra={"action": "digest_store_unusable"})
    store = DigestStore(database, clock)
    store.prune()
    return store


class DigestStore:
    """Computed digests by real path and stamps. Any thread may use it."""

    def __init__(self, database: Database | None, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def close(self) -> None:
        if self._database is not None:
            self._database.close()

    def get(self, native: str, stat: StatKey) -> Digests | None:
        """Return what was computed of the file at ``native`` when it had exactly these stamps."""
        key = (_real(native), *stored_stamps(stat))
        try:
            if self._database is None:
                return None
            with self._database.read() as connection:
                found = _DIGESTS.select(connection, "path = ?", key[:1])
        except DataFolderError as error:
            self._failed(error)
            return None
        return Digests(*found[0][5:10]) if found and found[0][:5] == key else None

    def put(self, native: str, stat: StatKey, digests: Digests) -> None:
        """Keeps digests that were computed from the bytes, and not from a file written a moment before."""
        row = (
            _real(native), *stored_stamps(stat), digests.sha256, digests.blake3, digests.autov1,
            digests.payload_sha256, digests.sample, int(self._clock() * 1000),
        )  # fmt: skip
        try:
            if self._database is not None:
                with self._database.write() as connection:
                    _DIGESTS.put(connection, [row])
        except DataFolderError as error:
            self._failed(error)

    def prune(self, keep: int = ENTRIES_MAX) -> None:
        """Keeps the newest entries only."""
        try:
            if self._database is not None:
                with self._database.write() as connection:
                    connection.execute(
                        "DELETE FROM digests WHERE stored_ms < (SELECT stored_ms FROM digests"
                        " ORDER BY stored_ms DESC LIMIT 1 OFFSET ?)",
                        (max(0, keep - 1),),
                    )
        except DataFolderError as error:
            self._failed(error)

    def _failed(self, error: DataFolderError) -> None:
        logger.debug("The digest store cannot be used: %s", error)


def _real(native: str) -> str:
    return escaped(os.path.realpath(native))
