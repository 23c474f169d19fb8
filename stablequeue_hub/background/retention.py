"""How long things are kept."""

from __future__ import annotations

from sqlalchemy import Connection

from stablequeue_hub.db.tables import events, keys

EVENTS_MS = 365 * 24 * 3_600_000
USED_CODES_MS = 30 * 24 * 3_600_000


def drop_old_events(connection: Connection, now_ms: int) -> None:
    """Events of more than a year ago, and join codes that expired a month ago."""
    connection.execute(events.delete().where(events.c.at_ms < now_ms - EVENTS_MS))
    connection.execute(
        keys.delete().where(keys.c.single_server == 1, keys.c.expires_ms < now_ms - USED_CODES_MS)
    )
