"""The process that started this one, which ends when that is gone, also after ``kill -9`` of it."""

from __future__ import annotations

import os
from dataclasses import dataclass

import psutil

from stablequeue_client.shared.errors import UsageError

PARENT_VARIABLE = "STABLEQUEUE_PARENT"
"""``<pid>:<start time>`` (Unix seconds) of that process, of a WebUI ``:webui`` behind it."""
START_TIME_TOLERANCE_S = 2.0
"""Start times are derived from boot time and ticks and may differ by so much between two readings."""


@dataclass(frozen=True)
class ParentProcess:
    """``start_time`` (Unix seconds) tells it from a later one of the same number.

    ``webui``: it is a WebUI, which has use for the folders whether there is a hub or not.
    """

    pid: int
    start_time: float
    webui: bool = False


def parent_of_now(pid: int) -> ParentProcess:
    """The process ``pid`` as it runs now. Raises psutil.NoSuchProcess."""
    return ParentProcess(pid, psutil.Process(pid).create_time())


def parent_mark() -> str:
    """This process as ``PARENT_VARIABLE`` names it to a child."""
    me = parent_of_now(os.getpid())
    return f"{me.pid}:{me.start_time!r}"


def marked_parent(text: str | None) -> ParentProcess | None:
    """The process that ``PARENT_VARIABLE`` names, or None. Raises UsageError."""
    if not text:
        return None
    pid, _, rest = text.partition(":")
    start_time, _, what = rest.partition(":")
    try:
        return ParentProcess(int(pid), float(start_time), webui=what == "webui")
    except ValueError:
        raise UsageError(
            f"{PARENT_VARIABLE} is {text!r}.", remedy="It is set by `stablequeue up` and by a WebUI only."
        ) from None


def is_alive(parent: ParentProcess) -> bool:
    """Return whether that very process still runs; another one of the same number does not count."""
    try:
        process = psutil.Process(parent.pid)
        same = abs(process.create_time() - parent.start_time) <= START_TIME_TOLERANCE_S
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True
