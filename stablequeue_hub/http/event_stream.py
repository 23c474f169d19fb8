"""The history as it happens: server-sent events, resumable by their ids.

Ids grow in the order of commits, because the store has one writer: what follows an id is all that followed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.errors import InvalidValueError
from stablequeue_hub.store.tables import events as events_table

if TYPE_CHECKING:
    from stablequeue_hub.hub import Hub

HEARTBEAT_S = 15.0
POLL_EVERY_S = 2.0
"""Changes of jobs are notified; the table is polled this often for the rest."""
BATCH_MAX = 200
_RETRY = b"retry: 2000\n\n"
_HEARTBEAT = b": still here\n\n"
_ID_MAX = 2**62
_ID_DIGITS = len(str(_ID_MAX))


def resume_point(last_event_id: str | None, after: int | None) -> int | None:
    """Behind which event to begin: a browser that reconnects says so in a header, whatever its address says;
    None: with what happens from now on. Raises InvalidValueError."""
    if last_event_id is None or not last_event_id.strip():
        return after
    text = last_event_id.strip()
    if len(text) <= _ID_DIGITS and text.isascii() and text.isdigit() and int(text) <= _ID_MAX:
        return int(text)
    raise InvalidValueError("Last-Event-ID must be the id of an event, an integer.")


def stream_start(connection: Connection, first: int | None) -> int:
    """The event behind which a stream begins; ``first`` as ``resume_point`` says. An id that is still to come
    is of a history that a backup undid: then with what happens from now on."""
    newest = int(connection.scalar(sa.select(sa.func.max(events_table.c.id))) or 0)
    return newest if first is None else min(first, newest)


async def stream_events(
    hub: Hub, after: int, job_id: str | None, still_allowed: Callable[[], Awaitable[bool]], lasts_s: float
) -> AsyncIterator[bytes]:
    """Yield every event after ``after`` as it comes, and heartbeats in between. Ends when ``still_allowed``
    says no (asked with each heartbeat), after ``lasts_s`` seconds, and with the hub. Holds no database
    session while it waits."""
    loop = asyncio.get_running_loop()
    ends_at, sign_at = loop.time() + lasts_s, loop.time() + HEARTBEAT_S
    max_age_s = 0.0
    yield _RETRY
    while True:
        change = hub.notifier.next_change() if job_id is None else hub.notifier.next_change_of(job_id)
        found = await hub.event_feed.after(after, limit=BATCH_MAX, job_id=job_id, max_age_s=max_age_s)
        if found:
            after, sign_at = found[-1].id, loop.time() + HEARTBEAT_S
            yield b"".join(message.data for message in found)
        if len(found) == BATCH_MAX:
            continue
        now = loop.time()
        if hub.notifier.closed or now >= ends_at:
            return
        if now >= sign_at:
            if not await still_allowed():
                return
            sign_at = now + HEARTBEAT_S
            yield _HEARTBEAT
        wait_s = max(0.0, min(POLL_EVERY_S, ends_at - now, sign_at - now))
        changed = await hub.notifier.wait(change, wait_s)
        # Without a change all streams share one look, which may be as old as that of each alone would be.
        max_age_s = 0.0 if changed else POLL_EVERY_S / 2
