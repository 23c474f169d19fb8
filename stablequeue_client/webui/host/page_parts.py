"""What we add to the host's page once all of it is there.

The host calls us after each of some thousand components, so that moment costs next to nothing: a value is
noted, and with the footer, while the page is still open for more, our parts look for what they need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from stablequeue_client.webui.host.guarded import guarded

_LAST = "footer"


class Part(Protocol):
    """Something of ours on the page. ``name`` is for the log."""

    name: str

    def add(self, page: Page) -> None:
        """Called while the page is still open; what it raises is logged."""


class Page:
    """A finished page. ``made_with``: by component, its value when it was made, before the person's own
    defaults (ui-config.json)."""

    def __init__(self, root: Any, made_with: Mapping[int, Any]) -> None:
        self.root = root
        self._made_with = made_with
        self._by_key: dict[str, Any] = {}
        # By age, so that of a part which was built twice the one that is shown counts.
        for component in sorted(root.blocks.values(), key=lambda one: int(one._id)):
            if component._id not in made_with:
                continue  # a box or a row
            key = component.elem_id or f"label:{getattr(component, 'label', None)}"
            self._by_key[key] = component

    def find(self, key: str) -> Any:
        """The component with this element id, or, without one, this label ("label:Checkpoint"); or None."""
        return self._by_key.get(key)

    def made_with(self, component: Any) -> Any:
        """The value it was made with."""
        return self._made_with.get(component._id, getattr(component, "value", None))


def hidden_button(elem_id: str) -> Any:
    """A button that only our script presses; its events bring what the page holds."""
    import gradio as gr

    button = gr.Button("StableQueue", visible=False, elem_id=elem_id)
    button.do_not_save_to_config = True
    return button


def is_state(component: Any) -> bool:
    """Return whether it is a value of the page that nobody sees."""
    import gradio as gr

    return isinstance(component, gr.State)


class PageParts:
    """``parts`` is called with the end of the page. A host may build its page, or parts of it, more than
    once."""

    def __init__(self, parts: Callable[[], Iterable[Part]]) -> None:
        self._parts = parts
        self._made_with: dict[int, Any] = {}

    def on_component(self, component: Any, **_: Any) -> None:
        """A component was made (the host's ``on_after_component``)."""
        self._made_with[component._id] = getattr(component, "value", None)
        if component.elem_id == _LAST:
            made_with, self._made_with = self._made_with, {}
            self._add(made_with)

    def _add(self, made_with: Mapping[int, Any]) -> None:
        from gradio.context import Context

        root = Context.root_block
        if root is None:
            return
        page = Page(root, made_with)
        for part in self._parts():
            guarded(part.name)(part.add)(page)
