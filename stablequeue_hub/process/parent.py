"""The process that started the hub: the hub ends when it is gone, also after ``kill -9`` of it.

``STABLEQUEUE_PARENT`` is ``<pid>:<start time>`` (Unix seconds), set by ``stablequeue up``.
"""

from __future__ import annotations

import os
import signal
import threading
import time

import psutil

from stablequeue_client.shared.errors import UsageError

PARENT_VARIABLE = "STABLEQUEUE_PARENT"
LOOK_S = 2.0
START_TIME_TOLERANCE_S = 2.0
"""Start times are derived from boot time and ticks and may differ by so much between two readings."""


def end_with_parent(text: str | None) -> None:
    """Have this process end, as by SIGTERM, soon after the one that ``text`` names. Without it: nothing."""
    if not text:
        return
    pid, _, start_time = text.partition(":")
    try:
        parent = int(pid), float(start_time)
    except ValueError:
        raise UsageError(
            f"{PARENT_VARIABLE} is {text!r}.", remedy="It is set by `stablequeue up` only."
        ) from None
    threading.Thread(target=_follow, args=parent, name="parent", daemon=True).start()


def _follow(pid: int, start_time: float) -> None:
    while _is_alive(pid, start_time):
        time.sleep(LOOK_S)
    os.kill(os.getpid(), signal.SIGTERM)  # on Windows this ends the process at once


def _is_alive(pid: int, start_time: float) -> bool:
    """Whether that very process still runs; another one of the same number does not count."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - start_time) <= START_TIME_TOLERANCE_S
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True
