"""Presence in the database: read at the start, written every few seconds."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_hub.clock import HubClock
from stablequeue_hub.events import events
from stablequeue_hub.servers.orders import delete_orders, waiting_orders
from stablequeue_hub.servers.presence import Boot, Inventory, Presence, PresenceChanges, ServerPresence
from stablequeue_hub.store.tables import retired_boots, servers


def load_presence(connection: Connection, clock: HubClock) -> Presence:
    """Load what the hub knew of its servers when it stopped."""
    presence = Presence(clock)
    retired: dict[str, dict[str, Boot]] = {}
    for row in connection.execute(sa.select(retired_boots).order_by(retired_boots.c.retired_ms)):
        boot = Boot(row.boot_counter, row.heard_again, row.retired_ms)
        retired.setdefault(row.server_id, {})[row.boot_id] = boot
    for row in connection.execute(sa.select(servers)):
        boots = retired.get(row.server_id, {})
        if row.boot_id is not None:
            boots.pop(row.boot_id, None)
            boots[row.boot_id] = Boot(row.boot_counter)
        presence.add(
            ServerPresence(
                server_id=row.server_id,
                inventory=Inventory(row.index_id, row.sequence, row.digest),
                last_contact_ms=row.last_contact_ms,
                boot_id=row.boot_id,
                boots=boots,
                frozen=row.frozen,
            )
        )
    for server_id, waiting in waiting_orders(connection, clock.now_ms()):
        presence.add_order(server_id, waiting)
    return presence


def store_presence(connection: Connection, changes: PresenceChanges, now_ms: int) -> None:
    """Write what changed. A freeze or thaw is an event of the same transaction."""
    for server in changes.servers:
        before = connection.execute(
            sa.select(servers.c.frozen).where(servers.c.server_id == server.server_id)
        ).first()
        if before is None:
            continue  # forgotten meanwhile
        _store_server(connection, server)
        _store_retired(connection, server, now_ms)
        if before.frozen != server.frozen:
            action = "server_frozen" if server.frozen else "server_thawed"
            events.append(
                connection, action, server.thawed_by or "hub", now_ms=now_ms, server_id=server.server_id
            )
    for server_id, up_to in sorted(changes.taken_over.items()):
        delete_orders(connection, server_id, up_to)


def _store_server(connection: Connection, server: ServerPresence) -> None:
    current = server.boots.get(server.boot_id or "")
    connection.execute(
        servers.update()
        .where(servers.c.server_id == server.server_id)
        .values(
            last_contact_ms=server.last_contact_ms,
            boot_id=server.boot_id,
            boot_counter=current.counter if current else 0,
            frozen=server.frozen,
        )
    )


def _store_retired(connection: Connection, server: ServerPresence, now_ms: int) -> None:
    mine = retired_boots.c.server_id == server.server_id
    wanted = {boot_id: boot for boot_id, boot in server.boots.items() if boot_id != server.boot_id}
    stored = {
        row.boot_id: (row.boot_counter, row.heard_again)
        for row in connection.execute(sa.select(retired_boots).where(mine))
    }
    if stored == {boot_id: (boot.counter, boot.heard_again) for boot_id, boot in wanted.items()}:
        return
    connection.execute(retired_boots.delete().where(mine))
    for boot_id, boot in sorted(wanted.items()):
        connection.execute(
            retired_boots.insert().values(
                server_id=server.server_id,
                boot_id=boot_id,
                boot_counter=boot.counter,
                heard_again=boot.heard_again,
                retired_ms=boot.retired_ms or now_ms,
            )
        )
