"""Callbacks as in the hosts: cleared when scripts are loaded again, errors reported, never raised.

Forge takes ``name=`` and orders callbacks; the A1111 family takes the callback alone.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from typing import Any

from fake_family import FORGE
from modules import errors

_CATEGORIES = (
    "app_started",
    "model_loaded",
    "ui_tabs",
    "ui_train_tabs",
    "ui_settings",
    "before_component",
    "after_component",
    "image_saved",
    "before_image_saved",
    "infotext_pasted",
    "script_unloaded",
    "before_ui",
    "on_reload",
    "cfg_denoiser",
)
callback_map: dict[str, list[ScriptCallback]] = {f"callbacks_{name}": [] for name in _CATEGORIES}


seconds: dict[str, float] = {}
"""For tests: CPU seconds of the host's own threads, by the file that cost them."""


def note_seconds(filename: str, begun: float) -> None:
    seconds[filename] = seconds.get(filename, 0.0) + time.thread_time() - begun


class ScriptCallback:
    def __init__(self, script: str, callback: Callable[..., Any], name: str = "unnamed") -> None:
        self.script = script
        self.callback = callback
        self.name = name


def _caller() -> str:
    # The hosts look at the whole stack here; so does the fake, because it costs start-up time.
    stack = [frame for frame in inspect.stack() if frame.filename != __file__]
    return stack[0].filename if stack else "unknown file"


if FORGE:

    def add_callback(
        callbacks: list[ScriptCallback],
        fun: Callable[..., Any],
        *,
        name: str | None = None,
        category: str = "unknown",
        filename: str | None = None,
    ) -> None:
        callbacks.append(ScriptCallback(filename or _caller(), fun, f"{category}/{name}"))
else:

    def add_callback(callbacks: list[ScriptCallback], fun: Callable[..., Any]) -> None:  # type: ignore[misc]
        callbacks.append(ScriptCallback(_caller(), fun))


def clear_callbacks() -> None:
    for callbacks in callback_map.values():
        callbacks.clear()


def _call(category: str, *args: Any, backwards: bool = False, **kwargs: Any) -> list[Any]:
    callbacks = callback_map[f"callbacks_{category}"]
    answers = []
    for item in reversed(callbacks) if backwards else callbacks:
        begun = time.thread_time()
        try:
            answers.append(item.callback(*args, **kwargs))
        except Exception:
            errors.report(f"Error executing callback {category} for {item.script}", exc_info=True)
        note_seconds(f"{item.script}:{category}", begun)
    return answers


def app_started_callback(demo: Any, app: Any) -> None:
    _call("app_started", demo, app)


def app_reload_callback() -> None:
    _call("on_reload")


def ui_tabs_callback() -> list[Any]:
    return [tab for tabs in _call("ui_tabs") for tab in tabs or []]


def ui_settings_callback() -> None:
    _call("ui_settings")


def before_component_callback(component: Any, **kwargs: Any) -> None:
    _call("before_component", component, **kwargs)


def after_component_callback(component: Any, **kwargs: Any) -> None:
    _call("after_component", component, **kwargs)


def infotext_pasted_callback(infotext: str, params: dict[str, Any]) -> None:
    _call("infotext_pasted", infotext, params)


def script_unloaded_callback() -> None:
    _call("script_unloaded", backwards=True)


def before_ui_callback() -> None:
    _call("before_ui", backwards=True)


class CFGDenoiserParams:
    def __init__(self, denoiser: Any) -> None:
        self.denoiser = denoiser


def cfg_denoiser_callback(params: CFGDenoiserParams) -> None:
    _call("cfg_denoiser", params)


def model_loaded_callback(sd_model: Any) -> None:
    _call("model_loaded", sd_model)


def remove_callbacks_for_function(callback_func: Callable[..., Any]) -> None:
    for callbacks in callback_map.values():
        for item in [one for one in callbacks if one.callback == callback_func]:
            callbacks.remove(item)


def _registrar(category: str) -> Callable[..., None]:
    callbacks = callback_map[f"callbacks_{category}"]
    if FORGE:

        def on(callback: Callable[..., Any], *, name: str | None = None) -> None:
            add_callback(callbacks, callback, name=name, category=category)
    else:

        def on(callback: Callable[..., Any]) -> None:  # type: ignore[misc]
            add_callback(callbacks, callback)

    return on


on_app_started = _registrar("app_started")
on_before_reload = _registrar("on_reload")
on_cfg_denoiser = _registrar("cfg_denoiser")
on_model_loaded = _registrar("model_loaded")
on_ui_tabs = _registrar("ui_tabs")
on_ui_settings = _registrar("ui_settings")
on_before_component = _registrar("before_component")
on_after_component = _registrar("after_component")
on_infotext_pasted = _registrar("infotext_pasted")
on_script_unloaded = _registrar("script_unloaded")
on_before_ui = _registrar("before_ui")
