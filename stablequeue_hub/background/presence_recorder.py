"""Writes down when servers are silent, on and accepting jobs: looks often, writes when something changed."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection

from stablequeue_client.shared.wire.inventory import UNREACHABLE_AFTER_S
from stablequeue_hub.history.presence_spans import MERGED_GAP_MS, ServerState, StateNow, record_states
from stablequeue_hub.hub import Hub
from stablequeue_hub.matching.obstacles import server_obstacles
from stablequeue_hub.matching.server_facts import ServerFacts, servers_now
from stablequeue_hub.servers.presence import Live

WRITE_EVERY_S = 60.0


class PresenceRecorder:
    """One per hub; it remembers what it wrote last."""

    def __init__(self) -> None:
        self._written: dict[str, ServerState] = {}
        self._at: tuple[int, float] | None = None

    async def look(self, hub: Hub) -> None:
        """See how the servers are; write it down after a change, and each minute."""
        states = await hub.reading(lambda connection: _states(connection, hub.presence))
        now_ms, now_s = hub.clock.now_ms(), hub.clock.monotonic()
        jumped = False
        if self._at is not None:
            before_ms, before_s = self._at
            jumped = abs((now_ms - before_ms) - (now_s - before_s) * 1000) > MERGED_GAP_MS
            changed = {server_id: one.state for server_id, one in states.items()} != self._written
            if not (changed or jumped or now_s - before_s >= WRITE_EVERY_S):
                return

        def record(connection: Connection) -> None:
            # A server may have been forgotten since the look.
            known = servers_now(connection, hub.presence).keys()
            there = {server_id: one for server_id, one in states.items() if server_id in known}
            record_states(connection, there, now_ms, clock_jumped=jumped)

        await hub.writing(record)
        self._written = {server_id: one.state for server_id, one in states.items()}
        self._at = (now_ms, now_s)


def _states(connection: Connection, live: Live) -> Mapping[str, StateNow]:
    return {
        server_id: _state(server, live.last_contact_ms(server_id))
        for server_id, server in servers_now(connection, live).items()
        if not server.no_agent  # an address alone is never heard
    }


def _state(server: ServerFacts, last_contact_ms: int | None) -> StateNow:
    if not server.reachable:
        silent_ms = None if last_contact_ms is None else last_contact_ms + int(UNREACHABLE_AFTER_S * 1000)
        return StateNow("silent", silent_ms)
    # A pause of the whole queue says nothing of this server.
    return StateNow("on" if server_obstacles(server, "", queue_paused=False) else "accepting")
