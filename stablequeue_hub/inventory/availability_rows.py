"""``model_server_availability``: the summary of ``server_files`` per model and server, and its history.

Only the writers of ``server_files`` call this, in their transaction.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_hub.events.events import AVAILABILITY_CHANGED
from stablequeue_hub.store.bulk import insert_rows, slices
from stablequeue_hub.store.prepared import Prepared, in_list
from stablequeue_hub.store.tables import events, model_server_availability, models, server_files, servers

Affected: TypeAlias = dict[str, set[int]]
"""server_id -> ids of models whose files there changed."""

MAY_BECOME_READY = ("unhashed", "busy", "unstable")
"""States in which a claim or an earlier digest makes a file count as ``unhashed``."""

_COLUMNS = ("model_id", "server_id", "availability", "last_seen", "since_ms", "files")
_SERVER: sa.BindParameter[str] = sa.bindparam("server_id")

# Links are names, not files; where there is nothing but links, the file lies outside the folders.
_FILES = sa.func.count() - sa.func.sum(server_files.c.link)
_READY = Prepared(
    sa.select(server_files.c.model_id, _FILES)
    .where(server_files.c.server_id == _SERVER, in_list(server_files.c.model_id, "ids"))
    .group_by(server_files.c.model_id)
)
_PROBABLE = Prepared(
    sa.select(server_files.c.claimed_model_id, _FILES)
    .where(
        server_files.c.server_id == _SERVER,
        in_list(server_files.c.claimed_model_id, "ids"),
        in_list(server_files.c.state, "states"),
    )
    .group_by(server_files.c.claimed_model_id)
)
_STORED = Prepared(
    sa.select(
        model_server_availability.c.model_id,
        model_server_availability.c.availability,
        model_server_availability.c.files,
        model_server_availability.c.last_seen,
        model_server_availability.c.since_ms,
    ).where(
        model_server_availability.c.server_id == _SERVER, in_list(model_server_availability.c.model_id, "ids")
    )
)
ON_A_SERVER = sa.exists().where(
    model_server_availability.c.model_id == models.c.id,
    model_server_availability.c.availability != "unavailable",
)
"""Some server has the row of ``models``, or probably has it."""
_LAST_HEARD = sa.select(servers.c.last_contact_ms, servers.c.last_sync_ms).where(
    servers.c.server_id == _SERVER
)


def refresh_availability(connection: Connection, affected: Affected, *, actor: str, now_ms: int) -> None:
    """Write the summary of these (server, model) pairs anew, with an event for each that changed.

    A row stays as ``unavailable`` when the last file goes, last seen when the server was heard before.
    """
    for server_id, model_ids in sorted(affected.items()):
        heard = connection.execute(_LAST_HEARD, {"server_id": server_id}).one()
        last_heard = min(now_ms, max((at for at in heard if at is not None), default=now_ms))
        for part in slices(sorted(model_ids)):
            _refresh_slice(connection, server_id, part, last_heard, actor, now_ms)


def _refresh_slice(
    connection: Connection, server_id: str, model_ids: list[int], last_heard: int, actor: str, now_ms: int
) -> None:
    values = {"server_id": server_id, "ids": model_ids}
    ready = _pairs(_READY.all(connection, values))
    probable = _pairs(_PROBABLE.all(connection, {**values, "states": list(MAY_BECOME_READY)}))
    stored = {row[0]: row[1:] for row in _STORED.all(connection, values)}
    rows: list[tuple[Any, ...]] = []
    changes: list[tuple[int, str | None, str]] = []
    for model_id in model_ids:
        before, files_before, last_seen, since_ms = stored.get(model_id, (None, 0, now_ms, now_ms))
        now, files = _summary(ready.get(model_id, 0), probable.get(model_id, 0))
        if (now, files) == (before, files_before) or (before is None and now == "unavailable"):
            continue
        if now != before:
            since_ms = now_ms
            last_seen = max(last_seen, last_heard) if now == "unavailable" else now_ms
            changes.append((model_id, before, now))
        rows.append((model_id, server_id, now, last_seen, since_ms, files))
    insert_rows(connection, model_server_availability, _COLUMNS, rows, key=_COLUMNS[:2], update=_COLUMNS[2:])
    _append_events(connection, server_id, changes, actor, now_ms)
    mark_gone(connection, [model_id for model_id, _, _ in changes], now_ms=now_ms)


def mark_gone(connection: Connection, model_ids: Sequence[int], *, now_ms: int) -> None:
    """Write since when no server has these models, of those that lost their last or found one again."""
    for part in slices(model_ids):
        chosen = models.update().where(models.c.id.in_(part))
        connection.execute(chosen.where(models.c.gone_ms.is_(None), ~ON_A_SERVER).values(gone_ms=now_ms))
        connection.execute(chosen.where(models.c.gone_ms.is_not(None), ON_A_SERVER).values(gone_ms=None))


def _pairs(rows: Iterable[Any]) -> dict[int, int]:
    return {model_id: max(1, files) for model_id, files in rows}


def _summary(ready: int, probable: int) -> tuple[str, int]:
    if ready:
        return "available", ready
    return ("unhashed", probable) if probable else ("unavailable", 0)


def _append_events(
    connection: Connection,
    server_id: str,
    changes: Sequence[tuple[int, str | None, str]],
    actor: str,
    now_ms: int,
) -> None:
    rows = [
        (now_ms, AVAILABILITY_CHANGED, actor, server_id, model_id, json.dumps({"from": before, "to": now}))
        for model_id, before, now in changes
    ]
    columns = ("at_ms", "action", "actor", "server_id", "model_id", "details_json")
    insert_rows(connection, events, columns, rows)
