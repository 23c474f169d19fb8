"""The page "StableQueue" of the WebUI's settings. No secret is ever an option: config.json can be downloaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stablequeue_client.webui.compat import Host
    from stablequeue_client.webui.runtime import Runtime


def register(rt: Runtime) -> None:
    """Have the host ask for our options whenever it builds its settings page."""
    raise NotImplementedError


def values_of(host: Host) -> dict[str, Any]:
    """What is set now, by the names of ``WebuiSettings``; what the host does not have is left out."""
    raise NotImplementedError
