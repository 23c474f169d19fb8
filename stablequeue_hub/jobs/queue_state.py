"""The queue as a whole: how many jobs in which state, and what is paused. A running job goes on."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.wire.queue import QueueInfo, QueueServer
from stablequeue_hub.events import events
from stablequeue_hub.jobs.states import JOB_STATES
from stablequeue_hub.servers.pause import pause_action
from stablequeue_hub.store.hub_settings_table import QUEUE_PAUSED, queue_is_paused, set_setting
from stablequeue_hub.store.tables import jobs, servers


def queue_info(connection: Connection) -> QueueInfo:
    """Every state is named, also without jobs; servers by alias."""
    counts = sa.select(jobs.c.state, sa.func.count()).group_by(jobs.c.state)
    found = {str(state): int(count) for state, count in connection.execute(counts)}
    known = sa.select(servers.c.server_id, servers.c.alias, servers.c.jobs_paused)
    return QueueInfo(
        {state: found.get(state, 0) for state in JOB_STATES},
        queue_is_paused(connection),
        [
            QueueServer(server_id, alias, bool(paused))
            for server_id, alias, paused in connection.execute(known.order_by(servers.c.alias_key))
        ],
    )


def pause_queue(connection: Connection, paused: bool, *, actor: str, now_ms: int) -> None:
    """Hold back every waiting job, or let them go on; an event when that changes something."""
    if queue_is_paused(connection) != paused:
        set_setting(connection, QUEUE_PAUSED, "1" if paused else "0")
        events.append(connection, pause_action(paused), actor, now_ms=now_ms)
