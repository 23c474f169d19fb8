"""The Queue button's part of the host's page: a second button with the inputs of Generate.

What people see is drawn by our script; this is the hidden button that it presses, because only an event of
Gradio's brings what the page's components hold. Made at the footer, when all of the page is there and it is
still open for more.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from stablequeue_client.webui.callbacks import guarded
from stablequeue_client.webui.compat import Host
from stablequeue_client.webui.compat_queue import (
    TABS,
    ClickEvent,
    Input,
    clicks_of,
    input_of,
    mode_by_script,
)

_LAST = "footer"
Take = Callable[[Any, str, "tuple[Any, ...]", "list[Input]"], Any]
"""``QueueDesk.take``."""


class QueueButtons:
    """Notes components while pages are built. A host may build parts of its page more than once."""

    def __init__(self, host: Host, take: Take) -> None:
        self._host = host
        self._take = take
        self._generate: dict[str, list[Any]] = {tab: [] for tab in TABS}
        self._defaults: dict[int, Any] = {}

    def on_component(self, component: Any, **_: Any) -> None:
        """A component was made (the host's ``on_after_component``)."""
        elem_id = component.elem_id
        self._defaults[component._id] = getattr(component, "value", None)
        for tab in TABS:
            if elem_id == f"{tab}_generate":
                self._generate[tab].append(component)
        if elem_id == _LAST:
            made, self._generate = self._generate, {tab: [] for tab in TABS}
            defaults, self._defaults = self._defaults, {}
            self._wire(made, defaults)

    def _wire(self, made: dict[str, list[Any]], defaults: dict[int, Any]) -> None:
        from gradio.context import Context

        root = Context.root_block
        if root is None:
            return
        for tab, buttons in made.items():
            # Made for the API alone, or by a page that was thrown away: not among the root's blocks.
            shown = [button for button in buttons if button._id in root.blocks]
            events = clicks_of(root, shown[-1]) if shown else []
            main = max(events, key=lambda event: len(event.inputs), default=None)
            if main is not None and len(main.inputs) > 1:
                guarded("the Queue button")(self._wire_tab)(tab, main, events, defaults)

    def _wire_tab(
        self, tab: str, main: ClickEvent, events: list[ClickEvent], defaults: dict[int, Any]
    ) -> None:
        import gradio as gr

        inputs = [input_of(one, defaults.get(one._id, getattr(one, "value", None))) for one in main.inputs]
        take = guarded("the press of Queue")(self._take)

        before = _before(main, events)
        all_inputs = [*main.inputs, *(one for event in before for one in event.inputs)]

        def pressed(*values: Any) -> None:
            take(values[0], tab, _filled(values, main, before), inputs)

        button = gr.Button("StableQueue", visible=False, elem_id=f"sq_queue_press_{tab}")
        button.do_not_save_to_config = True
        button.click(
            fn=pressed,
            inputs=all_inputs,
            outputs=[],
            queue=False,
            show_progress="hidden",
            api_name=False,
            **self._host.js(_script(tab, len(all_inputs), mode_by_script(self._host))),
        )


def _before(main: ClickEvent, events: list[ClickEvent]) -> list[ClickEvent]:
    """What Generate's click also does to those of its inputs that nobody sees: it puts ControlNet's units
    together."""
    import gradio as gr

    states = {one._id for one in main.inputs if isinstance(one, gr.State)}
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
