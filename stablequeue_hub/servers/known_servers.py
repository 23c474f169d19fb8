"""What the hub knows of every server when a question is asked: the columns of all answers."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_hub.store.prepared import Prepared, in_list
from stablequeue_hub.store.tables import servers

if TYPE_CHECKING:
    from stablequeue_hub.servers.presence import Live


class KnownServer(NamedTuple):
    """A server now. ``heard_ms``: last contact or sync; None when it never was heard. ``no_agent``: only an
    old client named it, and StableQueue is not installed there."""

    server_id: str
    alias: str
    has_inventory: bool
    reachable: bool
    heard_ms: int | None
    no_agent: bool = False


_SERVERS = sa.select(
    servers.c.server_id,
    servers.c.alias,
    servers.c.index_id,
    servers.c.last_contact_ms,
    servers.c.last_sync_ms,
    servers.c.api_url,
).order_by(servers.c.alias_key)
_ALL = Prepared(_SERVERS)
_SOME = Prepared(_SERVERS.where(sa.or_(servers.c.index_id.is_(None), in_list(servers.c.server_id, "ids"))))
_INDEX_ID = Prepared(sa.select(servers.c.index_id).where(servers.c.server_id == sa.bindparam("server_id")))


def never_reported(connection: Connection, server_id: str) -> bool:
    """Return whether the server joined and has not reported its models yet."""
    return _INDEX_ID.all(connection, {"server_id": server_id}) == [(None,)]


def has_reported(connection: Connection, server_id: str) -> bool:
    """Return whether it is known which models the server has; of one that was forgotten it is not."""
    return _INDEX_ID.all(connection, {"server_id": server_id}) not in ([], [(None,)])


def known_servers(
    connection: Connection, live: Live, some: Collection[str] | None = None
) -> dict[str, KnownServer]:
    """Every server by its id (or ``some``, with those that never told what they have), ordered by alias."""
    rows = _ALL.all(connection, {}) if some is None else _SOME.all(connection, {"ids": [*some] or [""]})
    return {
        server_id: KnownServer(
            server_id,
            alias,
            index_id is not None,
            live.is_reachable(server_id),
            max(contact or 0, sync or 0, live.last_contact_ms(server_id) or 0) or None,
            api_url is not None,
        )
        for server_id, alias, index_id, contact, sync, api_url in rows
    }
