"""Servers: join, list, rename, forget, thaw, orders."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from stablequeue_client.shared.errors import AliasTakenError, ConflictError, InvalidValueError, NotFoundError
from stablequeue_client.shared.wire.inventory import JoinAnswer, JoinRequest
from stablequeue_client.shared.wire.orders import Order
from stablequeue_hub.actions.servers import forget_server, give_order, join_server, rename_server, thaw_server
from stablequeue_hub.history.daily_sums import DAY_MS
from stablequeue_hub.history.presence_spans import PresenceSpan, spans_of
from stablequeue_hub.http.openapi import described
from stablequeue_hub.http.request_bodies import read_json
from stablequeue_hub.http.request_context import hub_of, principal_of
from stablequeue_hub.http.responses import json_answer
from stablequeue_hub.hub import Hub
from stablequeue_hub.legacy.answers import AlsoOldRoute
from stablequeue_hub.legacy.servers import old_server, old_servers
from stablequeue_hub.servers.orders import OrderRequest
from stablequeue_hub.servers.servers import ServerInfo, find_server, list_servers, server_named

router = APIRouter(prefix="/api/v1/servers", tags=["servers"], route_class=AlsoOldRoute)


class Rename(msgspec.Struct, frozen=True):
    """The alias to have from now on."""

    alias: str


@router.get("", **described("old_read", answer=list[ServerInfo]))
async def servers_list(request: Request) -> Response:
    """All servers by alias: contact, activity, folders and how many files in which state.

    Without a key (where the owner opened the old paths) only what the old StableQueue answered.
    """
    hub = hub_of(request)
    if principal_of(request).kind == "open":
        return json_answer(await hub.reading(old_servers))
    return json_answer(await hub.reading(lambda connection: list_servers(connection, hub.presence)))


@router.post(
    "/join",
    **described("join", request=JoinRequest, answer=JoinAnswer, errors=(InvalidValueError, ConflictError)),
)
async def join(request: Request) -> Response:
    """Make a server known. It made its id and secret itself and may repeat this without harm."""
    wanted = await read_json(request, JoinRequest)
    return json_answer(await join_server(hub_of(request), principal_of(request), wanted))


@router.get("/{server_id}", **described("old_read", answer=ServerInfo, errors=(NotFoundError,)))
async def server(request: Request, server_id: str) -> Response:
    """One server, by its id or its alias.

    Without a key (where the owner opened the old paths) only what the old StableQueue answered.
    """
    hub = hub_of(request)
    if principal_of(request).kind == "open":
        return json_answer(await hub.reading(lambda connection: old_server(connection, server_id)))

    def work(connection: Connection) -> ServerInfo:
        return find_server(connection, hub.presence, server_named(connection, server_id) or server_id)

    return json_answer(await hub.reading(work))


@router.get("/{server_id}/presence", **described("read", answer=list[PresenceSpan], errors=(NotFoundError,)))
async def server_presence(
    request: Request, server_id: str, days: Annotated[int, Query(ge=1, le=366)] = 7
) -> Response:
    """When it was silent, on, or accepting anybody's jobs lately; "unknown" while the hub was off."""
    hub = hub_of(request)
    now_ms = hub.clock.now_ms()

    def work(connection: Connection) -> list[PresenceSpan]:
        found = server_named(connection, server_id) or server_id
        find_server(connection, hub.presence, found)
        return spans_of(connection, found, now_ms - days * DAY_MS, now_ms)

    return json_answer(await hub.reading(work))


@router.patch(
    "/{server_id}",
    **described(
        "admin", request=Rename, answer=ServerInfo, errors=(InvalidValueError, NotFoundError, AliasTakenError)
    ),
)
async def rename(request: Request, server_id: str) -> Response:
    """Give a server another alias."""
    wanted = await read_json(request, Rename)
    await rename_server(hub_of(request), principal_of(request).actor, server_id, wanted.alias)
    return await _one(hub_of(request), server_id)


@router.delete("/{server_id}", **described("admin", status=204, errors=(NotFoundError,)))
async def forget(request: Request, server_id: str) -> Response:
    """Remove a server (by its id or alias), what is known of its files, and its key. Its models stay."""
    await forget_server(hub_of(request), principal_of(request).actor, server_id)
    return Response(status_code=204)


@router.post("/{server_id}/thaw", **described("admin", answer=ServerInfo, errors=(NotFoundError,)))
async def thaw(request: Request, server_id: str) -> Response:
    """End a freeze: the process heard last speaks for the server again."""
    await thaw_server(hub_of(request), principal_of(request).actor, server_id)
    return await _one(hub_of(request), server_id)


@router.post(
    "/{server_id}/orders",
    **described(
        "admin", request=OrderRequest, answer=Order, status=202, errors=(InvalidValueError, NotFoundError)
    ),
)
async def order(request: Request, server_id: str) -> Response:
    """Ask a server to do something. It gets the order with its next heartbeats, for ten minutes."""
    wanted = await read_json(request, OrderRequest)
    return json_answer(await give_order(hub_of(request), principal_of(request).actor, server_id, wanted), 202)


async def _one(hub: Hub, server_id: str) -> Response:
    return json_answer(await hub.reading(lambda connection: find_server(connection, hub.presence, server_id)))
