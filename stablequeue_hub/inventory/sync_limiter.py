"""Limits how many syncs run at once, large and small ones apart, so that heartbeats keep their pace.

Decoding and storing 10,000 rows is a second of Python in a worker thread. With one of these at a time the
event loop competes for the interpreter with one thread; small deltas have a limit of their own.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from stablequeue_client.shared.errors import BusyError

LARGE_BODY_BYTES = 32 * 1024
"""Compressed; about 400 rows."""
SMALL_AT_ONCE = 2
WAITING_MAX = 64
RETRY_AFTER_S = (2.0, 8.0)

T = TypeVar("T")


class SyncLimit:
    """At most ``at_once`` pieces of work; others wait ``wait_s`` seconds, then get BusyError."""

    def __init__(self, name: str, at_once: int, wait_s: float) -> None:
        self._slots = asyncio.Semaphore(at_once)
        self._wait_s = wait_s
        self._waiting = 0
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix=name)

    async def run(self, work: Callable[[], T]) -> T:
        """``work()`` in a worker thread. Raises BusyError when no place came free."""
        await self._enter()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._slots.release()

    async def _enter(self) -> None:
        if self._waiting >= WAITING_MAX:
            raise busy()
        self._waiting += 1
        try:
            await asyncio.wait_for(self._slots.acquire(), self._wait_s)
        except asyncio.TimeoutError:
            raise busy() from None
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """No new work; what runs goes on to its end."""
        self._threads.shutdown(wait=True, cancel_futures=True)


class SyncLimiter:
    """One limit for large bodies, one for small ones."""

    def __init__(self, large_at_once: int, wait_s: float) -> None:
        self._large = SyncLimit("sync-large", large_at_once, wait_s)
        self._small = SyncLimit("sync-small", SMALL_AT_ONCE, wait_s)

    def limit_for(self, body_bytes: int) -> SyncLimit:
        return self._large if body_bytes > LARGE_BODY_BYTES else self._small

    def close(self) -> None:
        self._large.close()
        self._small.close()


def busy() -> BusyError:
    """With a Retry-After that spreads the servers which come back."""
    wait_s = random.uniform(*RETRY_AFTER_S)  # noqa: S311 - only to spread them
    return BusyError("Too many servers are syncing right now.", details={"retry_after_s": round(wait_s, 1)})
