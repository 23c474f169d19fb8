"""A server that its owner paused gets no jobs; the one that it works on goes on."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_hub.errors import unknown_server
from stablequeue_hub.events import events
from stablequeue_hub.store.tables import servers


def pause_server(connection: Connection, server_id: str, paused: bool, *, actor: str, now_ms: int) -> None:
    """Give this server no jobs, or jobs again. Raises NotFoundError."""
    row = connection.execute(sa.select(servers.c.jobs_paused).where(servers.c.server_id == server_id)).first()
    if row is None:
        raise unknown_server(server_id)
    if bool(row.jobs_paused) != paused:
        connection.execute(
            servers.update().where(servers.c.server_id == server_id).values(jobs_paused=int(paused))
        )
        events.append(connection, pause_action(paused), actor, now_ms=now_ms, server_id=server_id)


def pause_action(paused: bool) -> str:
    """Return the action of the event, which the pause of the whole queue shares."""
    return "queue_paused" if paused else "queue_resumed"
