"""What servers send: heartbeats, inventories, header metadata, what their WebUI can do."""

from __future__ import annotations

import logging

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from stablequeue_client.shared.errors import (
    BusyError,
    ForbiddenError,
    InvalidValueError,
    NotFoundError,
    RolledBackError,
    ServerFrozenError,
    StableQueueError,
    SyncOutOfStepError,
    TooLargeError,
)
from stablequeue_client.shared.models.safetensors_header import METADATA_MAX_BYTES
from stablequeue_client.shared.wire.inventory import (
    CAPABILITIES_MAX_BYTES,
    HEARTBEAT_MAX_BYTES,
    SYNC_MAX_BYTES,
    SYNC_MAX_COMPRESSED_BYTES,
    Heartbeat,
    HeartbeatAnswer,
    ServerCapabilities,
    SyncAnswer,
    SyncRequest,
)
from stablequeue_hub.http.authorisation import principal_of
from stablequeue_hub.http.openapi import described
from stablequeue_hub.http.request_bodies import read_body, read_json
from stablequeue_hub.http.responses import json_answer
from stablequeue_hub.hub import Hub, hub_of
from stablequeue_hub.inventory.metadata import OUTPUT_NAME, store_metadata
from stablequeue_hub.inventory.sync import apply_sync, decode_sync, decompress_limited
from stablequeue_hub.servers.capabilities import store_capabilities
from stablequeue_hub.servers.heartbeat import decode_heartbeat, take_heartbeat
from stablequeue_hub.servers.presence import Inventory

router = APIRouter(prefix="/api/v1", tags=["servers"])
_log = logging.getLogger("stablequeue_hub")

SYNC_ERRORS = (InvalidValueError, NotFoundError, TooLargeError, SyncOutOfStepError, RolledBackError)


@router.post(
    "/servers/{server_id}/heartbeat",
    **described(
        "server",
        request=Heartbeat,
        answer=HeartbeatAnswer,
        errors=(InvalidValueError, NotFoundError, TooLargeError, ServerFrozenError),
    ),
)
async def heartbeat(request: Request, server_id: str) -> Response:
    """Every ten seconds: "I live". The answer names the sync the hub needs, and waiting orders."""
    beat = decode_heartbeat(await read_body(request, HEARTBEAT_MAX_BYTES))
    return json_answer(take_heartbeat(hub_of(request).presence, server_id, beat))


@router.post(
    "/servers/{server_id}/models/sync",
    **described(
        "server",
        request=SyncRequest,
        answer=SyncAnswer,
        gzip=True,
        errors=(*SYNC_ERRORS, ServerFrozenError, BusyError),
    ),
)
async def sync(request: Request, server_id: str) -> Response:
    """A server's inventory, in full or what changed; all of it is taken over, or nothing."""
    hub = hub_of(request)
    server = hub.presence.known(server_id)
    gzipped = _is_gzipped(request)
    body = await read_body(request, SYNC_MAX_COMPRESSED_BYTES if gzipped else SYNC_MAX_BYTES)
    if server.syncing:
        raise BusyError("Another sync of this server is being worked on.", details={"retry_after_s": 3})
    server.syncing = True
    try:
        answer = await hub.lanes.lane(len(body)).run(lambda: _apply(hub, server_id, body, gzipped))
    finally:
        server.syncing = False
    hub.presence.spoke(server_id)
    await _tell_jobs(hub, server_id, answer.sequence)
    return json_answer(answer)


async def _tell_jobs(hub: Hub, server_id: str, sequence: int) -> None:
    """Jobs that wait may run now. The inventory is stored already: whatever fails here is no fault of it."""
    try:
        await hub.dispatcher.inventory_changed(server_id, sequence)
    except StableQueueError as error:
        _log.warning("Waiting jobs could not be told of a new inventory: %s", error.message)


def _apply(hub: Hub, server_id: str, body: bytes, gzipped: bool) -> SyncAnswer:
    decoded = decode_sync(decompress_limited(body) if gzipped else body)
    server = hub.presence.known(server_id)
    if server.frozen is not None:
        raise ServerFrozenError(server.frozen)
    answer = apply_sync(hub.store, server_id, decoded, now_ms=hub.clock.now_ms())
    hub.presence.synced(server_id, Inventory(decoded.index_id, answer.sequence, answer.digest))
    return answer


def _is_gzipped(request: Request) -> bool:
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding not in ("gzip", "identity"):
        raise InvalidValueError("A sync may be compressed with gzip only.")
    return encoding == "gzip"


@router.put(
    "/servers/{server_id}/capabilities",
    **described(
        "server",
        request=ServerCapabilities,
        status=204,
        errors=(InvalidValueError, NotFoundError, TooLargeError),
    ),
)
async def capabilities(request: Request, server_id: str) -> Response:
    """What the server's WebUI can do, and for whom it may work; replaces what it said before."""
    hub = hub_of(request)
    said = await read_json(request, ServerCapabilities, CAPABILITIES_MAX_BYTES)
    now_ms = hub.clock.now_ms()
    await hub.writing(lambda connection: store_capabilities(connection, server_id, said, now_ms=now_ms))
    hub.dispatcher.server_changed(server_id)
    return Response(status_code=204)


class Stored(msgspec.Struct, frozen=True):
    """``stored`` False: the hub had metadata of this content already."""

    stored: bool


@router.put(
    "/models/{sha256}/metadata",
    **described(
        "server",
        request=dict[str, str],
        answer=Stored,
        errors=(InvalidValueError, ForbiddenError, NotFoundError, TooLargeError),
    ),
)
async def metadata(request: Request, sha256: str) -> Response:
    """Header fields of one content, from a server that was asked for them (``want_metadata``)."""
    hub, server_id = hub_of(request), principal_of(request).server_id
    assert server_id is not None
    fields = await read_json(request, dict[str, str], METADATA_MAX_BYTES)
    now_ms = hub.clock.now_ms()
    stored = await hub.writing(
        lambda connection: store_metadata(connection, sha256, fields, server_id=server_id, now_ms=now_ms)
    )
    if stored and OUTPUT_NAME in fields:  # a waiting job may call a LoRA so
        await hub.dispatcher.look_up_again()
    return json_answer(Stored(stored))
