"""Single values of the hub in ``hub_facts``: its id, and the address its owner chose to listen on."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_hub.store.tables import hub_facts

HUB_ID = "hub_id"
LISTEN_HOST = "listen_host"


def get_fact(connection: Connection, name: str) -> str | None:
    value = connection.scalar(sa.select(hub_facts.c.value).where(hub_facts.c.name == name))
    return None if value is None else str(value)


def set_fact(connection: Connection, name: str, value: str) -> None:
    updated = connection.execute(hub_facts.update().where(hub_facts.c.name == name).values(value=value))
    if not updated.rowcount:
        connection.execute(hub_facts.insert().values(name=name, value=value))


def ensure_hub_id(connection: Connection) -> str:
    """The hub's id, made at its first start."""
    found = get_fact(connection, HUB_ID)
    if found is None:
        found = secrets.token_hex(16)
        set_fact(connection, HUB_ID, found)
    return found
