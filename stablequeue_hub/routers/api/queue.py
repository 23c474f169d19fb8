"""The queue as a whole: counts, pause and resume, what its jobs wait for."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from stablequeue_client.shared.errors import InvalidValueError, NotFoundError
from stablequeue_client.shared.wire.queue import QueueInfo, WaitingGroups
from stablequeue_hub.actions.queue import pause_jobs
from stablequeue_hub.http.openapi import described
from stablequeue_hub.http.request_context import hub_of, principal_of
from stablequeue_hub.http.responses import json_answer
from stablequeue_hub.jobs.queue_state import queue_info
from stablequeue_hub.matching.missing_models import GROUPS_MAX, waiting_groups

router = APIRouter(prefix="/api/v1/queue", tags=["queue"])


@router.get("", **described("read", answer=QueueInfo))
async def queue(request: Request) -> Response:
    """How many jobs in each state, and what is paused."""
    return json_answer(await hub_of(request).reading(queue_info))


@router.get("/waiting", **described("read", answer=WaitingGroups, errors=(InvalidValueError,)))
async def waiting(request: Request, limit: Annotated[int, Query(ge=1, le=GROUPS_MAX)] = 50) -> Response:
    """Jobs that wait for one model, together: until when, and where the model can be copied from and to."""
    hub, now_ms = hub_of(request), hub_of(request).clock.now_ms()
    return json_answer(
        await hub.reading(
            lambda connection: waiting_groups(connection, hub.presence, now_ms=now_ms, limit=limit)
        )
    )


@router.post("/pause", **described("admin", answer=QueueInfo))
async def pause(request: Request) -> Response:
    """No server gets a job until the queue is resumed. Running jobs continue."""
    return await _pause(request, None, True)


@router.post("/resume", **described("admin", answer=QueueInfo))
async def resume(request: Request) -> Response:
    """Servers get jobs again, except those that are paused themselves."""
    return await _pause(request, None, False)


@router.post("/servers/{server_id}/pause", **described("owner", answer=QueueInfo, errors=(NotFoundError,)))
async def pause_one(request: Request, server_id: str) -> Response:
    """This server gets no job until it is resumed. A job that runs there continues."""
    return await _pause(request, server_id, True)


@router.post("/servers/{server_id}/resume", **described("owner", answer=QueueInfo, errors=(NotFoundError,)))
async def resume_one(request: Request, server_id: str) -> Response:
    """This server gets jobs again, also when it is in cooldown after several failures."""
    return await _pause(request, server_id, False)


async def _pause(request: Request, server_id: str | None, paused: bool) -> Response:
    actor = principal_of(request).actor
    return json_answer(await pause_jobs(hub_of(request), actor, server_id, paused=paused))
