"""Whether other computers can reach the hub."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from stablequeue_client.shared.errors import InvalidValueError
from stablequeue_hub.access.network import NetworkInfo, network_info
from stablequeue_hub.actions.access import set_reachable
from stablequeue_hub.http.openapi import described
from stablequeue_hub.http.request_bodies import read_json
from stablequeue_hub.http.request_context import hub_of, principal_of
from stablequeue_hub.http.responses import json_answer

router = APIRouter(prefix="/api/v1/network", tags=["hub"])


class Reach(msgspec.Struct, frozen=True):
    """``reachable`` True: listen on every address of this computer, now and at later starts."""

    reachable: bool


@router.get("", **described("read", answer=NetworkInfo))
async def network(request: Request) -> Response:
    """The address it listens on, and those under which others reach it (or would)."""
    hub = hub_of(request)
    return json_answer(network_info(hub.host, hub.settings.port))


@router.post("", **described("admin", request=Reach, answer=NetworkInfo, errors=(InvalidValueError,)))
async def set_reach(request: Request) -> Response:
    """Open the hub to the network, or close it again. Open connections stay."""
    wanted = await read_json(request, Reach)
    actor = principal_of(request).actor
    return json_answer(await set_reachable(hub_of(request), actor, wanted.reachable))
