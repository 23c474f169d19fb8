"""Pause and resume the queue, or one server. A running job continues."""

from __future__ import annotations

from sqlalchemy import Connection

from stablequeue_client.shared.wire.queue import QueueInfo
from stablequeue_hub.hub import Hub
from stablequeue_hub.jobs.queue_state import pause_queue, queue_info
from stablequeue_hub.servers.pause import pause_server


async def pause_jobs(hub: Hub, actor: str, server_id: str | None, *, paused: bool) -> QueueInfo:
    """Give this server (None: any) no jobs; or jobs again, also when it is in cooldown after several
    failures. Raises NotFoundError."""
    now_ms = hub.clock.now_ms()

    def work(connection: Connection) -> QueueInfo:
        if server_id is None:
            pause_queue(connection, paused, actor=actor, now_ms=now_ms)
        else:
            pause_server(connection, server_id, paused, actor=actor, now_ms=now_ms)
        return queue_info(connection)

    info = await hub.writing(work)
    if server_id is not None and not paused:
        hub.dispatcher.clear_cooldown(server_id)
    await hub.dispatcher.jobs_changed([])
    return info
