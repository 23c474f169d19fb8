"""The mark by which a WebUI says that it generates: a file in the machine's folder, touched again and again.

All agents of the machine read nothing while it is fresh: the generation has the disk, the memory and the
cores to itself. A WebUI that died touches it no more, so it passes by itself. A file, because touching one
works on a full disk, needs no lock, and costs a reader 2 microseconds.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

FILE_NAME = "generating"
FRESH_FOR_S = 5.0
"""After the last touch; between two generations of a batch nothing is read either."""
TOUCH_S = 1.0
"""How often a WebUI that generates touches it."""
_POLL_S = 0.1


def touch(machine_dir: Path) -> None:
    """Mark that somebody generates now. A folder that cannot be used is no reason to stop a generation."""
    path = machine_dir / FILE_NAME
    try:
        os.utime(path)
    except FileNotFoundError:
        with suppress(OSError):
            machine_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    except OSError:
        pass


class GeneratingMarker:
    """Whether somebody on this machine generates. Shared by threads; cheap enough to ask per buffer."""

    def __init__(
        self,
        machine_dir: Path,
        *,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = machine_dir / FILE_NAME
        self._now = now
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._looked = float("-inf")
        self._fresh = False

    def is_fresh(self) -> bool:
        """Touched within the last ``FRESH_FOR_S`` seconds, as of at most 0.1 s ago."""
        with self._lock:
            now = self._monotonic()
            if now - self._looked >= _POLL_S:
                self._looked, self._fresh = now, self._look()
            return self._fresh

    def _look(self) -> bool:
        try:
            touched = os.stat(self._path).st_mtime
        except OSError:
            return False
        # A stamp from the future (the clock was set back) is no generation for hours.
        return abs(self._now() - touched) < FRESH_FOR_S
