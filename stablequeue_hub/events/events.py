"""The history: what happened, when, by whom. Appended in the transaction of the change itself.

``actor`` is ``server:<id>``, ``key:<id>``, ``page``, ``hub``, or ``open`` (somebody without a key, where the
owner opened the old paths). Forecasts will need the changes of availability, so nothing is ever rewritten;
what is older than ``HubSettings.events_days`` is dropped.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_hub.store.tables import events, models, servers

LIST_MAX = 1_000
AVAILABILITY_CHANGED = "availability_changed"


class Event(msgspec.Struct, frozen=True):
    """One thing that happened. ``alias`` and ``model`` are today's names; None when gone or not meant."""

    id: int
    at_ms: int
    action: str
    actor: str
    server_id: str | None
    alias: str | None
    model_id: int | None
    model: str | None
    details: dict[str, Any]
    job_id: str | None = None


def append(
    connection: Connection,
    action: str,
    actor: str,
    *,
    now_ms: int,
    server_id: str | None = None,
    model_id: int | None = None,
    job_id: str | None = None,
    details: dict[str, Any] | None = None,
) -> None:
    """Write one event into the running write transaction."""
    connection.execute(
        events.insert(),
        {
            "at_ms": now_ms,
            "action": action,
            "actor": actor,
            "server_id": server_id,
            "model_id": model_id,
            "job_id": job_id,
            "details_json": details_text(details),
        },
    )


def details_text(details: dict[str, Any] | None) -> str | None:
    """The column of an event's details."""
    return json.dumps(details) if details else None


def list_events(
    connection: Connection,
    *,
    after_id: int = 0,
    limit: int = 100,
    server_id: str | None = None,
    model_id: int | None = None,
    job_id: str | None = None,
    newest_first: bool = False,
) -> list[Event]:
    """Events with an id above ``after_id``, in order (or the newest first), at most ``limit`` (<= 1,000)."""
    query = (
        sa.select(events, servers.c.alias, models.c.name)
        .join_from(events, servers, servers.c.server_id == events.c.server_id, isouter=True)
        .join(models, models.c.id == events.c.model_id, isouter=True)
        .where(events.c.id > after_id)
        .order_by(events.c.id.desc() if newest_first else events.c.id)
        .limit(max(1, min(limit, LIST_MAX)))
    )
    if server_id is not None:
        query = query.where(events.c.server_id == server_id)
    if model_id is not None:
        query = query.where(events.c.model_id == model_id)
    if job_id is not None:
        query = query.where(events.c.job_id == job_id)
    return [
        Event(
            row.id,
            row.at_ms,
            row.action,
            row.actor,
            row.server_id,
            row.alias,
            row.model_id,
            row.name,
            json.loads(row.details_json) if row.details_json else {},
            row.job_id,
        )
        for row in connection.execute(query)
    ]
