"""What a route answers a request with: the hub, and who asks."""

from __future__ import annotations

from starlette.requests import HTTPConnection, Request

from stablequeue_hub.access.keys import Principal
from stablequeue_hub.hub import Hub

PREFIX_KEY = "stablequeue_prefix"
"""Of a request's scope: the path below which a proxy shows the hub. Set by the middleware."""


def hub_of(request: HTTPConnection) -> Hub:
    hub = request.app.state.hub
    assert isinstance(hub, Hub)
    return hub


def page_base(request: Request, below: str = ".") -> str:
    """Where the hub's page lies, to begin a link with: the path below which a proxy shows it, if the proxy
    says so. Else relative to the address asked for, so that it fits below any path; ``below``: the way up
    from it."""
    prefix = request.scope.get(PREFIX_KEY, "")
    assert isinstance(prefix, str)
    return prefix or below


def principal_of(request: Request) -> Principal:
    """Return who sent the request; only in routes that are not public."""
    principal = request.state.principal
    assert isinstance(principal, Principal)
    return principal
