"""What is done with servers. Presence, keys, runners and waiting jobs follow what the store says then."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.wire.inventory import JoinAnswer, JoinRequest, ServerCapabilities
from stablequeue_client.shared.wire.orders import Order
from stablequeue_hub.access.keys import Principal
from stablequeue_hub.hub import Hub
from stablequeue_hub.jobs import rows
from stablequeue_hub.servers import servers
from stablequeue_hub.servers.capabilities import store_capabilities
from stablequeue_hub.servers.orders import OrderRequest, add_order
from stablequeue_hub.servers.presence import ServerPresence
from stablequeue_hub.store import tables


async def join_server(hub: Hub, who: Principal, wanted: JoinRequest) -> JoinAnswer:
    """Make a server known; the same one may repeat it. It takes the place and the jobs of one without
    StableQueue that has the alias it wishes. Raises what ``servers.join_server`` does."""
    now_ms = hub.clock.now_ms()

    def work(connection: Connection) -> tuple[str | None, list[str], JoinAnswer]:
        former, job_ids = _replace_placeholder(connection, wanted.server_id, wanted.alias)
        answer = servers.join_server(connection, wanted, who, hub_id=hub.hub_id, now_ms=now_ms)
        return former, job_ids, answer

    former, job_ids, answer = await hub.writing(work)
    hub.presence.add(ServerPresence(answer.server_id))
    if former is not None:
        await _drop_from_memory(hub, former)
        await hub.dispatcher.jobs_changed(job_ids)
    return answer


def _replace_placeholder(connection: Connection, server_id: str, wished: str) -> tuple[str | None, list[str]]:
    """The id of the server without StableQueue that is gone now, and the jobs that were for it; None when
    there is no such server, or the one that joins is known already."""
    its = (
        tables.servers.c.alias_key == servers.alias_key(wished.strip()),
        tables.servers.c.api_url.is_not(None),
    )
    former: str | None = connection.scalar(sa.select(tables.servers.c.server_id).where(*its))
    if former is None or servers.server_named(connection, server_id) is not None:
        return None, []
    connection.execute(tables.servers.delete().where(tables.servers.c.server_id == former))
    return former, rows.change_server(connection, former, server_id)


async def rename_server(hub: Hub, actor: str, server_id: str, alias: str) -> None:
    """Raises InvalidValueError, AliasTakenError, NotFoundError."""
    now_ms = hub.clock.now_ms()
    await hub.writing(lambda c: servers.rename_server(c, server_id, alias, actor=actor, now_ms=now_ms))


async def forget_server(hub: Hub, actor: str, name: str) -> None:
    """Remove a server (by its id or alias), what is known of its files, and its key; its models stay. Its
    runner gets its answer, and names that only it had or made ambiguous are resolved again. Raises
    NotFoundError."""
    now_ms = hub.clock.now_ms()

    def work(connection: Connection) -> str:
        server_id = servers.server_named(connection, name) or name
        servers.delete_server(connection, server_id, actor=actor, now_ms=now_ms)
        return server_id

    await _drop_from_memory(hub, await hub.writing(work))


async def _drop_from_memory(hub: Hub, server_id: str) -> None:
    """Nothing in memory speaks any longer of a server whose row was deleted, and names that only it made
    doubtful are looked up again."""
    hub.presence.forget(server_id)
    hub.keys.drop(server_id)
    hub.dispatcher.forget(server_id)
    await hub.dispatcher.jobs_changed([])
    await hub.dispatcher.resolve_again()


async def thaw_server(hub: Hub, actor: str, server_id: str) -> None:
    """End a freeze: the process heard last speaks for the server again. Raises NotFoundError."""
    hub.presence.thaw(server_id, actor=actor)
    hub.dispatcher.server_changed(server_id)
    await hub.flush()


async def give_order(hub: Hub, actor: str, server_id: str, wanted: OrderRequest) -> Order:
    """Ask a server to do something. It gets the order with its next heartbeats, for ten minutes. Raises
    InvalidValueError, NotFoundError."""
    hub.presence.known(server_id)
    now_ms = hub.clock.now_ms()
    waiting = await hub.writing(lambda c: add_order(c, server_id, wanted, actor=actor, now_ms=now_ms))
    hub.presence.add_order(server_id, waiting)
    return waiting.order


async def receive_capabilities(hub: Hub, server_id: str, capabilities: ServerCapabilities) -> None:
    """What its WebUI can do, and for whom it may work, in place of what it reported before. Raises
    InvalidValueError, NotFoundError."""
    now_ms = hub.clock.now_ms()
    await hub.writing(
        lambda connection: store_capabilities(connection, server_id, capabilities, now_ms=now_ms)
    )
    hub.dispatcher.server_changed(server_id)
