"""What the other processes of a server leave for its agent, and what the agent leaves for them, in the index.

Orders come from the hub (with its id) or from this machine; each expires. The agent carries one out, then
strikes it off: one that was interrupted is carried out again. A hub's order that was struck off is not taken
twice, because the highest id ever taken over is kept. Progress is one row, written about once a second.

Every function takes the connection of an open transaction of the index.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from stablequeue_client.index.checked_tables import Table, get_fact, set_facts
from stablequeue_client.shared.wire.inventory import Activity

ORDERS = Table(
    "orders",
    (
        ("id", "INTEGER NOT NULL"), ("hub_order_id", "INTEGER"), ("kind", "TEXT NOT NULL"),
        ("fields_json", "TEXT NOT NULL"), ("expires_ms", "INTEGER NOT NULL"),
    ),
)  # fmt: skip
PROGRESS = Table(
    "progress",
    (("id", "INTEGER NOT NULL"), ("activity_json", "TEXT NOT NULL"), ("written_ms", "INTEGER NOT NULL")),
)
_LAST_ID = "last_order_id"
_SEEN = "orders_seen"
_PAUSED_UNTIL = "paused_until_ms"


@dataclass(frozen=True)
class StoredOrder:
    """An order that waits. ``fields`` as in ``wire.orders.Order``; ``hub_order_id`` None: given here."""

    id: int
    kind: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    hub_order_id: int | None = None


def add_order(
    connection: sqlite3.Connection,
    kind: str,
    fields: Mapping[str, Any],
    expires_ms: int,
    hub_order_id: int | None,
) -> int | None:
    """The new order's id; None for an order of the hub that was taken over before."""
    if hub_order_id is not None:
        if hub_order_id <= orders_seen(connection):
            return None
        set_facts(connection, {_SEEN: str(hub_order_id)})
    order_id = int(get_fact(connection, _LAST_ID) or 0) + 1
    set_facts(connection, {_LAST_ID: str(order_id)})
    ORDERS.put(connection, [(order_id, hub_order_id, kind, json.dumps(dict(fields)), expires_ms)])
    return order_id


def waiting_orders(connection: sqlite3.Connection, now_ms: int) -> list[StoredOrder]:
    """Orders that have not expired, oldest first."""
    return [
        StoredOrder(order_id, kind, json.loads(fields), hub_order_id)
        for order_id, hub_order_id, kind, fields, expires_ms in ORDERS.select(connection)
        if expires_ms > now_ms
    ]


def remove_order(connection: sqlite3.Connection, order_id: int, now_ms: int) -> None:
    """The order is done; expired ones go with it."""
    connection.execute("DELETE FROM orders WHERE id = ? OR expires_ms <= ?", (order_id, now_ms))


def orders_seen(connection: sqlite3.Connection) -> int:
    """The highest id of a hub's order ever taken over; 0 at first."""
    return int(get_fact(connection, _SEEN) or 0)


def put_pause(connection: sqlite3.Connection, until_ms: int) -> None:
    """Store when an ordered pause ends; 0: there is none."""
    set_facts(connection, {_PAUSED_UNTIL: str(until_ms)})


def get_pause(connection: sqlite3.Connection) -> int:
    return int(get_fact(connection, _PAUSED_UNTIL) or 0)


def put_progress(connection: sqlite3.Connection, activity: Activity, now_ms: int) -> None:
    PROGRESS.put(connection, [(1, msgspec.json.encode(activity).decode(), now_ms)])


def get_progress(connection: sqlite3.Connection) -> Activity | None:
    """Return what was written last, or None."""
    for _, activity, _ in PROGRESS.select(connection):
        return msgspec.json.decode(activity, type=Activity)
    return None
