"""How the extension comes to life in a WebUI, and again at each "Reload UI".

Importing our parts takes longer than the 50 ms that we may cost the WebUI's start, so a thread of ours does
it while the WebUI goes on. Just before the page is built the WebUI asks us (``on_before_ui``), and the parts
give it their callbacks. The thread stays: it is the one behind the extension, with a look each second.
"""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING

from stablequeue_client.webui import compat
from stablequeue_client.webui.callbacks import guarded

if TYPE_CHECKING:
    from stablequeue_client.webui.runtime import Runtime

LOAD_LIMIT_S = 60.0
"""A Python that takes longer for our imports gets a WebUI without us, not a WebUI that hangs."""
LOOK_EVERY_S = 1.0
_loaded: dict[int, Future[Runtime]] = {}
"""By process id: a forked child has no thread of ours and starts its own."""


def begin() -> None:
    """Start loading, once per process, and have the host call us before each page."""
    loaded = _loaded.get(os.getpid())
    if loaded is None:
        loaded = _loaded[os.getpid()] = Future()
        thread = threading.Thread(
            target=_background, args=(loaded,), name="stablequeue-background", daemon=True
        )
        thread.start()
    compat.on_before_ui(lambda: _before_ui(loaded), "stablequeue")


def _before_ui(loaded: Future[Runtime]) -> None:
    try:
        rt = loaded.result(LOAD_LIMIT_S)
    except Exception as error:
        from stablequeue_client.webui import broken

        broken.show(error)
        return
    from stablequeue_client.webui.register import register

    register(rt)


def _background(loaded: Future[Runtime]) -> None:
    try:
        from stablequeue_client.webui.register import make

        rt = make()
    except Exception as error:
        loaded.set_exception(error)
        return
    loaded.set_result(rt)
    guarded("the hub of this computer")(rt.own_hub.ensure_running)()
    guarded("the reading of model folders")(rt.agent.start)()
    look = guarded("the look at the index")(_look)
    while True:
        look(rt)
        time.sleep(LOOK_EVERY_S)


def _look(rt: Runtime) -> None:
    rt.agent.note_generating(rt.host.is_generating())
    rt.models.refresh()
