"""What a person asks of the hub through a WebUI: now and once, with this server's key, answered in words.

Unlike ``HubViewCache`` nothing is kept, and whoever asks waits: call it in a thread of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.hub_client.connection import Timeouts
from stablequeue_client.hub_client.identity import Identity
from stablequeue_client.hub_client.joined_connection import (
    JoinedConnection,
    NotJoinedError,
    PerIdentityCache,
    connection_factory,
)
from stablequeue_client.hub_client.membership import OtherHubError
from stablequeue_client.hub_client.view_cache import describe_failure
from stablequeue_client.shared.errors import (
    AuthenticationError,
    HubUnreachableError,
    NotAHubError,
    ProtocolMismatchError,
    StableQueueError,
)

T = TypeVar("T")
Call = Callable[[HubApi], T]
TIMEOUTS = Timeouts(connect=3.0, read=10.0, sync=20.0, total=30.0)
IDLE_MAX = 4
"""Connections that stay open between two calls."""
GREETED_S = 10.0
"""How long after its last answer the hub's identity is not checked again."""
_NOT_THE_HUB = (
    HubUnreachableError,
    AuthenticationError,
    NotJoinedError,
    OtherHubError,
    ProtocolMismatchError,
)


class NoHubError(StableQueueError):
    """This WebUI has no hub."""

    code = "no_hub"
    http_status = 409
    remedy_text = 'Choose "Set up": use this computer as the hub, or join another one.'


class HubAwayError(StableQueueError):
    """The hub cannot be reached now."""

    code = "hub_away"
    http_status = 502


class UserCalls:
    """Any thread may call; each call has a connection for itself."""

    def __init__(
        self,
        server_dir: Path,
        *,
        ca_file: Callable[[], str | None] = lambda: None,
        timeouts: Timeouts = TIMEOUTS,
    ) -> None:
        self._connect, self._timeouts = connection_factory(ca_file), timeouts
        self._server = PerIdentityCache(server_dir, _IdleConnections)

    def run(self, call: Call[T]) -> T:
        """Run ``call``. Raises NoHubError, HubAwayError (with what to do), and the hub's refusals."""
        free = self._server.current()
        if free is None:
            damage = self._server.damage
            raise damage.with_traceback(None) if damage else NoHubError()
        connection = free.take() or JoinedConnection(free.identity, self._connect, self._timeouts)
        try:
            answer = call(connection.hub())
        except _NOT_THE_HUB as error:
            connection.close()
            raise _unreachable(error, free.identity.hub_url, greeted=connection.greeted) from error
        except StableQueueError:
            free.give_back(connection)
            raise
        free.give_back(connection)
        return answer


class _IdleConnections:
    """Connections of one identity on which its hub answered a moment ago."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self._lock = threading.Lock()
        self._free: list[tuple[JoinedConnection, float]] = []
        self._most = IDLE_MAX

    def take(self) -> JoinedConnection | None:
        with self._lock:
            if not self._free:
                return None
            connection, used = self._free.pop()
        if time.monotonic() - used < GREETED_S:
            return connection
        connection.close()
        return None

    def give_back(self, connection: JoinedConnection) -> None:
        with self._lock:
            if len(self._free) < self._most:
                self._free.append((connection, time.monotonic()))
                return
        connection.close()

    def close(self) -> None:
        """Another identity counts now; what comes back is closed."""
        with self._lock:
            self._most = 0
            while self._free:
                self._free.pop()[0].close()


def _unreachable(error: StableQueueError, url: str, *, greeted: bool) -> HubAwayError:
    if greeted and isinstance(error, NotAHubError):
        return HubAwayError(f"The hub at {url} is too old for that.", remedy="Update the hub.")
    _, message, remedy = describe_failure(error, url)
    return HubAwayError(message, remedy=remedy.replace("It is retried automatically.", "Then try again."))
