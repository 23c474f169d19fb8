"""Single values of the hub in ``hub_facts``: its id, where it listens, and whether the queue is paused."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_hub.store.prepared import Prepared
from stablequeue_hub.store.tables import hub_facts

HUB_ID = "hub_id"
LISTEN_HOST = "listen_host"
HUB_RUN = "hub_run"
"""Which process used the database last, to know whether another one did meanwhile."""
QUEUE_PAUSED = "jobs_paused"
_VALUE = Prepared(sa.select(hub_facts.c.value).where(hub_facts.c.name == sa.bindparam("name")))


def get_setting(connection: Connection, name: str) -> str | None:
    return next((str(value) for (value,) in _VALUE.all(connection, {"name": name})), None)


def set_setting(connection: Connection, name: str, value: str) -> None:
    updated = connection.execute(hub_facts.update().where(hub_facts.c.name == name).values(value=value))
    if not updated.rowcount:
        connection.execute(hub_facts.insert().values(name=name, value=value))


def queue_is_paused(connection: Connection) -> bool:
    """Return whether no server gets a job."""
    return get_setting(connection, QUEUE_PAUSED) == "1"


def ensure_hub_id(connection: Connection) -> str:
    """The hub's id, made at its first start."""
    found = get_setting(connection, HUB_ID)
    if found is None:
        found = secrets.token_hex(16)
        set_setting(connection, HUB_ID, found)
    return found
