"""Something happened: wakes everybody who waits for that. Belongs to the event loop."""

from __future__ import annotations

import asyncio


class Bell:
    """Take ``next_ring()``, look at the state, then await it: what happens in between is not missed."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def next_ring(self) -> asyncio.Event:
        """Set at the next ring."""
        return self._next

    def ring(self) -> None:
        rung, self._next = self._next, asyncio.Event()
        rung.set()

    async def wait(self, ring: asyncio.Event, timeout_s: float) -> bool:
        """Until ``ring``; False when it did not ring in time."""
        try:
            await asyncio.wait_for(ring.wait(), timeout_s)
        except asyncio.TimeoutError:
            return False
        return True
