"""What a route answers a request with: the hub, and who asks."""

from __future__ import annotations

from starlette.requests import HTTPConnection, Request

from stablequeue_hub.access.keys import Principal
from stablequeue_hub.hub import Hub


def hub_of(request: HTTPConnection) -> Hub:
    hub = request.app.state.hub
    assert isinstance(hub, Hub)
    return hub


def principal_of(request: Request) -> Principal:
    """Return who sent the request; only in routes that are not public."""
    principal = request.state.principal
    assert isinstance(principal, Principal)
    return principal
