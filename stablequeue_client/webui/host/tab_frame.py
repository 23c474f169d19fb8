"""The tab "StableQueue": one HTML component, filled by Gradio's own load event.

What is secret (the token, names of models) comes by that event alone, so whoever may not use the WebUI under
``--gradio-auth`` does not get it; the page itself holds an empty frame. It is made on the WebUI's main thread
while our parts may still be loading, so it needs none of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import gradio as gr
from gradio import routes

TAB_ID = "stablequeue"
LABEL = "StableQueue"
_WAITING = '<div class="sq-app sq-tab"><p class="sq-quiet">One moment…</p></div>'
Headers = list[tuple[str, str]]


def tabs(content: Callable[[Headers], Awaitable[str]]) -> list[tuple[gr.Blocks, str, str]]:
    """The tab, as the host wants it while it builds its page. ``content``: its HTML for whoever sent a
    request with these headers."""

    async def fill(request: gr.Request) -> str:
        return await content(list(request.headers.items()))

    with _no_app_of_its_own(), gr.Blocks(analytics_enabled=False) as blocks:
        shell = gr.HTML(value=_WAITING, elem_id="sq_shell")
        shell.do_not_save_to_config = True
        blocks.load(fill, inputs=None, outputs=[shell], queue=False, show_progress="hidden", api_name=False)
    return [(blocks, LABEL, TAB_ID)]


@contextmanager
def _no_app_of_its_own() -> Iterator[None]:
    """Gradio makes a FastAPI app for each Blocks, which takes longer than all else of our start. The host
    never uses that of a tab: it renders the tab into its own page."""
    real = routes.App.__dict__["create_app"]
    routes.App.create_app = staticmethod(lambda *_, **__: None)
    try:
        yield
    finally:
        routes.App.create_app = real
