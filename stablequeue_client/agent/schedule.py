"""When each folder is walked next. Pure but for the dice.

Local folders hourly and network folders every 6 hours, each +-25 % so that not all disks and servers
start together; earlier for file events (debounced) and for folders that are not well.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

LOCAL_WALK_S = 3_600.0
NETWORK_WALK_S = 6 * 3_600.0
SPREAD = 0.25
DEBOUNCE_S = 0.5
DEBOUNCE_MAX_S = 2.0
RETRY_WALK_S = 606.0
"""A folder that is not well is looked at again this soon: just over the 10 minutes of two agreeing scans."""
REST_FACTOR = 10
REST_MAX_S = 60.0
"""After a walk, events lead to the next only after this many times as long: a stream of them costs little."""


@dataclass
class _Due:
    network: bool
    at: float
    first_event: float | None = None
    rest_until: float = 0.0


class Schedule:
    """Times are monotonic seconds. Not for several threads: the caller locks."""

    def __init__(self, *, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._uniform = uniform
        self._due: dict[str, _Due] = {}

    def add(self, root_id: str, *, network: bool, now: float) -> None:
        """A folder, to be walked at once."""
        self._due[root_id] = _Due(network, now)

    def started(self, root_id: str, now: float) -> None:
        """A walk starts now; the next comes by itself. Events from now on may be too late for this one."""
        due = self._due[root_id]
        every = NETWORK_WALK_S if due.network else LOCAL_WALK_S
        due.at = now + every * self._uniform(1 - SPREAD, 1 + SPREAD)
        due.first_event = None

    def ended(self, root_id: str, now: float, *, took_s: float, healthy: bool) -> None:
        """The walk is over."""
        due = self._due[root_id]
        due.rest_until = now + min(REST_FACTOR * took_s, REST_MAX_S)
        if due.first_event is not None:
            due.at = max(due.at, due.rest_until)
        if not healthy:
            due.at = min(due.at, now + RETRY_WALK_S * self._uniform(1.0, 1 + SPREAD))

    def event(self, root_id: str, now: float) -> None:
        """Something changed in it: walk when it has been quiet for a moment, but do not wait for ever."""
        due = self._due[root_id]
        if due.at <= now:
            return
        if due.first_event is None:
            due.first_event = now
        wanted = min(now + DEBOUNCE_S, due.first_event + DEBOUNCE_MAX_S)
        due.at = max(wanted, due.rest_until)

    def at_once(self, root_id: str, now: float) -> None:
        """Somebody asks for a walk."""
        due = self._due[root_id]
        due.at = min(due.at, now)

    def due(self, now: float) -> list[str]:
        """The folders to walk now, in the order they were added."""
        return [root_id for root_id, due in self._due.items() if due.at <= now]

    def next_in(self, now: float) -> float:
        """Seconds until the next one is due; an hour when there is none."""
        return max(0.0, min((due.at - now for due in self._due.values()), default=3_600.0))
