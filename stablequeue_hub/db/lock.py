"""One hub process per store: a lock that the system releases when the process dies."""

from __future__ import annotations

from types import TracebackType

from stablequeue_hub.db.engine import Store


class StoreLock:
    """The right to be the hub of this store. A context manager; ``release()`` may be called twice."""

    def still_held(self) -> bool:
        """False when the database ended the connection that held it (PostgreSQL restarted)."""
        raise NotImplementedError

    def release(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> StoreLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def hold_store_lock(store: Store, *, wait_s: float = 0.0) -> StoreLock:
    """Take the lock. Raises AlreadyRunningError when another process has it (after ``wait_s`` seconds)."""
    raise NotImplementedError
