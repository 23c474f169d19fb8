"""Time limits that hold on a busy machine: those of a quiet one, times how slow this one is right now."""

from __future__ import annotations

import time
from collections.abc import Callable

QUIET_S = 0.06
"""What ``_yardstick`` takes on the quiet machine that the limits were set on."""
PAUSE_S = 0.2


def _yardstick() -> None:
    sum(number * number for number in range(1_000_000))


def slowness(clock: Callable[[], float] = time.thread_time) -> float:
    """How much slower than a quiet machine this one runs plain Python now; at least 1."""
    begun = clock()
    _yardstick()
    return max(1.0, (clock() - begun) / QUIET_S)


def takes_at_most(limit_s: float, act: Callable[[], object], *, tries: int = 10) -> None:
    """Fail unless one of several runs of ``act`` keeps to ``limit_s``: the machine's noise only ever adds.

    Each run is measured between two yardsticks, by the same clock, and the slower of them counts.
    """
    told = []
    before = slowness(time.perf_counter)
    for _ in range(tries):
        begun = time.perf_counter()
        act()
        took = time.perf_counter() - begun
        after = slowness(time.perf_counter)
        if took <= limit_s * max(before, after):
            return
        told.append(f"{took:.3f} s at {max(before, after):.1f}")
        time.sleep(PAUSE_S)
        before = slowness(time.perf_counter)
    raise AssertionError(f"never within {limit_s} s times the slowness: {', '.join(told)}")
