"""The tab's views and buttons, from what is known here and what the hub says."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from markupsafe import Markup

from stablequeue_client.webui.runtime import Runtime

VIEWS: dict[str, Callable[[Runtime, str, Mapping[str, str]], Markup]] = {}
"""View -> (runtime, ident, query) -> fragment. May wait about a second: call it in a worker."""

ACTIONS: dict[str, Callable[[Runtime, Mapping[str, str]], Markup]] = {}
"""``this/rescan`` ... -> (runtime, form) -> what happened, as a fragment."""
