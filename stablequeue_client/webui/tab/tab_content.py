"""What fills the tab "StableQueue" when a page is opened."""

from __future__ import annotations

import asyncio
import logging

from markupsafe import Markup

from stablequeue_client.shared.errors import StableQueueError
from stablequeue_client.shared.views import values as v
from stablequeue_client.shared.views import views
from stablequeue_client.webui.host import updated
from stablequeue_client.webui.parts.runtime import Runtime
from stablequeue_client.webui.tab import fragments
from stablequeue_client.webui.tab.request_guard import RequestGuard
from stablequeue_client.webui.views import tab_shell

BASE = "stablequeue/v1"
"""Relative to the address of the WebUI's page, so that it holds under ``--subpath`` and behind a proxy."""
FIRST_VIEW = "models"
FIRST_VIEW_WAIT_S = 0.5
"""A hub that is slower than this does not hold up the tab: the view is fetched when it is looked at."""
log = logging.getLogger("stablequeue")


async def content(rt: Runtime, headers: list[tuple[str, str]]) -> str:
    """The tab's content for whoever sent a request with these headers; never raises."""
    try:
        RequestGuard(rt.token, lambda: rt.settings().allowed_hosts).check_host(headers)
        line = await fragments.view(rt, "first-line", "", {})
        shell = tab_shell.TabShell(
            token=rt.token,
            base=BASE,
            view=FIRST_VIEW,
            first_line=line,
            fragment=await _first_fragment(rt),
            nav=await fragments.nav(rt),
        )
        return str(tab_shell.tab(shell))
    except StableQueueError as error:
        return str(tab_shell.refused(error.message, error.remedy))
    except Exception:
        if updated.changed():
            return updated.sentences()
        log.exception("StableQueue: the tab could not be filled.")
        return str(tab_shell.refused("StableQueue could not fill its tab.", "The WebUI's log says why."))


async def _first_fragment(rt: Runtime) -> Markup:
    making = asyncio.ensure_future(fragments.view(rt, FIRST_VIEW, "", {}))
    try:
        return await asyncio.wait_for(asyncio.shield(making), FIRST_VIEW_WAIT_S)
    except asyncio.TimeoutError:
        making.add_done_callback(lambda done: done.exception())  # looked at, so not reported as lost
        return tab_shell.coming()
    except StableQueueError as error:
        return views.problem(v.Problem(error.message, error.remedy))
