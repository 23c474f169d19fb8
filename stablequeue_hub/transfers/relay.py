"""Where target and source meet: a range that a target asks for waits here until its source sends it.

In memory only, on the event loop; nothing is stored. At most ``CHUNKS_HELD`` pieces are held at once: a piece
is taken from a source only when there is room, and makes room when the target has it. After a restart the
targets ask again, so a restart costs no more than the pieces on their way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from stablequeue_client.shared.errors import BusyError, NotFoundError, TooLargeError
from stablequeue_client.shared.wire.transfers import CHUNK_BYTES, WantedChunk

CHUNKS_HELD = 8


@dataclass
class _WaitingRange:
    """A range that a target waits for. ``coming``: its source sends it just now."""

    chunk: WantedChunk
    source_id: str
    arrived: asyncio.Future[bytes] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    coming: bool = False


class Relay:
    """One per hub."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[int, int, int], _WaitingRange] = {}
        self._changed: dict[str, asyncio.Event] = {}
        self.held = 0
        self.most_held = 0
        """The most that were held at once."""
        self.concerned: frozenset[str] = frozenset()
        """The servers that have something to do for a copy, as their heartbeats are told."""
        self.jobs_due = float("-inf")
        """When what jobs wait for is looked up again, on the monotonic clock."""

    # --- the target -------------------------------------------------------------------------------------

    async def receive(self, source_id: str, chunk: WantedChunk, wait_s: float) -> bytes:
        """Ask for a range; its bytes, or its first ones; none when they did not come in time. ``release``
        once they are sent on. Raises StaleTransferError when the copy ended meanwhile."""
        key = (chunk.transfer_id, chunk.fence, chunk.offset)
        former = self._waiting.get(key)
        if former is not None and not former.arrived.done():
            former.arrived.set_result(b"")  # an earlier request of this target: its connection is dead
        waiting = self._waiting[key] = _WaitingRange(chunk, source_id)
        self._wake(source_id)
        try:
            return await asyncio.wait_for(asyncio.shield(waiting.arrived), wait_s)
        except asyncio.TimeoutError:
            if waiting.arrived.done():
                return waiting.arrived.result()
            waiting.arrived.cancel()
            return b""
        except asyncio.CancelledError:
            if not waiting.arrived.cancel() and waiting.arrived.result():
                self.release()  # it came, and nobody is there to take it
            raise
        finally:
            if self._waiting.get(key) is waiting:
                del self._waiting[key]

    def release(self) -> None:
        """A piece was sent on."""
        self.held -= 1

    # --- the source -------------------------------------------------------------------------------------

    async def wanted(
        self, source_id: str, wait_s: float, disconnected: Callable[[], Awaitable[bool]] | None = None
    ) -> WantedChunk | None:
        """The next range that is wanted of it; waits for one."""
        until = asyncio.get_running_loop().time() + wait_s
        while True:
            for waiting in self._waiting.values():
                # A source sends one after the other: what it was told before and does not send, it lost.
                if waiting.source_id == source_id and not (waiting.coming or waiting.arrived.done()):
                    return waiting.chunk
            left = until - asyncio.get_running_loop().time()
            if left <= 0 or (disconnected is not None and await disconnected()):
                return None
            event = self._changed.setdefault(source_id, asyncio.Event())
            event.clear()
            try:
                await asyncio.wait_for(event.wait(), left)
            except asyncio.TimeoutError:
                return None

    async def send(
        self, transfer_id: int, fence: int, offset: int, read: Callable[[int], Awaitable[bytes]]
    ) -> None:
        """Take a piece from a source; ``read`` gets the most that it may have. Raises NotFoundError when
        nobody waits for it, BusyError when too many are held, TooLargeError."""
        waiting = self._waiting.get((transfer_id, fence, offset))
        if waiting is None or waiting.arrived.done():
            raise NotFoundError("Nobody waits for these bytes any more.", remedy="Ask what is wanted now.")
        if waiting.coming:
            raise BusyError("These bytes are on their way already.", details={"retry_after_s": 1})
        if self.held >= CHUNKS_HELD:
            raise BusyError("Too many pieces are on their way.", details={"retry_after_s": 1})
        self.held += 1
        self.most_held = max(self.most_held, self.held)
        taken, waiting.coming = False, True
        try:
            data = await read(min(waiting.chunk.length, CHUNK_BYTES))
            if not data:
                raise TooLargeError("An empty piece is none.")
            if not waiting.arrived.done():
                waiting.arrived.set_result(data)
                taken = True
        finally:
            waiting.coming = False
            if not taken:
                self.held -= 1
                self._wake(waiting.source_id)

    # --- both -------------------------------------------------------------------------------------------

    def end(self, transfer_ids: Iterable[int]) -> None:
        """These copies ended, or go on in another way: nobody waits any more."""
        ended = set(transfer_ids)
        for key, waiting in list(self._waiting.items()):
            if key[0] in ended and not waiting.arrived.done():
                waiting.arrived.set_result(b"")

    def close(self) -> None:
        """The hub ends."""
        self.end({key[0] for key in self._waiting})
        for event in self._changed.values():
            event.set()

    def _wake(self, source_id: str) -> None:
        event = self._changed.get(source_id)
        if event is not None:
            event.set()
