"""How the extension comes to life in a WebUI, and again at each "Reload UI".

Importing our parts takes longer than the 50 ms that we may cost the WebUI's start, so a thread of ours does
it while the WebUI goes on. Just before the page is built the WebUI asks us (``on_before_ui``) and gets
callbacks, of which only the last, when the WebUI listens, needs our parts: by then they are there, and
nothing is waited for. The thread stays: it is the one behind the extension, with a look each second.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from stablequeue_client.webui.host import compat, loaded_files, page_build_lock, updated
from stablequeue_client.webui.host.guarded import guarded
from stablequeue_client.webui.host.page_parts import PageParts, Part

if TYPE_CHECKING:
    from stablequeue_client.webui.parts.runtime import Runtime

LOAD_LIMIT_S = 60.0
"""A Python that takes longer for our imports gets a WebUI without us, not a WebUI that hangs."""
REFRESH_EVERY_S = 1.0
_loaded: dict[int, Future[Runtime]] = {}
"""By process id: a forked child has no thread of ours and starts its own."""


def begin() -> None:
    """Start loading, once per process, and have the host call us before each page.

    Where what this process has loaded does not fit its files any more, it gets a tab that says so instead.
    """
    page_build_lock.begins()
    if updated.changed():  # jobs go on meanwhile, and must not be in the way of this page either
        compat.on_before_ui(_watch_the_page, "stablequeue")
        updated.show()
        return
    loaded = _loaded.get(os.getpid())
    if loaded is None:
        loaded = _loaded[os.getpid()] = Future()
        thread = threading.Thread(
            target=_background, args=(loaded,), name="stablequeue-background", daemon=True
        )
        thread.start()
    compat.on_before_ui(lambda: _before_ui(loaded), "stablequeue")
    compat.on_model_loaded(loaded_files.note, "stablequeue-loads")


def _watch_the_page() -> None:
    compat.detect().on_app_started(lambda _demo, _app: page_build_lock.done(), "stablequeue-page-built")


def _before_ui(loaded: Future[Runtime]) -> None:
    host = compat.detect()
    parts = PageParts(lambda: _parts(host, loaded))
    host.on_after_component(parts.on_component, "stablequeue-page")
    host.on_ui_settings(lambda: _add_options(host), "stablequeue-settings")
    host.on_ui_tabs(lambda: _tabs(loaded), "stablequeue-tab")
    host.on_app_started(lambda demo, app: _app_started(loaded, demo, app), "stablequeue-routes")


def _parts(host: compat.Host, loaded: Future[Runtime]) -> list[Part]:
    """Imported at the end of the page: at its beginning the WebUI would have to wait for our thread."""
    from stablequeue_client.webui.prompt_line.page import PromptLineInputs
    from stablequeue_client.webui.submit.button import QueueButtons

    def capture(*pressed: Any) -> None:
        loaded.result(0).queueing.capture(*pressed)

    return [PromptLineInputs(host), QueueButtons(host, capture)]


def _add_options(host: compat.Host) -> None:
    from stablequeue_client.webui.settings import options

    options.add_all(host)


def _tabs(loaded: Future[Runtime]) -> list[tuple[Any, str, str]]:
    from stablequeue_client.webui.host import broken, tab_frame

    error = loaded.exception() if loaded.done() else None
    if isinstance(error, Exception):
        return broken.tabs(error)

    async def content(headers: list[tuple[str, str]]) -> str:
        try:
            rt = await asyncio.to_thread(loaded.result, LOAD_LIMIT_S)
        except Exception as error:
            return broken.sentences(error)
        from stablequeue_client.webui.tab import tab_content

        return await tab_content.content(rt, headers)

    return tab_frame.tabs(content)


def _app_started(loaded: Future[Runtime], demo: Any, app: Any) -> None:
    page_build_lock.done()
    try:
        rt = loaded.result(LOAD_LIMIT_S)
    except Exception:  # the tab says why
        return
    from stablequeue_client.webui.shell.assembly import app_started

    app_started(rt, demo, app)


def _background(loaded: Future[Runtime]) -> None:
    try:
        _import_what_the_page_asks_for()
        updated.note()
        from stablequeue_client.webui.shell.assembly import make

        rt = make()
    except Exception as error:
        loaded.set_exception(error)
        return
    loaded.set_result(rt)
    guarded("the hub of this computer")(rt.own_hub.ensure_running)()
    guarded("the reading of model folders")(rt.agent.start)()
    guarded("the work on jobs")(rt.runner.start)()
    guarded("the sending of jobs")(rt.queueing.start)()
    look = guarded("the look at the index")(_refresh_index)
    keep_hub = guarded("the look at the hub of this computer")(_keep_hub)
    while True:
        look(rt)
        keep_hub(rt)
        time.sleep(REFRESH_EVERY_S)


def _import_what_the_page_asks_for() -> None:
    """Before all else, which takes far longer: what is not there when it is asked for, the WebUI's own thread
    imports itself."""
    from stablequeue_client.webui.host import broken, tab_frame  # noqa: F401
    from stablequeue_client.webui.prompt_line import page  # noqa: F401
    from stablequeue_client.webui.settings import options  # noqa: F401
    from stablequeue_client.webui.submit import button  # noqa: F401


def _refresh_index(rt: Runtime) -> None:
    generating = rt.host.is_generating()
    rt.agent.note_generating(generating)
    rt.runner.note_generating(generating)
    rt.models.refresh()


def _keep_hub(rt: Runtime) -> None:
    from stablequeue_client.webui.tab.setup import hub_answers

    rt.own_hub.keep_running(lambda _hub: hub_answers(rt))
