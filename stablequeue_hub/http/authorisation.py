"""Who may do what. Every route names its access; a test goes through all routes and scopes.

``public``: anybody. ``read``: keys that may look (servers' own too), and the page. ``jobs``: keys that may
submit jobs (servers' own too), and the page of an owner. ``admin``: admin keys, and the page of an owner.
``join``: join and admin keys. ``server``: a server's own key, for its own path only. ``owner``: the same, or
an admin key, or the page of an owner. ``old_read`` and ``old_jobs``: as ``read`` and ``jobs``, and anybody
without a key where the owner opened the paths of the old contract (``HubSettings.legacy_open``).
"""

from __future__ import annotations

from typing import Literal

from starlette.requests import Request

from stablequeue_client.shared.errors import AuthenticationError, ForbiddenError, InvalidValueError
from stablequeue_hub.access.keys import Credentials, Principal, credentials_of
from stablequeue_hub.access.sessions import cookie_name, token_hash
from stablequeue_hub.errors import TooManyAttemptsError
from stablequeue_hub.http.request_context import hub_of
from stablequeue_hub.hub import Hub

Access = Literal["public", "read", "jobs", "admin", "join", "server", "owner", "old_read", "old_jobs"]

SCOPES_OF: dict[Access, frozenset[str]] = {
    "read": frozenset({"admin", "jobs", "view", "server"}),
    "jobs": frozenset({"admin", "jobs", "server"}),
    "admin": frozenset({"admin"}),
    "join": frozenset({"admin", "join"}),
    "server": frozenset({"server"}),
    "owner": frozenset({"admin", "server"}),
    "old_read": frozenset({"admin", "jobs", "view", "server"}),
    "old_jobs": frozenset({"admin", "jobs", "server"}),
}
KEYS_ONLY: frozenset[Access] = frozenset({"join", "server"})
"""What the page never does; its session is no use there."""
OPENED: frozenset[Access] = frozenset({"old_read", "old_jobs"})
"""What anybody may do where the owner said so."""
ANONYMOUS = Principal("open", "jobs")


class Require:
    """A route's dependency: lets the request through, or raises. ``access`` is read by tests and /docs."""

    def __init__(self, access: Access) -> None:
        self.access = access

    async def __call__(self, request: Request) -> None:
        if self.access != "public":
            request.state.principal = await authorise(request, self.access)
        _check_texts(request)


def _check_texts(request: Request) -> None:
    """PostgreSQL takes no NUL, and no name or text that is looked for has one: both databases answer the
    same. The page's own views leave it out by themselves. Raises InvalidValueError."""
    if not request.scope["path"].startswith("/api/"):
        return
    for name, value in request.query_params.multi_items():
        if "\x00" in value and name.isprintable():
            raise InvalidValueError(
                f"`{name[:64]}` in the address contains a NUL character.", remedy="Leave out %00."
            )


async def authorise(request: Request, access: Access) -> Principal:
    """Raises AuthenticationError, TooManyAttemptsError, TooManyRequestsError and ForbiddenError."""
    principal = await authenticate(request)
    if principal is None:
        if access not in OPENED or not hub_of(request).settings.legacy_open:
            raise AuthenticationError
        hub_of(request).rate_limiter.acquire(f"open:{client_address(request)}")
        return ANONYMOUS
    if principal.scope not in SCOPES_OF[access] or (principal.kind == "page" and access in KEYS_ONLY):
        raise ForbiddenError(f"A {principal.scope} key may not do that.")
    if access == "server" or (access == "owner" and principal.scope == "server"):
        _check_own_path(request, principal)
    return principal


def _check_own_path(request: Request, principal: Principal) -> None:
    wanted = request.path_params.get("server_id", principal.server_id)
    if wanted != principal.server_id:
        raise ForbiddenError("A server's key is for that server only.")


async def authenticate(request: Request) -> Principal | None:
    """Return the principal of the request's key or session; None without either, or when it is over.

    Raises AuthenticationError, TooManyAttemptsError, and TooManyRequestsError for a good one.
    """
    hub = hub_of(request)
    try:
        credentials = credentials_of(request.headers)
    except AuthenticationError:
        _note_failure(hub, request)
        raise
    if credentials is not None:
        principal = await check_key(hub, request, credentials)
        hub.rate_limiter.acquire(credentials.key_id)
        return principal
    session = await session_of(request)
    if session is not None:
        hub.rate_limiter.acquire(token_hash(_cookie(request)))
    return session


async def session_of(request: Request) -> Principal | None:
    """Return the principal of the page's session; None without one, or when it is over."""
    hub, token = hub_of(request), _cookie(request)
    if not token:
        return None
    if not hub.sessions.is_fresh(token):
        await hub.reading(lambda connection: hub.sessions.refresh(connection, token))
    return hub.sessions.check(token)


def _cookie(request: Request) -> str:
    return request.cookies.get(cookie_name(hub_of(request).settings.port), "")


async def check_key(hub: Hub, request: Request, credentials: Credentials) -> Principal:
    """Raises AuthenticationError, or TooManyAttemptsError when the address sent too many wrong keys."""
    key_id = credentials.key_id
    if not hub.keys.is_fresh(key_id):
        if not hub.keys.is_known(key_id):
            check_throttle(hub, request)
        await hub.reading(lambda connection: hub.keys.refresh(connection, key_id))
    principal = hub.keys.check(credentials)
    if principal is None:
        _note_failure(hub, request)
        raise AuthenticationError("This key is unknown, revoked or expired.")
    return principal


def check_throttle(hub: Hub, request: Request) -> None:
    """Raises TooManyAttemptsError while the address must wait."""
    wait_s = hub.login_throttle.wait_s(client_address(request))
    if wait_s > 0:
        raise TooManyAttemptsError(details={"retry_after_s": wait_s})


def _note_failure(hub: Hub, request: Request) -> None:
    check_throttle(hub, request)
    hub.login_throttle.record_failure(client_address(request))


def client_address(request: Request) -> str:
    return request.client.host if request.client else "unknown"
