"""Wakes everybody who waits for a change. Belongs to the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from weakref import WeakValueDictionary


class ChangeNotifier:
    """Take ``next_change()``, look at the state, then await it: what happens in between is not missed."""

    def __init__(self) -> None:
        self._next = asyncio.Event()
        self._next_of: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()
        self.closed = False

    def next_change(self) -> asyncio.Event:
        """Return the event that the next change sets."""
        return self._next

    def next_change_of(self, job_id: str) -> asyncio.Event:
        """Return the event that the next change of this job, or of all jobs, sets."""
        return self._next_of.setdefault(job_id, asyncio.Event())

    def notify(self, job_ids: Iterable[str] = ()) -> None:
        """Wake everybody; of those who wait for one job only the ones of ``job_ids`` ([]: all)."""
        changed, self._next = self._next, asyncio.Event()
        changed.set()
        for job_id in list(job_ids) or list(self._next_of):
            of_it = self._next_of.pop(job_id, None)
            if of_it is not None:
                of_it.set()

    async def wait(self, change: asyncio.Event, timeout_s: float) -> bool:
        """Wait for ``change``; False when it did not come in time, and at once when the hub ends."""
        if self.closed:
            return False
        try:
            await asyncio.wait_for(change.wait(), timeout_s)
        except asyncio.TimeoutError:
            return False
        return not self.closed

    def close(self) -> None:
        """Wake everybody for good; the hub ends."""
        self.closed = True
        self.notify()
