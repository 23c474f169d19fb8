"""The time, passed in: the wall clock for what is shown and stored, the monotonic one for intervals.

``ClockJumps`` says whether the wall clock can be believed: what is ended or removed by its age must not go
because somebody set the computer's clock, or because it woke up with another time.
"""

from __future__ import annotations

import logging
import math
import time
from typing import Protocol

JUMP_S = 3600.0
"""As far as a clock that runs never gets away from the monotonic one between two looks."""
DOUBT_S = 3600.0
"""How long after a jump nothing is ended by age: time for a person, or the time service, to set it right."""
_log = logging.getLogger("stablequeue_hub")


class HubClock(Protocol):
    """Where the time comes from."""

    def now_ms(self) -> int:
        """Milliseconds since 1970 UTC; may jump when the computer's clock is set."""
        ...

    def monotonic(self) -> float:
        """Seconds that only grow."""
        ...


class SystemHubClock:
    """The computer's clocks."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()


SYSTEM_CLOCK = SystemHubClock()


class ClockJumps:
    """Compares the wall clock's step with the monotonic clock's, from one look to the next."""

    def __init__(self, clock: HubClock) -> None:
        self._clock = clock
        self._wall_s, self._steady_s = self._read()
        self._doubtful_until = -math.inf

    def doubtful(self) -> bool:
        """Return whether the wall clock jumped since the last call or within the last hour; logs a jump."""
        wall_s, steady_s = self._read()
        jumped_s = (wall_s - self._wall_s) - (steady_s - self._steady_s)
        self._wall_s, self._steady_s = wall_s, steady_s
        if abs(jumped_s) > JUMP_S:
            self._doubtful_until = steady_s + DOUBT_S
            _log.warning(
                "The computer's clock jumped by %+.1f hours; for an hour no job ends at its deadline and"
                " nothing is removed by age. Check that the clock is right.",
                jumped_s / 3600,
                extra={"action": "clock_jumped"},
            )
        return steady_s < self._doubtful_until

    def _read(self) -> tuple[float, float]:
        return self._clock.now_ms() / 1000, self._clock.monotonic()
