"""What stands before every route: host names, origins, headers, and the last catch. Pure ASGI.

Host allow-list (a foreign page whose name was made to point here sends its own name), origin check on every
unsafe method (a browser says where a request comes from; another port of this computer is another origin),
no CORS, a CSP without inline code, and no WebSocket.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Callable, Iterable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stablequeue_client.shared.errors import AuthenticationError
from stablequeue_client.shared.host_names import FurtherNames, host_name, machine_names
from stablequeue_hub.access.body_lanes import LEAVE_KEY
from stablequeue_hub.access.keys import credentials_of
from stablequeue_hub.access.network import is_loopback
from stablequeue_hub.errors import UntrustedOriginError
from stablequeue_hub.http.request_context import PREFIX_KEY
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
OPEN_PATH = "/healthz"
PREFIX_HEADER = b"x-forwarded-prefix"
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]{1,100}){1,8}")
_NO_STORE = (b"cache-control", b"no-store")


class AllowedHosts:
    """The names under which the hub may be called. ``listening`` tells the address it listens on now."""

    def __init__(self, listening: Callable[[], str], further: Iterable[str] = ()) -> None:
        self._listening = listening
        self.further = FurtherNames.of(further)
        self._machine = machine_names()

    def allows(self, host: str, reached_at: str) -> bool:
        """``host``: the Host header. ``reached_at``: this computer's address of the connection.

        An address of this computer is fine as it is: only names can be made to point elsewhere.
        """
        name = host_name(host)
        if name in LOCAL_NAMES or name in self.further:
            return True
        listening = self._listening()
        if not name or is_loopback(listening):
            return bool(name) and name == listening
        return name in self._machine or name == host_name(listening) or _same_address(name, reached_at)


def _same_address(name: str, reached_at: str) -> bool:
    try:
        return ipaddress.ip_address(name) == ipaddress.ip_address(reached_at.partition("%")[0])
    except ValueError:
        return False


def _below_prefix(scope: Scope) -> Scope:
    """The request as it would be without a proxy that shows the hub below a path, and says so.

    ``PREFIX_KEY`` of the scope is then that path. The proxy may have taken it off already, or not.
    """
    told = [value for name, value in scope["headers"] if name == PREFIX_HEADER]
    prefix = told[0].decode("latin-1").strip().rstrip("/") if len(told) == 1 else ""
    if not _PREFIX.fullmatch(prefix) or "/." in prefix:
        return scope
    path, raw = scope["path"], scope.get("raw_path") or scope["path"].encode()
    if path == prefix or path.startswith(f"{prefix}/"):
        path, raw = path[len(prefix) :] or "/", raw[len(prefix) :] or b"/"
    return {**scope, "path": path, "raw_path": raw, PREFIX_KEY: prefix}


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
        started, begun = False, asyncio.Event()
        scope = _below_prefix(scope)
        head = scope["method"] == "HEAD"

        async def guarded_send(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                begun.set()
                headers = [*message.get("headers", ())]
                own_rule = any(name.lower() == b"cache-control" for name, _ in headers)
                message["headers"] = [*headers, *HEADERS, *(() if own_rule else (_NO_STORE,))]
            elif head:
                return
            await send(message)
            if head:
                await send({"type": "http.response.body"})

        async def begun_then_gone() -> Message:
            """Who asks for the head alone waits for no body, however long it would go on."""
            await begun.wait()
            return {"type": "http.disconnect"}

        if head:  # every GET route answers HEAD: the same, without the body
            scope, receive = {**scope, "method": "GET"}, begun_then_gone

        problem = self._problem(scope)
        if problem is not None:
            await error_answer(UntrustedOriginError(problem))(scope, receive, guarded_send)
            return
        leave: list[Callable[[], None]] = []
        scope = {**scope, LEAVE_KEY: leave}
        try:
            await self._app(scope, receive, guarded_send)
        except Exception as exc:
            answer = unexpected_answer(exc)
            if not started:
                await answer(scope, receive, guarded_send)
        finally:
            for call in leave:
                call()

    def _problem(self, scope: Scope) -> str | None:
        if scope["path"] == OPEN_PATH and scope["method"] in SAFE_METHODS:
            return None  # a health check knows no name, and nothing there is secret
        headers = _few_headers(scope["headers"])
        hosts = headers[b"host"]
        reached_at = (scope.get("server") or ("", None))[0]
        if len(hosts) != 1 or not self._hosts.allows(hosts[0], reached_at):
            name = host_name(hosts[0]) if len(hosts) == 1 else ""
            return f"The request's host name is not one of the hub's: {name[:100] or 'none'}."
        if scope["method"] in SAFE_METHODS:
            return None
        return _origin_problem(headers, hosts[0], self._hosts.further, with_key=_shows_key(scope["headers"]))


def _shows_key(raw: Iterable[tuple[bytes, bytes]]) -> bool:
    """Return whether a key decides who asks. What means nothing does not: the session would decide."""
    try:
        return credentials_of(Headers(raw=list(raw))) is not None
    except AuthenticationError:
        return False


def _few_headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[bytes, list[str]]:
    found: dict[bytes, list[str]] = {
        b"host": [],
        b"origin": [],
        b"x-forwarded-host": [],
        b"sec-fetch-site": [],
        b"cookie": [],
    }
    for name, value in raw:
        if name in found:
            found[name].append(value.decode("latin-1"))
    return found


def _origin_problem(
    headers: dict[bytes, list[str]], host: str, further: FurtherNames, *, with_key: bool
) -> str | None:
    """An unsafe request must come from the hub's own page, or from a program that shows a key."""
    origins, sites = headers[b"origin"], headers[b"sec-fetch-site"]
    own = (f"http://{host.lower()}", f"https://{host.lower()}")
    called = [host, *headers[b"x-forwarded-host"]]
    if any(
        origin.lower() not in own and not further.trust_origin(origin.lower(), called) for origin in origins
    ):
        return "The request came from a page of another origin."
    if any(site not in ("same-origin", "none") for site in sites):
        return "The request came from a page of another site."
    if headers[b"cookie"] and not with_key and not origins and not sites:
        return "The request carries a session cookie but no Origin."
    return None
