"""Whether other computers can reach the hub."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from stablequeue_client.shared.errors import InvalidValueError
from stablequeue_hub.access.network import EVERYWHERE, NetworkInfo, network_info
from stablequeue_hub.events import events
from stablequeue_hub.http.openapi import described
from stablequeue_hub.http.request_bodies import read_json
from stablequeue_hub.http.request_context import hub_of, principal_of
from stablequeue_hub.http.responses import json_answer
from stablequeue_hub.hub import Hub
from stablequeue_hub.settings import LOOPBACK
from stablequeue_hub.store.hub_settings_table import LISTEN_HOST, set_fact

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
    hub, actor = hub_of(request), principal_of(request).actor
    wanted = await read_json(request, Reach)
    return json_answer(await set_reachable(hub, wanted.reachable, actor))


async def set_reachable(hub: Hub, reachable: bool, actor: str) -> NetworkInfo:
    """Listen accordingly now, and store the choice. Raises PortTakenError (nothing is changed then)."""
    before = network_info(hub.host, hub.settings.port)
    if before.reachable == reachable:
        return before
    host = EVERYWHERE if reachable else LOOPBACK
    if hub.listener is not None:
        await hub.listener.listen_on(host)
    now_ms = hub.clock.now_ms()

    await hub.writing(lambda connection: set_fact(connection, LISTEN_HOST, host))
    await hub.writing(
        lambda connection: events.append(
            connection, "network_changed", actor, now_ms=now_ms, details={"host": host}
        )
    )
    return network_info(host, hub.settings.port)
