"""The hosts' changes to Gradio that an extension feels: callbacks for each component, tooltips, ``_js``."""

from __future__ import annotations

import inspect
from typing import Any

import gradio as gr
from fake_family import FORGE
from modules import script_callbacks, scripts


def _around(original: Any) -> Any:
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        self.webui_tooltip = kwargs.pop("tooltip", None)
        if scripts.scripts_current is not None:
            scripts.scripts_current.before_component(self, **kwargs)
        script_callbacks.before_component_callback(self, **kwargs)
        original(self, *args, **kwargs)
        self.elem_classes = [f"gradio-{self.get_block_name()}", *(getattr(self, "elem_classes", None) or [])]
        if getattr(self, "multiselect", False):
            self.elem_classes.append("multiselect")
        script_callbacks.after_component_callback(self, **kwargs)
        if scripts.scripts_current is not None:
            scripts.scripts_current.after_component(self, **kwargs)

    return init


class EventWrapper:
    """Takes ``_js`` on gradio 4 where the hosts' own code still says it."""

    def __init__(self, replaced_event: Any) -> None:
        self.replaced_event = replaced_event
        self.has_trigger = getattr(replaced_event, "has_trigger", None)
        self.event_name = getattr(replaced_event, "event_name", None)
        self.callback = getattr(replaced_event, "callback", None)
        self.real_self = getattr(replaced_event, "__self__", None)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if "_js" in kwargs:
            kwargs["js"] = kwargs.pop("_js")
        return self.replaced_event(*args, **kwargs)

    @property
    def __self__(self) -> Any:
        return self.real_self


def _repair(grclass: Any) -> None:
    """On Forge: unknown arguments are dropped with a warning, events take ``_js``."""
    if not getattr(grclass, "EVENTS", None):
        return
    original = grclass.__init__

    def init(
        self: Any, *args: Any, tooltip: str | None = None, source: str | None = None, **kwargs: Any
    ) -> None:
        if source:
            kwargs["sources"] = [source]
        allowed = inspect.signature(original).parameters
        original(self, *args, **{k: v for k, v in kwargs.items() if k in allowed})
        self.webui_tooltip = tooltip
        for event in self.EVENTS:
            setattr(self, str(event), EventWrapper(getattr(self, str(event))))

    init.__signature__ = inspect.signature(original)  # type: ignore[attr-defined]
    grclass.__init__ = init
    grclass.update = gr.update


def install() -> None:
    """Once per process, before any component is made."""
    component = gr.components.Component if FORGE else gr.components.IOComponent
    component.__init__ = _around(component.__init__)
    gr.blocks.BlockContext.__init__ = _around(gr.blocks.BlockContext.__init__)
    if FORGE:
        import gradio.component_meta

        # Otherwise gradio 4 writes .pyi files beside the fake's own component classes.
        gradio.component_meta.create_or_modify_pyi = lambda *args: None
        for name in dict.fromkeys(gr.components.__all__ + gr.layouts.__all__):
            _repair(getattr(gr, name, None))
