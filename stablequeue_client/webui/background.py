"""The one thread behind the extension: what is slow at the start, then a look each second."""

from __future__ import annotations

import threading
import time

from stablequeue_client.webui.callbacks import guarded
from stablequeue_client.webui.runtime import Runtime

LOOK_EVERY_S = 1.0


def start(rt: Runtime) -> threading.Thread:
    """Start the thread; once per process. It ends with the process."""
    thread = threading.Thread(target=_run, args=(rt,), name="stablequeue-background", daemon=True)
    thread.start()
    return thread


def _run(rt: Runtime) -> None:
    guarded("the hub of this computer")(rt.own_hub.ensure_running)()
    guarded("the reading of model folders")(rt.agent.start)()
    look = guarded("the look at the index")(_look)
    while True:
        look(rt)
        time.sleep(LOOK_EVERY_S)


def _look(rt: Runtime) -> None:
    rt.agent.note_generating(rt.host.is_generating())
    rt.models.refresh()
