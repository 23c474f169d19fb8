"""What the agent is doing, as one value that all its threads share."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Literal

from stablequeue_client.clock import Clock
from stablequeue_client.shared.wire.inventory import Activity

RATE_WINDOW_S = 20.0
"""The time left is told from the speed of about this long."""


Phase = Literal["idle", "scanning", "hashing", "paused"]


@dataclass
class _Speed:
    at: float
    bytes_done: int


class ProgressTracker:
    """Files and bytes of the hashing round in work, and the phase. Locked."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._scanning = 0
        self._paused = False
        self._totals = (0, 0)
        self._done = (0, 0)
        self._speed: _Speed | None = None
        self._rate: float | None = None

    def scanning(self, delta: int) -> None:
        """A walk began (+1) or ended (-1)."""
        with self._lock:
            self._scanning += delta

    def paused(self, paused: bool) -> None:
        """Hashing waits, on order or for an idle machine."""
        with self._lock:
            self._paused = paused

    def left(self, files: int, size: int) -> None:
        """This much is still to hash; a round ends when it is nothing."""
        with self._lock:
            if files == 0:
                self._totals, self._done = (0, 0), (0, 0)
                self._speed = self._rate = None
                return
            self._totals = (self._done[0] + files, self._done[1] + size)

    def file_done(self) -> None:
        """One file of the round has been dealt with."""
        with self._lock:
            self._done = (self._done[0] + 1, self._done[1])

    def read(self, count: int) -> None:
        """So many bytes were read (negative: a read was given up)."""
        with self._lock:
            self._done = (self._done[0], max(0, self._done[1] + count))
            self._measure(self._done[1])

    def _measure(self, done: int) -> None:
        now = self._clock.monotonic()
        if self._speed is None:
            self._speed = _Speed(now, done)
        elif now - self._speed.at >= 1.0:
            seen = max(0.0, (done - self._speed.bytes_done) / (now - self._speed.at))
            weight = min(1.0, (now - self._speed.at) / RATE_WINDOW_S)
            self._rate = seen if self._rate is None else self._rate + weight * (seen - self._rate)
            self._speed = _Speed(now, done)

    def activity(self) -> Activity:
        """The value that the heartbeat carries and the index shows."""
        with self._lock:
            files_total, bytes_total = self._totals
            files_done, bytes_done = self._done
            bytes_left = max(0, bytes_total - bytes_done)
            return Activity(
                phase=self._phase(files_total - files_done),
                files_done=files_done,
                files_total=files_total,
                bytes_done=min(bytes_done, bytes_total),
                bytes_total=bytes_total,
                eta_s=int(bytes_left / self._rate) + 1 if self._rate and bytes_left else None,
            )

    def _phase(self, files_left: int) -> Phase:
        if self._scanning:
            return "scanning"
        if files_left > 0:
            return "paused" if self._paused else "hashing"
        return "idle"
