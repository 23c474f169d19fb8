"""The process that started the hub: the hub ends when it is gone, also after ``kill -9`` of it."""

from __future__ import annotations

import os
import signal
import threading
import time

from stablequeue_client.shared.parent_process import ParentProcess, is_alive, marked_parent

POLL_S = 2.0


def exit_with_parent(text: str | None) -> None:
    """Have this process end, as by SIGTERM, soon after the one that ``STABLEQUEUE_PARENT`` (``text``) names.
    Without it: nothing. Raises UsageError."""
    parent = marked_parent(text)
    if parent is not None:
        threading.Thread(target=_follow, args=(parent,), name="parent", daemon=True).start()


def _follow(parent: ParentProcess) -> None:
    while is_alive(parent):
        time.sleep(POLL_S)
    os.kill(os.getpid(), signal.SIGTERM)  # on Windows this ends the process at once
