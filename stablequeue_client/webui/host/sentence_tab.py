"""A tab that only says what is wrong and what helps. Needs only the host and gradio."""

from __future__ import annotations

import html
import logging
from collections.abc import Callable
from typing import Any

log = logging.getLogger("stablequeue")


def show(content: Callable[[], str]) -> None:
    """Have the host show such a tab; ``content`` is asked while the page is built. Never raises."""
    try:
        from modules import script_callbacks

        script_callbacks.on_ui_tabs(lambda: tabs(content()))
    except Exception:
        log.exception("StableQueue: not even its tab could be shown.")


def tabs(content: str) -> list[tuple[Any, str, str]]:
    """The tab, as the host wants it while it builds its page."""
    import gradio

    with gradio.Blocks(analytics_enabled=False) as blocks:
        gradio.HTML(content)
    return [(blocks, "StableQueue", "stablequeue")]


def paragraphs(sentence: str, remedy: str) -> str:
    """What is wrong and what helps, as HTML."""
    return f'<div class="sq-broken"><p>{html.escape(sentence)}</p><p>{html.escape(remedy)}</p></div>'
