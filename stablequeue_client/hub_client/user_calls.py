"""What a person asks of the hub through a WebUI: now and once, with this server's key, answered in words.

Unlike ``HubReader`` nothing is kept, and whoever asks waits for the answer: call it in a thread of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.hub_client.connection import Timeouts
from stablequeue_client.hub_client.identity import Identity, load_identity
from stablequeue_client.hub_client.joining import OtherHubError
from stablequeue_client.hub_client.view_cache import NotJoinedError, explain, greet
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
KEPT = 4
"""Connections that stay open between two calls."""
GREETED_S = 10.0
"""So long after its last answer nobody else is taken for the hub."""
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
    """The hub cannot be asked just now."""

    code = "hub_away"
    http_status = 502


class HubCalls:
    """Any thread may call; each call has a connection for itself."""

    def __init__(
        self,
        server_dir: Path,
        *,
        ca_file: Callable[[], str | None] = lambda: None,
        timeouts: Timeouts = TIMEOUTS,
    ) -> None:
        self._server_dir, self._ca_file, self._timeouts = server_dir, ca_file, timeouts
        self._lock = threading.Lock()
        self._identity: Identity | None = None
        self._free: list[tuple[HubApi, float]] = []

    def run(self, call: Call[T]) -> T:
        """What ``call`` gives. Raises NoHubError, HubAwayError (with what to do), and the hub's refusals."""
        identity = load_identity(self._server_dir)
        if identity is None:
            raise NoHubError
        api = self._taken(identity)
        greeted = api is not None
        api = api or HubApi(identity.hub_url, identity.key, ca_file=self._ca_file(), timeouts=self._timeouts)
        try:
            if not greeted:
                greet(api, identity)
                greeted = True
            answer = call(api)
        except _NOT_THE_HUB as error:
            api.close()
            raise _away(error, identity.hub_url, greeted=greeted) from error
        except StableQueueError:
            self._give_back(api, identity)
            raise
        self._give_back(api, identity)
        return answer

    def _taken(self, identity: Identity) -> HubApi | None:
        """A connection on which this hub was greeted a moment ago; None when there is none."""
        with self._lock:
            if identity != self._identity:
                self._identity = identity
                while self._free:
                    self._free.pop()[0].close()
            if not self._free:
                return None
            api, used = self._free.pop()
        if time.monotonic() - used < GREETED_S:
            return api
        api.close()
        return None

    def _give_back(self, api: HubApi, identity: Identity) -> None:
        with self._lock:
            if identity == self._identity and len(self._free) < KEPT:
                self._free.append((api, time.monotonic()))
                return
        api.close()


def _away(error: StableQueueError, url: str, *, greeted: bool) -> HubAwayError:
    if greeted and isinstance(error, NotAHubError):
        return HubAwayError(f"The hub at {url} is too old for that.", remedy="Update the hub.")
    _, message, remedy = explain(error, url)
    return HubAwayError(message, remedy=remedy.replace("It is tried again by itself.", "Then try again."))
