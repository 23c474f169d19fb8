"""How politely files are read: a rate, a pause, a stop. Shared by all threads that read one device."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from stablequeue_client.shared.errors import StableQueueError

_STEP_S = 0.1


class ReadingStoppedError(StableQueueError):
    """Reading was stopped before the file's end."""

    code = "stopped"
    remedy_text = "It resumes at the next start; nothing is lost."


class ReadThrottle:
    """At most ``bytes_per_second`` (None: as fast as possible), nothing while ``paused()``.

    Both may be changed while it is in use. One object per device is shared by its threads.
    """

    def __init__(
        self,
        bytes_per_second: float | None = None,
        *,
        paused: Callable[[], bool] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.bytes_per_second = bytes_per_second
        self.paused = paused
        self._monotonic = monotonic
        self._sleep = sleep
        self._lock = threading.Lock()
        self._free_at = 0.0

    def before_read(self, count: int, stop: Callable[[], bool] | None) -> None:
        """Wait until ``count`` more bytes may be read. Raises ReadingStoppedError within 0.1 s of a stop."""
        while self.paused is not None and self.paused():
            self._rest(_STEP_S, stop)
        delay = self._reserve(count)
        while delay > 0:
            self._rest(min(delay, _STEP_S), stop)
            delay -= _STEP_S

    def wait(self, seconds: float, stop: Callable[[], bool] | None) -> None:
        """Do nothing for so long. Raises ReadingStoppedError within 0.1 s of a stop."""
        until = self._monotonic() + seconds
        while (left := until - self._monotonic()) > 0:
            self._rest(min(left, _STEP_S), stop)

    def _reserve(self, count: int) -> float:
        rate = self.bytes_per_second
        if not rate:
            return 0.0
        with self._lock:
            now = self._monotonic()
            start = max(self._free_at, now)
            self._free_at = start + count / rate
            return start - now

    def _rest(self, seconds: float, stop: Callable[[], bool] | None) -> None:
        raise_if_stopped(stop)
        self._sleep(seconds)


def raise_if_stopped(stop: Callable[[], bool] | None) -> None:
    """Raises ReadingStoppedError when ``stop()`` says so."""
    if stop is not None and stop():
        raise ReadingStoppedError
