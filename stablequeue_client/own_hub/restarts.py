"""When a hub that died is started again: soon at first, then less and less often, and not for ever."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

Liveness = Literal["off", "busy", "up", "down"]
"""``off``: it is not to run. ``busy``: somebody starts or updates it. ``down``: it is to run and died."""

FIRST_WAIT_S = 2.0
"""Time for whoever else starts it: the system's service, the command line."""
LONGEST_WAIT_S = 300.0
MOST_TRIES = 8
STABLE_AFTER_S = 120.0
"""A hub that has lived this long has its tries anew."""


class Restarts:
    """One per process. Not thread-safe but for ``begin_anew`` and reading."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._up_since: float | None = None
        self._not_before: float | None = None
        self.tries = 0

    @property
    def gave_up(self) -> bool:
        return self.tries >= MOST_TRIES

    def begin_anew(self) -> None:
        """A person started it, or stopped it."""
        self._up_since, self._not_before, self.tries = None, None, 0

    def is_due(self, liveness: Liveness) -> bool:
        """Return whether it is to be started now; that counts as a try."""
        now = self._clock()
        if liveness == "off":
            self.begin_anew()
        elif liveness == "up":
            self._not_before = None
            self._up_since = now if self._up_since is None else self._up_since
            if now - self._up_since >= STABLE_AFTER_S:
                self.tries = 0
        else:
            self._up_since = None
        if liveness != "down" or self.gave_up:
            return False
        if self._not_before is None:
            self._not_before = now + min(FIRST_WAIT_S * 2**self.tries, LONGEST_WAIT_S)
        if now < self._not_before:
            return False
        self._not_before = None
        self.tries += 1
        return True
