"""When each folder is walked next. Pure but for the dice.

Local folders hourly (or as its owner set it) and network folders every 6 hours, each +-25 % so that not
all disks and servers start together; earlier for file events (debounced) and for folders that are not well.
"""

from __future__ import annotations

import math
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
LONGEST_WAIT_S = 86_400.0
"""After a walk, events lead to the next only after this many times as long: a stream of them costs little."""


@dataclass
class _Due:
    every_s: float
    at: float
    first_event: float | None = None
    rest_until: float = 0.0


class ScanSchedule:
    """Times are monotonic seconds. Not for several threads: the caller locks."""

    def __init__(
        self,
        *,
        local_walk_s: float = LOCAL_WALK_S,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """``local_walk_s`` 0: no folder is walked again only because time passed."""
        self._local_walk_s = local_walk_s
        self._uniform = uniform
        self._due: dict[str, _Due] = {}

    def add(self, root_id: str, *, network: bool, now: float, at_once: bool = True) -> None:
        """A folder, to be walked at once, or first when its time has come."""
        every_s = max(NETWORK_WALK_S, self._local_walk_s) if network else self._local_walk_s
        due = self._due[root_id] = _Due(every_s if self._local_walk_s else math.inf, now)
        if not at_once:
            due.at = self._next(due, now)

    def _next(self, due: _Due, now: float) -> float:
        return now + due.every_s * self._uniform(1 - SPREAD, 1 + SPREAD)

    def started(self, root_id: str, now: float) -> None:
        """A walk starts now; the next comes by itself. Events from now on may be too late for this one."""
        due = self._due[root_id]
        due.at = self._next(due, now)
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
        """Seconds until the next one is due, at most a day."""
        return max(0.0, min([LONGEST_WAIT_S, *(due.at - now for due in self._due.values())]))
