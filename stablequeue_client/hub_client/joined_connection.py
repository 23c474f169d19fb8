"""This server's way to the hub that it joined: who it is there, whether that hub answers, when to try again.

Everything in a WebUI that asks the hub goes this way. The agent has ``membership.Membership`` instead, which
may join, and so writes what is only read here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, Literal, Protocol, TypeVar

from stablequeue_client.clock import SYSTEM_CLOCK
from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.hub_client.connection import HTTP_STATUS, Timeouts
from stablequeue_client.hub_client.identity import FILE_NAME, Identity, load_identity
from stablequeue_client.hub_client.link import HubLink
from stablequeue_client.hub_client.membership import OtherHubError
from stablequeue_client.shared.errors import (
    AuthenticationError,
    BusyError,
    ConflictError,
    DataFolderError,
    ForbiddenError,
    NotAHubError,
    NotFoundError,
    ProtocolMismatchError,
    StableQueueError,
    UsageError,
)

Connect = Callable[[Identity, Timeouts], HubApi]
Fault = Literal["refused", "later", "hub"]
ITEM_REFUSALS = (UsageError, NotFoundError, ConflictError)
"""The hub will say the same of this one thing again; anything else can pass."""
HUB_REFUSALS = (AuthenticationError, BusyError, ForbiddenError, ProtocolMismatchError)
PROXY_SIGN_IN = frozenset({401, 407})
"""A proxy that wants somebody to sign in wants it of every request."""


class NotJoinedError(StableQueueError):
    """The server has not joined the hub yet."""

    code = "not_joined"


def connection_factory(ca_file: Callable[[], str | None]) -> Connect:
    """Return the function that makes connections. ``ca_file`` is called for each: it is a setting."""
    return lambda identity, timeouts: HubApi(
        identity.hub_url, identity.key, ca_file=ca_file(), timeouts=timeouts
    )


class JoinedConnection:
    """One identity at its hub, on one connection that opens with its first use. For one thread at a time;
    ``link`` may be shared."""

    def __init__(
        self, identity: Identity, connect: Connect, timeouts: Timeouts, link: HubLink | None = None
    ) -> None:
        self.identity, self.link = identity, link or HubLink(SYSTEM_CLOCK)
        self.greeted = False
        """Whether it is the hub that was joined which answers, as far as is known."""
        self._connect, self._timeouts = connect, timeouts
        self._hub: HubApi | None = None

    def hub(self) -> HubApi:
        """The hub that was joined: the key goes to no other. Raises NotJoinedError, OtherHubError, and what
        ``HubApi.health`` raises."""
        if self._hub is None:
            self._hub = self._connect(self.identity, self._timeouts)
        if not self.greeted:
            hub_id = self._hub.health().hub_id  # first: what is no hub is named as such, joined or not
            if self.identity.hub_id is None:
                raise NotJoinedError
            if hub_id != self.identity.hub_id:
                raise OtherHubError
            self.greeted = True
        return self._hub

    def fault(self, error: StableQueueError) -> Fault:
        """Tell whose fault it is that one thing (a job, a picture) did not get through, by asking the hub who
        it is. ``refused``: of the thing itself: the hub says so, or something on the way (a proxy's limit or
        filter) does while the hub answers. ``later``: of the thing, but it may pass. ``hub``: of the hub or
        the way to it, so that nothing else would get through either."""
        if isinstance(error, ITEM_REFUSALS):
            return "refused"
        if isinstance(error, HUB_REFUSALS):
            return "hub"
        self.greeted = False
        try:
            self.hub()
        except StableQueueError:
            return "hub"
        return "refused" if refused_on_the_way(error) else "later"

    def failed(self, error: StableQueueError) -> float:
        """A call failed: whoever answers next is asked first who it is. The seconds until then."""
        self.greeted = False
        return self.link.failed(error)

    def close(self) -> None:
        if self._hub is not None:
            self._hub.close()


def refused_on_the_way(error: StableQueueError) -> bool:
    """Somebody between us and the hub answered, and will say the same again."""
    status = error.details.get(HTTP_STATUS)
    return isinstance(error, NotAHubError) and isinstance(status, int) and _is_refusal(status)


def _is_refusal(status: int) -> bool:
    return 400 <= status < 500 and status not in PROXY_SIGN_IN


def refusal_text(error: StableQueueError) -> str:
    """Why one thing was refused, and what to do about it."""
    if not refused_on_the_way(error):
        return f"{error.message} {error.remedy}".strip()
    if error.details[HTTP_STATUS] == 413:
        return (
            "A proxy on the way to the hub refused it as too large (413). Raise the proxy's limit for "
            "request bodies (nginx: client_max_body_size), or update the hub, so that it goes in pieces."
        )
    advice = "Look at the proxy or filter before the hub."
    return f"Something on the way to the hub refused it: {error.message} {advice}"


class Closing(Protocol):
    """What belongs to one identity."""

    def close(self) -> None: ...


C = TypeVar("C", bound=Closing)


class PerIdentityCache(Generic[C]):
    """What ``make`` makes of the identity in ``server.json`` as it is now; another one begins anew. For any
    thread."""

    def __init__(self, server_dir: Path, make: Callable[[Identity], C]) -> None:
        self._server_dir, self._make = server_dir, make
        self._lock = threading.Lock()
        self._stamp: tuple[int, int] | None = None
        self._current: C | None = None
        self.damage: DataFolderError | None = None
        """Why the file cannot be read."""

    def current(self) -> C | None:
        """None without a file that can be read."""
        stamp = self._file_stamp()
        with self._lock:
            if stamp == self._stamp:
                return self._current
            if self._current is not None:
                self._current.close()
            self._stamp, self._current, self.damage = stamp, None, None
            try:
                identity = load_identity(self._server_dir)
            except DataFolderError as error:
                self.damage = error
            else:
                self._current = self._make(identity) if identity is not None else None
            return self._current

    def forget(self) -> None:
        """Begin anew, although the file is the same."""
        with self._lock:
            self._stamp = None

    def _file_stamp(self) -> tuple[int, int]:
        try:
            found = (self._server_dir / FILE_NAME).stat()
        except OSError:
            return 0, 0
        return found.st_mtime_ns, found.st_ino
