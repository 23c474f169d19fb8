"""Which agent of this computer reads a file now: OS file locks in ``<machine folder>/reading``.

The kernel releases the lock of a process that died. There is a fixed number of lock files, and which one
counts for a path is its hash: none is ever deleted, which file locks do not bear, and two paths that share
one only wait for each other. A folder that cannot be used locks nothing: the file is read twice at worst.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from stablequeue_client.files.file_io import escaped

logger = logging.getLogger(__name__)

SLOTS = 256


class ReadingLocks:
    """Shared by threads, and through the folder by processes."""

    def __init__(self, machine_dir: Path) -> None:
        self._folder = machine_dir / "reading"

    @contextmanager
    def held(self, native: str) -> Iterator[bool]:
        """Lock the file at ``native`` for the block; yields whether it is ours to read. Never waits."""
        lock = filelock.FileLock(self._folder / f"{_slot(native):02x}.lock", mode=0o600)
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock.acquire(timeout=0)
        except filelock.Timeout:
            yield False
            return
        except OSError as error:
            logger.debug("No lock: %s", error)
            yield True
            return
        try:
            yield True
        finally:
            lock.release()


def _slot(native: str) -> int:
    """By the real path, so that two names of one file mean one lock."""
    path = escaped(os.path.realpath(native))
    return int.from_bytes(hashlib.sha256(path.encode("utf-8")).digest()[:4], "big") % SLOTS
