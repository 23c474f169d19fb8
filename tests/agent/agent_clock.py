"""Time that passes only while somebody waits for it; threads that wait together share it."""

from __future__ import annotations

import threading


class FakeClock:
    """Waiting moves the time at once. For one thread at a time."""

    def __init__(self) -> None:
        self.seconds = 1_000.0
        self.wall_offset = 1_700_000_000.0

    def now(self) -> float:
        return self.seconds + self.wall_offset

    def monotonic(self) -> float:
        return self.seconds

    def wait(self, event: threading.Event, seconds: float) -> bool:
        if not event.is_set():
            self.seconds += seconds
        return event.is_set()


class SteppedClock(FakeClock):
    """For several threads: a wait ends when ``run_until`` has moved the time so far, or its event is set."""

    def __init__(self) -> None:
        super().__init__()
        self._moved = threading.Condition()
        self._waiting: dict[int, float] = {}

    def wait(self, event: threading.Event, seconds: float) -> bool:
        me = threading.get_ident()
        with self._moved:
            end = self.seconds + seconds
            while self.seconds < end and not event.is_set():
                self._waiting[me] = end
                self._moved.notify_all()
                self._moved.wait(0.005)
            self._waiting.pop(me, None)
        return event.is_set()

    def run_until(self, end: float, threads: int) -> None:
        """Move to the next moment somebody waits for whenever all ``threads`` wait, until ``end``."""
        with self._moved:
            while self.seconds < end:
                if len(self._waiting) == threads:
                    self.seconds = min(end, max(self.seconds, min(self._waiting.values())))
                    self._waiting = {who: at for who, at in self._waiting.items() if at > self.seconds}
                    self._moved.notify_all()
                self._moved.wait(0.005)
