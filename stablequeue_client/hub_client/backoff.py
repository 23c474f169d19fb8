"""How long to wait after a failure: exponential with full jitter, or what the hub asked for. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable

FIRST_S = 1.0
LONGEST_S = 300.0
ASKED_JITTER = 0.1
ASKED_JITTER_MAX_S = 1.0


class Backoff:
    """Waits of one kind of call; ``success`` starts again at the first."""

    def __init__(
        self,
        *,
        first_s: float = FIRST_S,
        longest_s: float = LONGEST_S,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._uniform = uniform
        self._failures = 0

    def success(self) -> None:
        """The call went through."""
        self._failures = 0

    def failure(self, asked_s: float | None = None) -> float:
        """Seconds until the next try. ``asked_s`` (Retry-After) is kept to, with at most 1 s on top.

        Without it: anything between nothing and the bound, which doubles from ``first_s`` to
        ``longest_s``; never under a quarter of it, so that a row of short draws does not become a burst.
        """
        self._failures += 1
        if asked_s is not None:
            return asked_s + self._uniform(0.0, min(ASKED_JITTER_MAX_S, asked_s * ASKED_JITTER + 0.1))
        bound = min(self._longest_s, self._first_s * 2.0 ** min(self._failures - 1, 30))
        return max(self._uniform(0.0, bound), bound / 4)
