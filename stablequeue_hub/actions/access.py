"""Keys, sessions, and where the hub listens. What is remembered of keys and sessions is forgotten at once."""

from __future__ import annotations

from sqlalchemy import Connection

from stablequeue_hub.access import keys, sessions
from stablequeue_hub.access.keys import CreatedKey, Principal
from stablequeue_hub.access.network import EVERYWHERE, NetworkInfo, network_info
from stablequeue_hub.events import events
from stablequeue_hub.hub import Hub
from stablequeue_hub.settings import LOOPBACK
from stablequeue_hub.store.hub_settings_table import LISTEN_HOST, set_setting


async def create_key(hub: Hub, actor: str, scope: str, name: str) -> CreatedKey:
    """A new key, shown this once. Raises InvalidValueError."""
    now_ms = hub.clock.now_ms()
    return await hub.writing(lambda c: keys.create_key(c, scope, name=name, actor=actor, now_ms=now_ms))


async def create_join_code(hub: Hub, actor: str) -> CreatedKey:
    """A key with which one more server joins within an hour."""
    now_ms = hub.clock.now_ms()
    return await hub.writing(lambda c: keys.create_join_code(c, actor=actor, now_ms=now_ms))


async def revoke_key(hub: Hub, actor: str, key_id: str) -> None:
    """Make a key worthless, and the sessions opened with it, at once and for good. Raises NotFoundError."""
    now_ms = hub.clock.now_ms()
    await hub.writing(lambda c: keys.revoke_key(c, key_id, actor=actor, now_ms=now_ms))
    hub.keys.drop(key_id)
    hub.sessions.drop_all()


async def open_session(hub: Hub, opener: Principal | None) -> str:
    """The cookie's token; see ``sessions.open_session``."""
    now_ms = hub.clock.now_ms()
    return await hub.writing(lambda c: sessions.open_session(c, opener, now_ms=now_ms))


async def close_session(hub: Hub, token: str) -> None:
    await hub.writing(lambda connection: sessions.close_session(connection, token))
    hub.sessions.drop(token)


async def set_reachable(hub: Hub, actor: str, reachable: bool) -> NetworkInfo:
    """Listen on every address of this computer or on its own only, now and at later starts. Open connections
    stay. Raises PortTakenError (nothing is changed then)."""
    before = network_info(hub.host, hub.settings.port)
    if before.reachable == reachable:
        return before
    host, now_ms = EVERYWHERE if reachable else LOOPBACK, hub.clock.now_ms()
    if hub.listener is not None:
        await hub.listener.listen_on(host)

    def store(connection: Connection) -> None:
        set_setting(connection, LISTEN_HOST, host)
        events.append(connection, "network_changed", actor, now_ms=now_ms, details={"host": host})

    await hub.writing(store)
    return network_info(host, hub.settings.port)
