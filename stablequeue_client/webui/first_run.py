"""The first run in a WebUI: views and buttons of "Set up" and "This hub"."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from markupsafe import Markup

from stablequeue_client.webui.runtime import Runtime


def setup_view(rt: Runtime) -> Markup:
    """ "Set up": two ways to a hub, or what this WebUI is connected to."""
    raise NotImplementedError


def hub_view(rt: Runtime) -> Markup:
    """ "This hub": the hub of this computer."""
    raise NotImplementedError


ACTIONS: dict[str, Callable[[Runtime, Mapping[str, str]], Markup]] = {}
