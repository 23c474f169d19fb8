"""Tests that measure what a person waits for have the machine to themselves, beside other test processes too.

Each test holds a place in a room, one marked ``alone`` the whole room. Whoever waits for the whole room holds
the door, so that it gets its turn. The locks are the kernel's: a killed process holds up nobody.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

try:
    import fcntl
except ImportError:  # Windows: such tests take their chance there
    fcntl = None  # type: ignore[assignment]

RUN = "PYTEST_XDIST_TESTRUNUID"
"""Set in the processes of one run with several; without it there is one process, and no need for turns."""


@contextmanager
def turn(*, alone: bool) -> Iterator[None]:
    """Wait for a turn, and hold it."""
    run = os.environ.get(RUN)
    if run is None or fcntl is None:
        yield
        return
    place = os.path.join(tempfile.gettempdir(), f"stablequeue-tests-{run}")
    with open(f"{place}.door", "w") as door, open(f"{place}.room", "w") as room:
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        yield
