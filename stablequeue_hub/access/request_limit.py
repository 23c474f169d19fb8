"""Limits the requests of one key, or one browser's session: a token bucket.

Generous: a server's heartbeats, syncs and a tab in every browser stay far below it. It stops a program that
asks in a loop from taking the hub away from everybody else. In memory only.
"""

from __future__ import annotations

from stablequeue_hub.clock import SYSTEM_CLOCK, HubClock
from stablequeue_hub.errors import TooManyRequestsError

BURST_S = 20.0
"""A bucket holds what it gets in so many seconds."""
CLIENTS_MAX = 10_000


class RateLimiter:
    """Buckets by client: the id of a good key or the hash of a session's token. ``per_s`` 0: no limit."""

    def __init__(self, per_s: float, clock: HubClock = SYSTEM_CLOCK) -> None:
        self._per_s = per_s
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def acquire(self, client: str) -> None:
        """Take one token. Raises TooManyRequestsError with the seconds until there is one."""
        if not self._per_s:
            return
        now, burst = self._clock.monotonic(), self._per_s * BURST_S
        left, at = self._buckets.pop(client, (burst, now))
        left = min(burst, left + (now - at) * self._per_s)
        taken = left >= 1
        self._buckets[client] = (left - 1 if taken else left, now)  # at the end: the first is longest unheard
        if len(self._buckets) > CLIENTS_MAX:
            del self._buckets[next(iter(self._buckets))]
        if not taken:
            raise TooManyRequestsError(details={"retry_after_s": (1 - left) / self._per_s})
