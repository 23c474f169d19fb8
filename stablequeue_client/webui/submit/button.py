"""The Queue button's part of the host's page: a second button with the inputs of Generate.

What people see is drawn by our script; this is the hidden button that it presses, because only an event of
Gradio's brings what the page's components hold. Made at the footer, when all of the page is there and it is
still open for more.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from stablequeue_client.webui.host.capture import (
    TABS,
    ClickEvent,
    PageInput,
    clicks_of,
    generate_click,
    input_of,
    mode_by_script,
)
from stablequeue_client.webui.host.compat import Host
from stablequeue_client.webui.host.guarded import guarded
from stablequeue_client.webui.host.page_parts import Page, hidden_button, is_state

Capture = Callable[[Any, str, "tuple[Any, ...]", "list[PageInput]"], Any]
"""``SubmissionService.capture``."""


class QueueButtons:
    """A part of the page (``page_parts``)."""

    name = "the Queue button"

    def __init__(self, host: Host, take: Capture) -> None:
        self._host = host
        self._capture = take

    def add(self, page: Page) -> None:
        """Adds the hidden buttons."""
        for tab in TABS:
            button = page.find(f"{tab}_generate")
            events = clicks_of(page.root, button) if button is not None else []
            main = generate_click(events, tab)
            if main is not None and len(main.inputs) > 1:
                guarded(self.name)(self._wire_tab)(tab, main, events, page)

    def _wire_tab(self, tab: str, main: ClickEvent, events: list[ClickEvent], page: Page) -> None:
        inputs = [input_of(one, page.made_with(one)) for one in main.inputs]
        take = guarded("the press of Queue")(self._capture)

        before = _before(main, events)
        all_inputs = [*main.inputs, *(one for event in before for one in event.inputs)]

        def pressed(*values: Any) -> None:
            take(values[0], tab, _filled(values, main, before), inputs)

        hidden_button(f"sq_queue_press_{tab}").click(
            fn=pressed,
            inputs=all_inputs,
            outputs=[],
            queue=False,
            show_progress="hidden",
            api_name=False,
            **self._host.js(_script(tab, len(all_inputs), mode_by_script(self._host))),
        )


def _before(main: ClickEvent, events: list[ClickEvent]) -> list[ClickEvent]:
    """Return what Generate's click also does to those of its inputs that nobody sees: it puts ControlNet's
    units together."""
    states = {one._id for one in main.inputs if is_state(one)}
    others = (event for event in events if event is not main and event.fn is not None)
    return [event for event in others if [one._id in states for one in event.outputs] == [True]]


def _filled(values: tuple[Any, ...], main: ClickEvent, before: list[ClickEvent]) -> tuple[Any, ...]:
    """The values of Generate's inputs, as they are after what its click does before."""
    found, rest = list(values[: len(main.inputs)]), values[len(main.inputs) :]
    places = {one._id: place for place, one in enumerate(main.inputs)}
    for event in before:
        given, rest = rest[: len(event.inputs)], rest[len(event.inputs) :]
        if event.fn is not None:
            found[places[event.outputs[0]._id]] = event.fn(*given)
    return tuple(found)


def _script(tab: str, count: int, names_mode: bool) -> str:
    """Exactly as many values as there are inputs: with another number Gradio shifts them, silently."""
    mode = 'values[1] = get_tab_index("mode_img2img");' if names_mode and tab == "img2img" else ""
    key = f"window.stablequeueQueue.key({json.dumps(tab)})"
    return f"(...all) => {{ const values = all.slice(0, {count}); values[0] = {key}; {mode} return values; }}"
