"""Servers: join, list, rename, forget. An alias is unique, compared casefolded and in NFC."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.errors import AliasTakenError, ForbiddenError, InvalidValueError
from stablequeue_client.shared.wire.inventory import (
    Activity,
    JoinAnswer,
    JoinRequest,
    ServerCapabilities,
    WorksForOthers,
)
from stablequeue_hub.access.keys import Principal, hash_secret, store_server_key
from stablequeue_hub.errors import unknown_server
from stablequeue_hub.events import events
from stablequeue_hub.inventory.availability_rows import mark_gone
from stablequeue_hub.inventory.model_rows import name_models
from stablequeue_hub.servers.capabilities import stored_capabilities, works_for_others
from stablequeue_hub.servers.presence import Live
from stablequeue_hub.store.tables import keys, server_files, server_roots, servers
from stablequeue_hub.store.tables import model_server_availability as summary

ALIAS_MAX = 64
VERSION_MAX = 64
NO_AGENT = (
    "StableQueue is not installed there: install the extension in its WebUI, and join it to this hub under "
    "that name. It then gets its jobs by itself."
)
_SERVER_ID = re.compile(r"[A-Za-z0-9-]{8,64}\Z")
_SECRET = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class RootInfo:
    """One model folder of a server; ``since_ms``: since when it has this health."""

    root_id: str
    kind: str
    health: str
    label: str | None
    since_ms: int


@dataclass(frozen=True)
class ServerInfo:
    """One server. ``alias``, ``apiUrl`` and ``auth`` are what the old StableQueue answered; the hub calls no
    server and keeps no password, so ``auth`` is null. ``no_agent``: an old client named it by its address
    (``apiUrl``), and StableQueue is not installed there. ``files``: how many in which state. ``frozen``: why
    it may not sync. ``capabilities``: what its WebUI said it can do.
    """

    server_id: str
    alias: str
    reachable: bool
    last_contact_ms: int | None
    last_sync_ms: int | None
    joined_ms: int
    version: str
    frozen: str | None
    activity: Activity | None
    roots: tuple[RootInfo, ...]
    files: dict[str, int]
    works_for_others: WorksForOthers
    capabilities: ServerCapabilities | None
    apiUrl: str | None = None  # noqa: N815 - the old name
    auth: None = None
    no_agent: bool = False


def clean_alias(text: str) -> str:
    """NFC, without outer spaces. Raises InvalidValueError for an empty, long or unprintable one."""
    alias = unicodedata.normalize("NFC", text.strip())
    if not alias or len(alias) > ALIAS_MAX or not alias.isprintable():
        raise InvalidValueError(f"An alias must have 1 to {ALIAS_MAX} printable characters.")
    return alias


def alias_key(alias: str) -> str:
    """Return the form in which aliases must be unique."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", alias).casefold())


# --- join -----------------------------------------------------------------------------------------------


def join_server(
    connection: Connection, request: JoinRequest, principal: Principal, *, hub_id: str, now_ms: int
) -> JoinAnswer:
    """Make a server known, with the alias it wishes or that with a number behind it.

    The same server may repeat it. Raises InvalidValueError, ForbiddenError (a code that another server used,
    a revoked server key) and ConflictError (another secret belongs to this id).
    """
    if not _SERVER_ID.match(request.server_id) or not _SECRET.match(request.secret):
        raise InvalidValueError("server_id must be 8 to 64 letters, digits or '-', and secret 64 hex digits.")
    wished = clean_alias(request.alias)
    if len(request.version) > VERSION_MAX or not request.version.isprintable():
        raise InvalidValueError(f"version must have at most {VERSION_MAX} printable characters.")
    _use_up_code(connection, principal, request.server_id)
    alias = connection.scalar(sa.select(servers.c.alias).where(servers.c.server_id == request.server_id))
    if alias is None:
        alias = _insert_server(connection, request, wished, principal, now_ms)
    else:
        connection.execute(
            servers.update().where(servers.c.server_id == request.server_id).values(version=request.version)
        )
    store_server_key(connection, request.server_id, hash_secret(request.secret), now_ms=now_ms)
    return JoinAnswer(request.server_id, alias, hub_id)


def _use_up_code(connection: Connection, principal: Principal, server_id: str) -> None:
    """A code of "Add another computer" serves one server; its row is locked by the update."""
    if principal.kind != "key":
        return
    mine = sa.or_(keys.c.single_server == 0, keys.c.used_by.is_(None), keys.c.used_by == server_id)
    used = connection.execute(
        keys.update().where(keys.c.key_id == principal.key_id, mine).values(used_by=_used_by(server_id))
    )
    if not used.rowcount:
        raise ForbiddenError(
            "This code has been used for another computer.",
            remedy='Make a new one with "Add another computer".',
        )


def _used_by(server_id: str) -> Any:
    return sa.case((keys.c.single_server == 1, server_id), else_=keys.c.used_by)


def _insert_server(
    connection: Connection, request: JoinRequest, wished: str, principal: Principal, now_ms: int
) -> str:
    alias = _free_alias(connection, wished)
    connection.execute(
        servers.insert().values(
            server_id=request.server_id,
            alias=alias,
            alias_key=alias_key(alias),
            version=request.version,
            joined_ms=now_ms,
        )
    )
    events.append(
        connection,
        "server_joined",
        principal.actor,
        now_ms=now_ms,
        server_id=request.server_id,
        details={"alias": alias},
    )
    return alias


