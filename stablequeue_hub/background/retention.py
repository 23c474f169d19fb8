"""How long things are kept."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_hub.store.engine import Store
from stablequeue_hub.store.tables import events, keys

DAY_MS = 24 * 3_600_000
USED_CODES_MS = 30 * DAY_MS
BATCH = 5_000
"""Events in one transaction, so that no sync waits long for this."""


def drop_old_events(store: Store, before_ms: int, *, batch: int = BATCH) -> int:
    """Drop what happened before then, oldest first, a batch at a time; how many.

    Ids grow with time, so this reads no further than the first batch that holds newer events.
    """
    first = sa.select(events.c.id, events.c.at_ms).order_by(events.c.id).limit(batch)
    dropped = 0
    while True:
        with store.write() as connection:
            oldest = connection.execute(first).all()
            old = [row.id for row in oldest if row.at_ms < before_ms]
            if old:
                past = sa.and_(events.c.id <= max(old), events.c.at_ms < before_ms)
                connection.execute(events.delete().where(past))
        dropped += len(old)
        if len(old) < batch:
            return dropped


def drop_old_codes(connection: Connection, now_ms: int) -> None:
    """Join codes that expired a month ago."""
    connection.execute(
        keys.delete().where(keys.c.single_server == 1, keys.c.expires_ms < now_ms - USED_CODES_MS)
    )
