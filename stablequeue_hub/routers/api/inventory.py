"""What servers send: heartbeats, inventories, header metadata, what their WebUI can do."""

from __future__ import annotations

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
    SyncOutOfStepError,
    TooLargeError,
)
from stablequeue_client.shared.model_files.safetensors_header import METADATA_MAX_BYTES
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
from stablequeue_hub.actions.models import receive_metadata, sync_inventory
from stablequeue_hub.actions.servers import receive_capabilities
from stablequeue_hub.http.openapi import described
from stablequeue_hub.http.request_bodies import read_body, read_json
from stablequeue_hub.http.request_context import hub_of, principal_of
from stablequeue_hub.http.responses import json_answer
from stablequeue_hub.servers.heartbeat import decode_heartbeat, handle_heartbeat

router = APIRouter(prefix="/api/v1", tags=["servers"])

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
    hub = hub_of(request)
    answer = handle_heartbeat(hub.presence, server_id, beat)
    return json_answer(msgspec.structs.replace(answer, transfers=server_id in hub.relay.concerned))


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
    gzipped = _is_gzipped(request)
    limit = SYNC_MAX_COMPRESSED_BYTES if gzipped else SYNC_MAX_BYTES
    body = await read_body(request, limit, "inventory")
    return json_answer(await sync_inventory(hub_of(request), server_id, body, gzipped=gzipped))


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
    """What the server's WebUI can do, and for whom it may work; replaces what it reported before."""
    reported = await read_json(request, ServerCapabilities, CAPABILITIES_MAX_BYTES)
    await receive_capabilities(hub_of(request), server_id, reported)
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
    server_id = principal_of(request).server_id
    assert server_id is not None
    fields = await read_json(request, dict[str, str], METADATA_MAX_BYTES)
    return json_answer(Stored(await receive_metadata(hub_of(request), server_id, sha256, fields)))
