"""When servers were silent, on and accepting jobs, and when the hub ran and could know.

Time outside the hub's own spans is unknown: a hub that was off does not make a server silent. The last span
of a server is open while it lasts, so a quiet minute costs one small update for all servers together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_hub.store.tables import hub_spans, presence_spans

ServerState: TypeAlias = Literal["silent", "on", "accepting"]
"""``accepting``: it would take a job from anybody; ``on``: it is heard, and would not."""
MERGED_GAP_MS = 120_000
"""A restart of the hub, or a short sleep of its computer, in which nothing is thought to have changed."""
_OPEN = presence_spans.c.to_ms.is_(None)


class StateNow(NamedTuple):
    """How a server is now. ``since_ms``: since when that is known to be so; None: since now."""

    state: ServerState
    since_ms: int | None = None


class PresenceSpan(msgspec.Struct, frozen=True):
    """Milliseconds since 1970 UTC. ``state``: of a server, or "unknown" where the hub did not run."""

    state: Literal["silent", "on", "accepting", "unknown"]
    from_ms: int
    to_ms: int


def record_states(
    connection: Connection, servers: Mapping[str, StateNow], now_ms: int, *, clock_jumped: bool = False
) -> None:
    """Write down how all servers are now. Call it once a minute and when one changed.

    ``clock_jumped``: the time since the last call cannot be told, and counts as unknown.
    """
    latest = _latest(connection)
    gap_ms = MERGED_GAP_MS + 1 if latest is None else now_ms - latest.to_ms
    if clock_jumped or not 0 <= gap_ms <= MERGED_GAP_MS:
        if latest is not None:
            _close_all(connection, latest.to_ms)
        connection.execute(hub_spans.insert().values(from_ms=now_ms, to_ms=now_ms))
    else:
        assert latest is not None
        connection.execute(hub_spans.update().where(hub_spans.c.id == latest.id).values(to_ms=now_ms))
    still = {row.server_id: row for row in connection.execute(sa.select(presence_spans).where(_OPEN))}
    for server_id, now in servers.items():
        before = still.get(server_id)
        if before is None:
            _open(connection, server_id, now.state, now_ms)
        elif before.state != now.state:
            since_ms = now_ms if now.since_ms is None else min(now_ms, now.since_ms)
            changed_ms = max(before.from_ms, since_ms)
            this = presence_spans.c.id == before.id
            connection.execute(presence_spans.update().where(this).values(to_ms=changed_ms))
            _open(connection, server_id, now.state, changed_ms)


def spans_of(connection: Connection, server_id: str, from_ms: int, to_ms: int) -> list[PresenceSpan]:
    """Return how the server was, in the order of time and without gaps: unknown where the hub did not run,
    and before it joined."""
    latest = _latest(connection)
    if latest is None:
        return [PresenceSpan("unknown", from_ms, to_ms)]
    # What is open lasts until now, if the hub wrote a moment ago.
    written_ms = to_ms if 0 <= to_ms - latest.to_ms <= MERGED_GAP_MS else latest.to_ms
    until = sa.func.coalesce(presence_spans.c.to_ms, written_ms)
    rows = connection.execute(
        sa.select(presence_spans.c.state, presence_spans.c.from_ms, until)
        .where(presence_spans.c.server_id == server_id, presence_spans.c.from_ms < to_ms, until > from_ms)
        .order_by(presence_spans.c.id)
    )
    found: list[PresenceSpan] = []
    at_ms = from_ms
    for state, begun_ms, ended_ms in rows:
        begun_ms, ended_ms = max(begun_ms, at_ms), min(ended_ms, to_ms)
        if ended_ms <= begun_ms:
            continue
        if begun_ms > at_ms:
            found.append(PresenceSpan("unknown", at_ms, begun_ms))
        found.append(PresenceSpan(state, begun_ms, ended_ms))
        at_ms = ended_ms
    if at_ms < to_ms:
        found.append(PresenceSpan("unknown", at_ms, to_ms))
    return found


def _latest(connection: Connection) -> sa.Row[tuple[int, int, int]] | None:
    return connection.execute(sa.select(hub_spans).order_by(hub_spans.c.id.desc()).limit(1)).first()


def _close_all(connection: Connection, at_ms: int) -> None:
    """End what was open when the hub's last span ended."""
    ended = sa.case((presence_spans.c.from_ms > at_ms, presence_spans.c.from_ms), else_=at_ms)
    connection.execute(presence_spans.update().where(_OPEN).values(to_ms=ended))


def _open(connection: Connection, server_id: str, state: ServerState, from_ms: int) -> None:
    connection.execute(
        presence_spans.insert().values(server_id=server_id, state=state, from_ms=from_ms, to_ms=None)
    )
