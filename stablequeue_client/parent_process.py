"""The process that started the agent: the agent ends when it is gone."""

from __future__ import annotations

import psutil

from stablequeue_client.agent.agent_settings import ParentProcess

START_TIME_TOLERANCE_S = 2.0
"""Start times are derived from boot time and ticks and may differ by so much between two readings."""


def parent_of_now(pid: int) -> ParentProcess:
    """The process ``pid`` as it runs now. Raises psutil.NoSuchProcess."""
    return ParentProcess(pid, psutil.Process(pid).create_time())


def is_alive(parent: ParentProcess) -> bool:
    """Whether that very process still runs; another one of the same number does not count."""
    try:
        process = psutil.Process(parent.pid)
        same = abs(process.create_time() - parent.start_time) <= START_TIME_TOLERANCE_S
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True
