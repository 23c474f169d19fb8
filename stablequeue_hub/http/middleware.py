"""What stands before every route: host names, origins, headers, and the last catch. Pure ASGI.

Host allow-list (a foreign page whose name was made to point here sends its own name), origin check on every
unsafe method (a browser says where a request comes from; another port of this computer is another origin),
no CORS, a CSP without inline code, and no WebSocket.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stablequeue_hub.access.network import is_loopback
from stablequeue_hub.errors import UntrustedOriginError
from stablequeue_hub.http.responses import error_answer, unexpected_answer

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = (
    (b"content-security-policy", CSP.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),  # with no-referrer a form of our own page says "Origin: null"
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
_NO_STORE = (b"cache-control", b"no-store")


class AllowedHosts:
    """The names under which the hub may be called. ``listening`` tells the address it listens on now."""

    def __init__(self, listening: Callable[[], str], further: Iterable[str] = ()) -> None:
        self._listening = listening
        self._further = frozenset(_plain_name(name) for name in further)
        self._machine = machine_names()

    def allows(self, host: str, reached_at: str) -> bool:
        """``host``: the Host header. ``reached_at``: this computer's address of the connection.

        An address of this computer is fine as it is: only names can be made to point elsewhere.
        """
        name = _plain_name(host)
        if name in LOCAL_NAMES or name in self._further:
            return True
        listening = self._listening()
        if is_loopback(listening):
            return name == listening
        return name in self._machine or name == _plain_name(listening) or _same_address(name, reached_at)


def machine_names() -> frozenset[str]:
    """The computer's own name, also as mDNS has it; asks no name server."""
    name = socket.gethostname().lower()
    short = name.split(".", 1)[0]
    return frozenset({name, short, f"{short}.local"}) - {""}


def _plain_name(host: str) -> str:
    """Lower case, without port, brackets and a final dot."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    name = host if host.count(":") > 1 else host.partition(":")[0]
    return name.rstrip(".")


def _same_address(name: str, reached_at: str) -> bool:
    try:
        return ipaddress.ip_address(name) == ipaddress.ip_address(reached_at.partition("%")[0])
    except ValueError:
        return False


class SecurityMiddleware:
    """The middleware."""

    def __init__(self, app: ASGIApp, hosts: AllowedHosts) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False
        extra = HEADERS if scope["path"].startswith("/static/") else (*HEADERS, _NO_STORE)

        async def guarded_send(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", ()), *extra]
            await send(message)

        problem = self._problem(scope)
        if problem is not None:
            await error_answer(UntrustedOriginError(problem))(scope, receive, guarded_send)
            return
        try:
            await self._app(scope, receive, guarded_send)
        except Exception as exc:
            answer = unexpected_answer(exc)
            if not started:
                await answer(scope, receive, guarded_send)

    def _problem(self, scope: Scope) -> str | None:
        headers = _few_headers(scope["headers"])
        hosts = headers[b"host"]
        reached_at = (scope.get("server") or ("", None))[0]
        if len(hosts) != 1 or not self._hosts.allows(hosts[0], reached_at):
            return "The request's host name is not one of the hub's."
        if scope["method"] in SAFE_METHODS:
            return None
        return _origin_problem(headers, hosts[0])


def _few_headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[bytes, list[str]]:
    found: dict[bytes, list[str]] = {
        b"host": [],
        b"origin": [],
        b"sec-fetch-site": [],
        b"cookie": [],
        b"keys": [],
    }
    for name, value in raw:
        if name in found:
            found[name].append(value.decode("latin-1"))
        elif name in (b"authorization", b"x-api-key"):
            found[b"keys"].append("given")
    return found


def _origin_problem(headers: dict[bytes, list[str]], host: str) -> str | None:
    """An unsafe request must come from the hub's own page, or from a program that shows a key."""
    origins, sites = headers[b"origin"], headers[b"sec-fetch-site"]
    if any(origin.lower() not in (f"http://{host.lower()}", f"https://{host.lower()}") for origin in origins):
        return "The request came from a page of another origin."
    if any(site not in ("same-origin", "none") for site in sites):
        return "The request came from a page of another site."
    if headers[b"cookie"] and not headers[b"keys"] and not origins and not sites:
        return "The request carries a session cookie but no Origin."
    return None
