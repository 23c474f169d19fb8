"""What is told of models: inventories, header metadata, registrations. Waiting jobs may run then."""

from __future__ import annotations

import logging

from stablequeue_client.shared.errors import BusyError, ServerFrozenError, StableQueueError
from stablequeue_client.shared.wire.inventory import SyncAnswer
from stablequeue_hub.hub import Hub
from stablequeue_hub.inventory.metadata import OUTPUT_NAME, store_metadata
from stablequeue_hub.inventory.sync import apply_sync, decode_sync, decompress_limited
from stablequeue_hub.models import registration
from stablequeue_hub.models.registration import Registered, Registration
from stablequeue_hub.servers.presence import Inventory

_log = logging.getLogger("stablequeue_hub")


async def sync_inventory(hub: Hub, server_id: str, body: bytes, *, gzipped: bool) -> SyncAnswer:
    """A server's inventory, in full or what changed; all of it is taken over, or nothing. Raises BusyError,
    ServerFrozenError and what ``decode_sync`` and ``apply_sync`` do."""
    server = hub.presence.known(server_id)
    if server.syncing:
        raise BusyError("Another sync of this server is in progress.", details={"retry_after_s": 3})
    server.syncing = True
    try:
        answer = await hub.sync_limits.limit_for(len(body)).run(lambda: _apply(hub, server_id, body, gzipped))
    finally:
        server.syncing = False
    hub.presence.mark_contact(server_id)
    try:
        await hub.dispatcher.inventory_changed(server_id, answer.sequence)
    except StableQueueError as error:  # the inventory is stored: whatever fails here is no fault of it
        _log.warning("Waiting jobs could not be matched with a new inventory: %s", error.message)
    return answer


def _apply(hub: Hub, server_id: str, body: bytes, gzipped: bool) -> SyncAnswer:
    decoded = decode_sync(decompress_limited(body) if gzipped else body)
    server = hub.presence.known(server_id)
    if server.frozen is not None:
        raise ServerFrozenError(server.frozen)
    answer = apply_sync(hub.store, server_id, decoded, now_ms=hub.clock.now_ms())
    hub.presence.record_sync(server_id, Inventory(decoded.index_id, answer.sequence, answer.digest))
    return answer


async def receive_metadata(hub: Hub, server_id: str, sha256: str, fields: dict[str, str]) -> bool:
    """Header fields of one content; False when the hub had them already. Raises what ``store_metadata``
    does."""
    now_ms = hub.clock.now_ms()
    stored = await hub.writing(
        lambda connection: store_metadata(connection, sha256, fields, server_id=server_id, now_ms=now_ms)
    )
    if stored:
        await hub.dispatcher.model_described(sha256.lower())
    if stored and OUTPUT_NAME in fields:  # a waiting job may call a LoRA so
        await hub.dispatcher.resolve_again()
    return stored


async def register_model(hub: Hub, actor: str, wanted: Registration) -> Registered:
    """State a model by hand. Raises InvalidValueError, ConflictError."""
    now_ms = hub.clock.now_ms()
    made = await hub.writing(
        lambda connection: registration.register_model(connection, wanted, actor=actor, now_ms=now_ms)
    )
    if wanted.hash_sha256:
        await hub.dispatcher.model_described(wanted.hash_sha256.lower())
    await hub.dispatcher.resolve_again()
    return made
