"""The tab of an extension that cannot run: one sentence and the remedy. Needs only the host and gradio."""

from __future__ import annotations

import importlib
import logging
import sys
from typing import Any

from stablequeue_client.webui.host import sentence_tab
from stablequeue_client.webui.host.python_requirements import (
    REQUIREMENTS,
    PythonRequirement,
    installed_version,
    missing,
    too_old,
)

log = logging.getLogger("stablequeue")


def show(error: Exception) -> None:
    """Have the host show why StableQueue does not run. Never raises."""
    sentence_tab.show(lambda: sentences(error))


def tabs(error: Exception) -> list[tuple[Any, str, str]]:
    """A tab that says why StableQueue does not run, as the host wants it while it builds its page."""
    return sentence_tab.tabs(sentences(error))


def sentences(error: Exception) -> str:
    """Return what is wrong and what helps, as HTML; the log gets all of it."""
    log.error("StableQueue does not run: %s", error, exc_info=error)
    return sentence_tab.paragraphs(*explain(error))


def explain(error: Exception) -> tuple[str, str]:
    """(what is wrong, what helps) for an exception of the start."""
    absent, old = missing(), too_old()
    if absent:
        return (
            f"StableQueue does not run: {_listed(absent)} is missing in the WebUI's Python.",
            f"Close the WebUI, run {_pip(absent)}, and start it again.",
        )
    if old:
        return (
            f"StableQueue does not run: {_listed(old)} in the WebUI's Python is too old.",
            f"Close the WebUI, run {_pip(old)}, and start it again.",
        )
    if isinstance(error, ImportError):
        return _unloadable(error)
    return (
        f"StableQueue could not start: {type(error).__name__}: {error}",
        "The WebUI's log says where; updating the extension may help.",
    )


def _unloadable(error: ImportError) -> tuple[str, str]:
    name = (error.name or "").partition(".")[0] or _failing()
    if name == __name__.partition(".")[0]:
        return (
            f"StableQueue does not run: its own files do not fit together ({error}).",
            "Close the WebUI, delete the extension's folder, install it again, and start the WebUI.",
        )
    if not name:
        return (
            f"StableQueue does not run: something it needs cannot be loaded ({error}).",
            "The WebUI's log says what; installing that anew in the WebUI's Python may help.",
        )
    version = installed_version(name)
    again = f"{name}=={version}" if version else name  # the same one: the WebUI may have pinned it
    return (
        f"StableQueue does not run: {name} cannot be loaded ({error}).",
        f'Close the WebUI, run "{sys.executable}" -m pip install --force-reinstall --no-deps {again}, '
        "and start it again.",
    )


def _failing() -> str:
    """The first of our requirements that cannot be imported: what raises does not always say who it is."""
    for item in REQUIREMENTS:
        try:
            importlib.import_module(item.module)
        except Exception:
            return item.module
    return ""


def _listed(items: list[PythonRequirement]) -> str:
    return ", ".join(item.name for item in items)


def _pip(items: list[PythonRequirement]) -> str:
    return f'"{sys.executable}" -m pip install ' + " ".join(f'"{item.requirement}"' for item in items)
