"""The agent's process: from folders to the hub, until it is stopped. See ``run``."""

from __future__ import annotations

import threading

from stablequeue_client.agent.agent_settings import AgentSettings, HashingMode, ParentProcess

__all__ = ["AgentSettings", "HashingMode", "ParentProcess", "run", "scan_only"]


def run(settings: AgentSettings, *, once: bool = False, stop: threading.Event | None = None) -> int:
    """Scan, hash and synchronise until stopped; with ``once`` until everything that can be done is done.

    Returns the exit code: 0 done, 3 done with problems, 4 hub unreachable, 5 refused by the hub.
    Raises AlreadyRunningError, DataFolderError, UsageError before anything has been done.
    """
    raise NotImplementedError


def scan_only(settings: AgentSettings, *, stop: threading.Event | None = None) -> int:
    """Scan and hash without a hub; the rows are in the index of ``settings.data_dir`` afterwards."""
    raise NotImplementedError
