"""How long a request may wait at the hub before anything on the way loses patience.

A proxy ends a request that stays silent, after a time that nobody tells: 504, 502, or no answer at all. A
shorter wait gets its answer, so each such end halves the next one, until the proxy may have changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from stablequeue_client.shared.errors import HubUnreachableError, NotAHubError, StableQueueError

SHORTEST_S = 2.0
REMEMBERED_S = 600.0
"""After so long the whole wait is tried again: it costs one request that ends early."""


class Patience:
    """For one thread."""

    def __init__(self, longest_s: float, now: Callable[[], float] = time.monotonic) -> None:
        self._longest_s, self._now = longest_s, now
        self._wait_s, self._shortened_at = longest_s, 0.0

    @property
    def wait_s(self) -> float:
        """How long the next request shall wait."""
        if self._now() - self._shortened_at > REMEMBERED_S:
            self._wait_s = self._longest_s
        return self._wait_s

    def shorten(self, error: StableQueueError) -> bool:
        """Wait less from now on; False when the wait is not what ``error`` came from."""
        if not ended_on_the_way(error) or self._wait_s <= SHORTEST_S:
            return False
        self._wait_s, self._shortened_at = max(SHORTEST_S, self._wait_s / 2), self._now()
        return True


def ended_on_the_way(error: StableQueueError) -> bool:
    """The hub may be there all the same, and the request may be sent again."""
    return isinstance(error, HubUnreachableError) and not isinstance(error, NotAHubError)
