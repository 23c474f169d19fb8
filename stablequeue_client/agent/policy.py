"""When files may be read in full: now, later, while the machine is idle, or not before a pause is over.

In no mode while a WebUI of this machine generates.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import psutil

from stablequeue_client.agent.agent_settings import HashingMode
from stablequeue_client.clock import Clock
from stablequeue_client.index.agent_report import WaitsFor

BUSY_CORES = 0.5
"""Other processes using more than this many cores means that somebody works here."""
IDLE_AFTER_S = 60.0
_SAMPLE_S = 2.0


class MachineLoad:
    """Cores that other processes use, measured between two calls."""

    def __init__(self) -> None:
        self._own = psutil.Process()
        self._last = self._busy_s()

    def others(self, elapsed_s: float) -> float:
        """Cores used by others since the last call, which was ``elapsed_s`` ago."""
        now = self._busy_s()
        used, self._last = now - self._last, now
        return max(0.0, used / elapsed_s) if elapsed_s > 0 else 0.0

    def _busy_s(self) -> float:
        """CPU seconds of the whole machine without idle time, without our own."""
        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        guest = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
        own = self._own.cpu_times()
        return float(sum(times) - guest - idle - own.user - own.system)


class HashingPolicy:
    """Shared by threads: orders change it, reading threads ask it before every buffer."""

    def __init__(
        self,
        mode: HashingMode,
        clock: Clock,
        *,
        others: Callable[[float], float] | None = None,
        generating: Callable[[], bool] = lambda: False,
    ) -> None:
        self._mode: HashingMode = mode
        self._clock = clock
        self._generating = generating
        self._others = others or MachineLoad().others
        self._lock = threading.Lock()
        self._paused_until = 0.0
        self._sampled = self._quiet_since = clock.monotonic()

    def set_mode(self, mode: HashingMode) -> None:
        """From now on; ends a pause."""
        with self._lock:
            self._mode, self._paused_until = mode, 0.0

    def pause(self, seconds: float) -> None:
        """Read nothing for so long, then as before."""
        with self._lock:
            self._paused_until = self._clock.monotonic() + seconds

    @property
    def mode(self) -> HashingMode:
        return self._mode

    def paused_for(self) -> float:
        """Seconds until an ordered pause is over; 0 when there is none."""
        with self._lock:
            return max(0.0, self._paused_until - self._clock.monotonic())

    def waits_for(self) -> WaitsFor:
        """Return what must pass before files may be read; empty: nothing, read."""
        generating = self._generating()
        with self._lock:
            now = self._clock.monotonic()
            if now < self._paused_until:
                return "order"
            if self._mode == "later":
                return "later"
            if generating:
                self._quiet_since = now
                return "generating"
            return "idle" if self._mode == "idle" and not self._is_idle(now) else ""

    def may_read(self) -> bool:
        """Return whether files may be read right now."""
        return not self.waits_for()

    def is_paused(self) -> bool:
        return not self.may_read()

    def _is_idle(self, now: float) -> bool:
        elapsed = now - self._sampled
        if elapsed >= _SAMPLE_S:
            self._sampled = now
            if self._others(elapsed) > BUSY_CORES:
                self._quiet_since = now
        return now - self._quiet_since >= IDLE_AFTER_S
