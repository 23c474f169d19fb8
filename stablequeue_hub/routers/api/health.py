"""``GET /healthz``: who answers here, before anything else. ``GET /status``: the same for old clients."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from stablequeue_client import __version__
from stablequeue_client.shared.wire.inventory import (
    PROTOCOL_MAX,
    PROTOCOL_MIN,
    SERVICE_NAME,
    Health,
    ProtocolRange,
)
from stablequeue_hub.http.openapi import described
from stablequeue_hub.http.request_context import hub_of
from stablequeue_hub.http.responses import json_answer

router = APIRouter(tags=["hub"])


@router.get("/healthz", **described("public", answer=Health))
async def health(request: Request) -> Response:
    """Which service, which hub, which protocol."""
    hub_id = hub_of(request).hub_id
    protocol = ProtocolRange(PROTOCOL_MIN, PROTOCOL_MAX)
    return json_answer(Health(SERVICE_NAME, hub_id, protocol, __version__, bodies_in_pieces=True))


@router.get("/status", **described("public", answer=str, media_type="text/plain"))
async def status() -> Response:
    """What the old StableQueue answered, word for word: old clients look whether it is there."""
    return PlainTextResponse("MobileSD Server is running")
