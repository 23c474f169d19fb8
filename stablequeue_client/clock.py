"""Time, as something that is passed in: monotonic for intervals, the wall for stamps and to see it jump."""

from __future__ import annotations

import threading
import time
from typing import Protocol

JUMP_S = 60.0
"""The wall moving this much against the monotonic clock means: the machine slept, or its clock was set."""


class Clock(Protocol):
    """Where the agent's time comes from."""

    def now(self) -> float:
        """Seconds since 1970 UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that only grow; they may stand still while the machine sleeps."""
        ...

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait until ``event`` is set or the time is over; whether it is set."""
        ...


class SystemClock:
    """The computer's clocks."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return event.wait(max(0.0, seconds))


SYSTEM_CLOCK = SystemClock()


class JumpWatch:
    """Notices that the machine slept or its clock was set."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset = clock.now() - clock.monotonic()

    def jumped(self) -> bool:
        """Return whether it happened since the last call."""
        offset = self._clock.now() - self._clock.monotonic()
        moved = abs(offset - self._offset) > JUMP_S
        self._offset = offset
        return moved