def _free_alias(connection: Connection, wished: str) -> str:
    taken = set(connection.scalars(sa.select(servers.c.alias_key)))
    alias, number = wished, 1
    while alias_key(alias) in taken:
        number += 1
        ending = f"-{number}"
        alias = wished[: ALIAS_MAX - len(ending)] + ending
    return alias


# --- list, rename ---------------------------------------------------------------------------------------


def list_servers(connection: Connection, live: Live) -> list[ServerInfo]:
    """All servers by alias."""
    roots = _roots(connection)
    files = _file_counts(connection)
    rows = connection.execute(sa.select(servers).order_by(servers.c.alias_key))
    return [_info(row, live, roots[row.server_id], files[row.server_id]) for row in rows]


def find_server(connection: Connection, live: Live, server_id: str) -> ServerInfo:
    """One server. Raises NotFoundError."""
    row = connection.execute(sa.select(servers).where(servers.c.server_id == server_id)).first()
    if row is None:
        raise unknown_server(server_id)
    return _info(
        row, live, _roots(connection, server_id)[server_id], _file_counts(connection, server_id)[server_id]
    )


def server_named(connection: Connection, name: str) -> str | None:
    """The id of the server with this id or alias; None when there is none."""
    if not name.isprintable():
        return None
    by_id: str | None = connection.scalar(sa.select(servers.c.server_id).where(servers.c.server_id == name))
    if by_id is not None or len(name) > ALIAS_MAX:
        return by_id
    by_alias = sa.select(servers.c.server_id).where(servers.c.alias_key == alias_key(name))
    found: str | None = connection.scalar(by_alias)
    return found


def _info(row: Any, live: Live, roots: list[RootInfo], files: dict[str, int]) -> ServerInfo:
    capabilities = stored_capabilities(row.capabilities_json)
    contacts = [at for at in (live.last_contact_ms(row.server_id), row.last_contact_ms) if at is not None]
    return ServerInfo(
        server_id=row.server_id,
        alias=row.alias,
        reachable=live.is_reachable(row.server_id),
        last_contact_ms=max(contacts, default=None),
        last_sync_ms=row.last_sync_ms,
        joined_ms=row.joined_ms,
        version=row.version,
        frozen=row.frozen,
        activity=live.activity(row.server_id),
        roots=tuple(roots),
        files=files,
        works_for_others=works_for_others(capabilities),
        capabilities=capabilities,
        apiUrl=row.api_url,
        no_agent=row.api_url is not None,
    )


def _roots(connection: Connection, server_id: str | None = None) -> dict[str, list[RootInfo]]:
    query = sa.select(server_roots).where(server_roots.c.rejected.is_(None))
    query = query.order_by(server_roots.c.kind, server_roots.c.root_id)
    if server_id is not None:
        query = query.where(server_roots.c.server_id == server_id)
    found: dict[str, list[RootInfo]] = defaultdict(list)
    for row in connection.execute(query):
        found[row.server_id].append(RootInfo(row.root_id, row.kind, row.health, row.label, row.since_ms))
    return found


def _file_counts(connection: Connection, server_id: str | None = None) -> dict[str, dict[str, int]]:
    query = sa.select(server_files.c.server_id, server_files.c.state, sa.func.count())
    query = query.where(server_files.c.rejected.is_(None))
    if server_id is not None:
        query = query.where(server_files.c.server_id == server_id)
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for owner, state, count in connection.execute(
        query.group_by(server_files.c.server_id, server_files.c.state)
    ):
        found[owner][state] = count
    return found


def rename_server(connection: Connection, server_id: str, alias: str, *, actor: str, now_ms: int) -> None:
    """Give a server another alias. Raises InvalidValueError, AliasTakenError, NotFoundError."""
    alias = clean_alias(alias)
    before = _alias_of(connection, server_id)
    other = connection.scalar(
        sa.select(servers.c.alias).where(
            servers.c.alias_key == alias_key(alias), servers.c.server_id != server_id
        )
    )
    if other is not None:
        raise AliasTakenError(f"The alias {other!r} belongs to another server.")
    connection.execute(
        servers.update()
        .where(servers.c.server_id == server_id)
        .values(alias=alias, alias_key=alias_key(alias))
    )
    details = {"alias": alias, "before": before}
    events.append(connection, "server_renamed", actor, now_ms=now_ms, server_id=server_id, details=details)


def delete_server(connection: Connection, server_id: str, *, actor: str, now_ms: int) -> None:
    """Delete a server's row, what is known of its files, and its key; models stay. Only ``Hub.forget_server``
    calls it, which also forgets what is in memory. Raises NotFoundError."""
    details = {"alias": _alias_of(connection, server_id)}
    held = connection.scalars(sa.select(summary.c.model_id).where(summary.c.server_id == server_id)).all()
    connection.execute(servers.delete().where(servers.c.server_id == server_id))  # the rest cascades
    name_models(connection, held)
    mark_gone(connection, held, now_ms=now_ms)
    events.append(connection, "server_forgotten", actor, now_ms=now_ms, server_id=server_id, details=details)


def _alias_of(connection: Connection, server_id: str) -> str:
    alias = connection.scalar(sa.select(servers.c.alias).where(servers.c.server_id == server_id))
    if alias is None:
        raise unknown_server(server_id)
    return str(alias)
