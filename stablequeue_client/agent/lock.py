"""One agent per data folder, by an OS file lock that the kernel releases when the process dies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from stablequeue_client.shared.errors import AlreadyRunningError, DataFolderError

FILE_NAME = "agent.lock"


@contextmanager
def agent_lock(data_dir: Path) -> Iterator[None]:
    """Hold the folder's lock. Raises AlreadyRunningError at once when another process has it."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = filelock.FileLock(data_dir / FILE_NAME)
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise AlreadyRunningError(f"Another StableQueue process already uses {data_dir}.") from None
    except OSError as exc:
        raise DataFolderError(f"{data_dir} cannot be used ({exc.strerror}).") from None
    try:
        yield
    finally:
        lock.release()
