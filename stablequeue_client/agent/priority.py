"""The agent steps back for everything else that the machine does."""

from __future__ import annotations

import contextlib
import sys

import psutil

NICE = 10


def lower_priority() -> None:
    """Low CPU and disk priority for this process, as far as the system lets us."""
    process = psutil.Process()
    with contextlib.suppress(OSError, psutil.Error, AttributeError):
        if sys.platform == "win32":
            process.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)
        elif process.nice() < NICE:
            process.nice(NICE)
    with contextlib.suppress(OSError, psutil.Error, AttributeError, ValueError):
        if sys.platform == "win32":
            process.ionice(psutil.IOPRIO_LOW)
        else:
            process.ionice(psutil.IOPRIO_CLASS_IDLE)
