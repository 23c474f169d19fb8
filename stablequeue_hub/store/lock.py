"""One hub process per store: a lock that the system releases when the process dies."""

from __future__ import annotations

import os
import time
from types import TracebackType
from typing import Protocol

import filelock
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from stablequeue_client.shared.errors import AlreadyRunningError
from stablequeue_hub.store.engine import HUB_LOCK_ID, Store

_RETRY_S = 0.1


class _Lock(Protocol):
    def try_take(self) -> bool: ...
    def still_held(self) -> bool: ...
    def retake(self) -> bool | None: ...
    def release(self) -> None: ...


class _FileLock:
    """Beside the SQLite file. The kernel lets go of it when the process ends, however it ends."""

    def __init__(self, store: Store) -> None:
        path = os.path.realpath(store.sqlite_path) + ".lock"
        self._lock = filelock.FileLock(path, timeout=0, mode=0o600, thread_local=False)

    def try_take(self) -> bool:
        try:
            self._lock.acquire(blocking=False)
        except filelock.Timeout:
            return False
        return True

    def still_held(self) -> bool:
        return self._lock.is_locked

    def retake(self) -> bool | None:
        return self.try_take()

    def release(self) -> None:
        self._lock.release(force=True)


class _AdvisoryLock:
    """On a connection of its own, which holds it as long as it lives."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._connection: Connection | None = None

    def try_take(self) -> bool:
        connection = self._store.dedicated_connection()
        taken = connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({HUB_LOCK_ID})").scalar()
        connection.commit()  # the lock belongs to the session, and no transaction is to stay open
        if taken:
            self._connection = connection
        else:
            connection.close()
        return bool(taken)

    def still_held(self) -> bool:
        if self._connection is None:
            return False
        try:
            self._connection.exec_driver_sql("SELECT 1")
            self._connection.commit()
        except DBAPIError:
            return False
        return True

    def retake(self) -> bool | None:
        try:
            self.release()
            return self.try_take()
        except DBAPIError:
            return None

    def release(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class StoreLock:
    """The right to be the hub of this store. A context manager; ``release()`` may be called twice."""

    def __init__(self, store: Store, lock: _Lock) -> None:
        self._store = store
        self._lock = lock

    def still_held(self) -> bool:
        """False when the database ended the connection that held it (PostgreSQL restarted)."""
        return self._lock.still_held()

    def retake(self) -> bool | None:
        """Take it again after that; False when another process has it, None while the database is away."""
        return self._lock.retake()

    def release(self) -> None:
        self._store.locked_here = False
        self._lock.release()

    def __enter__(self) -> StoreLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def hold_store_lock(store: Store, *, wait_s: float = 0.0) -> StoreLock:
    """Take the lock. Raises AlreadyRunningError when another process has it (after ``wait_s`` seconds)."""
    lock: _Lock = _FileLock(store) if store.is_sqlite else _AdvisoryLock(store)
    give_up = time.monotonic() + wait_s
    while not lock.try_take():
        if time.monotonic() >= give_up:
            raise AlreadyRunningError(
                f"Another StableQueue hub already uses the database {store.description}.",
                remedy="Stop it, or give another --data folder or --database.",
            )
        time.sleep(_RETRY_S)
    store.locked_here = True
    return StoreLock(store, lock)
