"""Servers as the old StableQueue knew them: an alias and the address of a WebUI, and nothing installed there.

Such a server stands among the others without an agent: it can be the target of jobs, has no models that are
known, and gets none of them. When a server joins under its alias, it takes the place and the jobs over.
"""

from __future__ import annotations

import secrets
from urllib.parse import urlsplit

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.errors import AliasTakenError, ConflictError, InvalidValueError, NotFoundError
from stablequeue_hub.events import events
from stablequeue_hub.hub import Hub
from stablequeue_hub.servers.presence import ServerPresence
from stablequeue_hub.servers.servers import alias_key, clean_alias, server_named
from stablequeue_hub.store.tables import servers

NO_AGENT_MAX = 100
"""Anybody with a key for jobs may add one, so their number has an end."""
_ADDRESS_MAX = 500


def insert_no_agent_server(
    connection: Connection, alias: str, address: str, *, actor: str, now_ms: int
) -> str:
    """Keep a server by its address; its new id. Raises InvalidValueError, AliasTakenError, ConflictError."""
    alias, address = clean_alias(alias), clean_address(address)
    key = alias_key(alias)
    if connection.scalar(sa.select(servers.c.alias).where(servers.c.alias_key == key)) is not None:
        raise AliasTakenError(f"Server with alias '{alias}' already exists.")
    count = sa.select(sa.func.count()).where(servers.c.api_url.is_not(None))
    if (connection.scalar(count) or 0) >= NO_AGENT_MAX:
        raise ConflictError(
            f"There are {NO_AGENT_MAX} servers without StableQueue already.",
            remedy="Forget some of them on the page of servers.",
        )
    server_id = secrets.token_hex(16)
    connection.execute(
        servers.insert().values(
            server_id=server_id, alias=alias, alias_key=key, joined_ms=now_ms, api_url=address
        )
    )
    events.append(
        connection, "server_named", actor, now_ms=now_ms, server_id=server_id, details={"alias": alias}
    )
    return server_id


async def add_server_by_address(hub: Hub, actor: str, alias: str, address: str) -> OldServer:
    """Keep a server by its address, as a target for jobs. Raises what ``insert_no_agent_server`` does."""
    now_ms = hub.clock.now_ms()
    server_id = await hub.writing(
        lambda c: insert_no_agent_server(c, alias, address, actor=actor, now_ms=now_ms)
    )
    hub.presence.add(ServerPresence(server_id))
    await hub.dispatcher.jobs_changed([])
    return OldServer(clean_alias(alias), clean_address(address), server_id)


def clean_address(text: str) -> str:
    """An http(s) address without user, password and query. Raises InvalidValueError."""
    try:
        parts = urlsplit(text.strip())
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or len(text) > _ADDRESS_MAX or not text.isprintable():
        raise InvalidValueError("`apiUrl` must be an http(s) address.", remedy="Give it as http://HOST:PORT.")
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}"


class OldServer(msgspec.Struct, frozen=True):
    """A server in the old form. ``apiUrl`` null: it joined, and the hub calls no server. ``auth`` is always
    null: a password is not kept. ``server_id``: under which a model's availability names it."""

    alias: str
    apiUrl: str | None  # noqa: N815 - the old name
    server_id: str
    auth: None = None


def old_servers(connection: Connection) -> list[OldServer]:
    """All of them, by alias."""
    query = sa.select(servers.c.alias, servers.c.api_url, servers.c.server_id).order_by(servers.c.alias_key)
    return [OldServer(*row) for row in connection.execute(query)]


def old_server(connection: Connection, name: str) -> OldServer:
    """One of them, by its id or alias. Raises NotFoundError."""
    server_id = server_named(connection, name)
    found = next((one for one in old_servers(connection) if one.server_id == server_id), None)
    if found is None:
        raise NotFoundError("Server configuration not found.", remedy="")
    return found
