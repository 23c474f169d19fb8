"""The way to the hub: whether it works, since when, why not, and when to try again.

Heartbeat and sync share one, so that an outage is probed once and not twice; each keeps its own connection.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from stablequeue_client.clock import Clock
from stablequeue_client.hub_client.backoff import Backoff
from stablequeue_client.hub_client.connection import RETRY_AFTER
from stablequeue_client.shared.errors import (
    AuthenticationError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    ProtocolMismatchError,
    StableQueueError,
    UsageError,
)

logger = logging.getLogger(__name__)

REFUSED_RETRY_S = 300.0
"""A hub that refuses our key or our version is asked again this rarely."""

PROBE_S = 30.0
"""Longer than one request that is not answered takes."""

REFUSALS = (
    AuthenticationError, ForbiddenError, NotFoundError, ConflictError, ProtocolMismatchError, UsageError,
)  # fmt: skip


@dataclass(frozen=True)
class LinkState:
    """``problem`` None: the last call went through. ``since``: Unix seconds of the last change."""

    problem: StableQueueError | None
    since: float


class HubLink:
    """Shared by threads."""

    def __init__(self, clock: Clock, backoff: Backoff | None = None) -> None:
        self._clock = clock
        self._backoff = backoff or Backoff()
        self._lock = threading.Lock()
        self._next_try = clock.monotonic()
        self._problem: StableQueueError | None = None
        self._since = clock.now()
        self._on_reconnect: list[Callable[[], None]] = []

    def on_reconnect(self, call: Callable[[], None]) -> None:
        """``call`` when the hub answers again."""
        self._on_reconnect.append(call)

    def retry_in(self) -> float:
        """Seconds until the caller may call the hub; 0 is now.

        During an outage one caller probes; the others' turn comes when it has an answer or took too long.
        """
        with self._lock:
            wait = self._next_try - self._clock.monotonic()
            if wait > 0:
                return wait
            if self._problem is not None:
                self._next_try = self._clock.monotonic() + PROBE_S
            return 0.0

    def state(self) -> LinkState:
        with self._lock:
            return LinkState(self._problem, self._since)

    def succeeded(self) -> None:
        """A call went through: the hub is there."""
        with self._lock:
            self._backoff.success()
            self._next_try = self._clock.monotonic()
            returned = self._problem is not None
            if returned:
                logger.info("The hub answers again.", extra={"action": "hub_reached"})
                self._problem, self._since = None, self._clock.now()
        if returned:
            for call in self._on_reconnect:
                call()

    def failed(self, error: StableQueueError) -> float:
        """A call failed; the seconds until the next try. A hub that refuses is asked every 5 minutes."""
        asked = error.details.get(RETRY_AFTER)
        with self._lock:
            if isinstance(error, REFUSALS):
                wait = REFUSED_RETRY_S
            else:
                wait = self._backoff.failure(float(asked) if asked is not None else None)
            self._next_try = self._clock.monotonic() + wait
            if self._problem is None or self._problem.code != error.code:
                logger.warning(
                    "%s %s", error.message, error.remedy, extra={"action": "hub_failed", "code": error.code}
                )
                self._since = self._clock.now()
            self._problem = error
        return wait

    def try_now(self) -> None:
        """Somebody asks for it: the wait is over."""
        with self._lock:
            self._next_try = self._clock.monotonic()
