"""The newest events as streams send them: read and encoded once for all who listen. For the event loop."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_hub.events.events import LIST_MAX, Event, list_events
from stablequeue_hub.store.engine import Store
from stablequeue_hub.store.tables import events as events_table

KEPT_MAX = 2_000


@dataclass(frozen=True)
class EventMessage:
    """One event as text/event-stream has it; JSON has no line breaks of its own."""

    id: int
    job_id: str | None
    data: bytes

    @classmethod
    def of(cls, event: Event) -> EventMessage:
        body = msgspec.json.encode(event)
        data = b"id: %d\nevent: %s\ndata: %s\n\n" % (event.id, event.action.encode(), body)
        return cls(event.id, event.job_id, data)


class EventFeed:
    """However many listen: a change is one look into the database. Who is far behind looks there itself."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: list[EventMessage] = []
        self._complete_after: int | None = None
        """All events behind this one are kept; None before the first look."""
        self._lock = asyncio.Lock()
        self._asked = self._answered = 0
        self._looked_at = float("-inf")

    async def after(
        self, event_id: int, *, limit: int, job_id: str | None = None, max_age_s: float = 0.0
    ) -> list[EventMessage]:
        """The events behind ``event_id``, in order, at most ``limit``: as of now, or as of a look that is not
        older than ``max_age_s``."""
        await self._look(max_age_s)
        if self._complete_after is None or event_id < self._complete_after:
            read = partial(list_events, after_id=event_id, limit=limit, job_id=job_id)
            return [EventMessage.of(event) for event in await self._store.reading(read)]
        begin = bisect_right(self._kept, event_id, key=lambda message: message.id)
        if job_id is None:
            return self._kept[begin : begin + limit]
        return [message for message in self._kept[begin:] if message.job_id == job_id][:limit]

    def forget(self, job_ids: Collection[str]) -> None:
        """These jobs were deleted, with their events."""
        gone = set(job_ids)
        self._kept = [message for message in self._kept if message.job_id not in gone]

    async def _look(self, max_age_s: float) -> None:
        self._asked += 1
        mine, loop = self._asked, asyncio.get_running_loop()
        if loop.time() - self._looked_at < max_age_s:
            return
        async with self._lock:
            if self._answered >= mine:
                return  # somebody looked since we asked
            asked, began = self._asked, loop.time()
            await self._read_new()
            self._answered, self._looked_at = asked, began

    async def _read_new(self) -> None:
        known = self._kept[-1].id if self._kept else self._complete_after
        newest, found = await self._store.reading(lambda connection: _read_after(connection, known))
        if known is None or len(found) >= LIST_MAX:  # nobody has listened for long
            self._kept, self._complete_after = [], newest
            return
        self._kept += map(EventMessage.of, found)
        if len(self._kept) > KEPT_MAX:
            self._complete_after = self._kept[-KEPT_MAX - 1].id
            self._kept = self._kept[-KEPT_MAX:]


def _read_after(connection: Connection, known: int | None) -> tuple[int, list[Event]]:
    """The newest event's id, and what came after ``known``."""
    newest = int(connection.scalar(sa.select(sa.func.max(events_table.c.id))) or 0)
    if known is None or newest <= known:
        return newest, []
    return newest, list_events(connection, after_id=known, limit=LIST_MAX)
