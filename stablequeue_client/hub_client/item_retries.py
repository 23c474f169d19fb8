"""When things that did not get through are tried again: each for itself, so that one holds up no other."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from stablequeue_client.hub_client.backoff import Backoff


@dataclass
class _Waiting:
    backoff: Backoff
    due: float = 0.0
    failures: int = 0


class ItemRetries:
    """By the name of a thing; in memory only: after a restart everything is tried at once. For one thread."""

    def __init__(
        self, *, first_s: float, longest_s: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._first_s, self._longest_s, self._now = first_s, longest_s, now
        self._waiting: dict[str, _Waiting] = {}

    def due(self, name: str) -> bool:
        """Whether it may be tried now."""
        return name not in self._waiting or self._now() >= self._waiting[name].due

    def failures(self, name: str) -> int:
        """How often it did not get through."""
        return self._waiting[name].failures if name in self._waiting else 0

    def failed(self, name: str) -> None:
        """It did not get through, and waits."""
        new = _Waiting(Backoff(first_s=self._first_s, longest_s=self._longest_s))
        one = self._waiting.setdefault(name, new)
        one.failures += 1
        one.due = self._now() + one.backoff.failure()

    def keep_only(self, names: Collection[str]) -> None:
        """Whatever else was waited for is gone."""
        self._waiting = {name: one for name, one in self._waiting.items() if name in names}

    def next_due_s(self) -> float | None:
        """Seconds until the first may be tried again; None without any."""
        if not self._waiting:
            return None
        return max(0.0, min(one.due for one in self._waiting.values()) - self._now())
