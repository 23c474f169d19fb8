"""Servers: join, list, rename, forget, thaw, orders."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from stablequeue_client.shared.errors import AliasTakenError, ConflictError, InvalidValueError, NotFoundError
from stablequeue_client.shared.wire.inventory import JoinAnswer, JoinRequest, Order
from stablequeue_hub.http.authorisation import principal_of
from stablequeue_hub.http.openapi import described
from stablequeue_hub.http.request_bodies import read_json
from stablequeue_hub.http.responses import json_answer
from stablequeue_hub.hub import Hub, hub_of
from stablequeue_hub.legacy.answers import AlsoOldRoute
from stablequeue_hub.legacy.servers import TakenOver, old_servers, take_over
from stablequeue_hub.servers.orders import OrderRequest, add_order
from stablequeue_hub.servers.presence import ServerPresence
from stablequeue_hub.servers.servers import (
    ServerInfo,
    find_server,
    join_server,
    list_servers,
    rename_server,
    server_named,
)

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
    hub, principal = hub_of(request), principal_of(request)
    wanted = await read_json(request, JoinRequest)
    now_ms = hub.clock.now_ms()

    def work(connection: Connection) -> tuple[TakenOver | None, JoinAnswer]:
        former = take_over(connection, wanted.server_id, wanted.alias)
        return former, join_server(connection, wanted, principal, hub_id=hub.hub_id, now_ms=now_ms)

    former, answer = await hub.writing(work)
    hub.presence.add(ServerPresence(answer.server_id))
    if former is not None:
        await hub.server_gone(former.server_id)
        await hub.jobs_changed(former.job_ids)
    return json_answer(answer)


@router.get("/{server_id}", **described("read", answer=ServerInfo, errors=(NotFoundError,)))
async def server(request: Request, server_id: str) -> Response:
    """One server, by its id or its alias."""
    hub = hub_of(request)

    def work(connection: Connection) -> ServerInfo:
        return find_server(connection, hub.presence, server_named(connection, server_id) or server_id)

    return json_answer(await hub.reading(work))


@router.patch(
    "/{server_id}",
    **described(
        "admin", request=Rename, answer=ServerInfo, errors=(InvalidValueError, NotFoundError, AliasTakenError)
    ),
)
async def rename(request: Request, server_id: str) -> Response:
    """Give a server another alias."""
    hub, actor = hub_of(request), principal_of(request).actor
    wanted = await read_json(request, Rename)

    await hub.writing(
        lambda connection: rename_server(
            connection, server_id, wanted.alias, actor=actor, now_ms=hub.clock.now_ms()
        )
    )
    return await _one(hub, server_id)


@router.delete("/{server_id}", **described("admin", status=204, errors=(NotFoundError,)))
async def forget(request: Request, server_id: str) -> Response:
    """Remove a server (by its id or alias), what is known of its files, and its key. Its models stay."""
    hub, actor = hub_of(request), principal_of(request).actor
    await hub.forget_server(server_id, actor=actor)
    return Response(status_code=204)


@router.post("/{server_id}/thaw", **described("admin", answer=ServerInfo, errors=(NotFoundError,)))
async def thaw(request: Request, server_id: str) -> Response:
    """End a freeze: the process heard last speaks for the server again."""
    hub, actor = hub_of(request), principal_of(request).actor
    hub.presence.thaw(server_id, actor=actor)
    await hub.flush()
    return await _one(hub, server_id)


@router.post(
    "/{server_id}/orders",
    **described(
        "admin", request=OrderRequest, answer=Order, status=202, errors=(InvalidValueError, NotFoundError)
    ),
)
async def order(request: Request, server_id: str) -> Response:
    """Ask a server to do something. It gets the order with its next heartbeats, for ten minutes."""
    hub, actor = hub_of(request), principal_of(request).actor
    wanted = await read_json(request, OrderRequest)
    hub.presence.known(server_id)
    waiting = await hub.writing(
        lambda connection: add_order(connection, server_id, wanted, actor=actor, now_ms=hub.clock.now_ms())
    )
    hub.presence.add_order(server_id, waiting)
    return json_answer(waiting.order, 202)


async def _one(hub: Hub, server_id: str) -> Response:
    return json_answer(await hub.reading(lambda connection: find_server(connection, hub.presence, server_id)))
