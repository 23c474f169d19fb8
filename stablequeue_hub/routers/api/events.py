"""What happened, and what happens."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from stablequeue_client.shared.errors import InvalidValueError, StableQueueError
from stablequeue_hub.access.network import is_loopback
from stablequeue_hub.events.events import LIST_MAX, Event, list_events
from stablequeue_hub.http.authorisation import authorise, client_address
from stablequeue_hub.http.event_stream import resume_point, stream_events, stream_start
from stablequeue_hub.http.openapi import described
from stablequeue_hub.http.request_context import hub_of
from stablequeue_hub.http.responses import json_answer

OneJob = Annotated[str | None, Query(max_length=64, pattern=r"^[!-~]*$")]
"""What no database can compare is refused before a stream begins: later nobody could be told."""

router = APIRouter(prefix="/api/v1/events", tags=["hub"])


class EventList(msgspec.Struct, frozen=True):
    """Events in order; ask again with ``after`` = the last one's id."""

    events: list[Event]


@router.get("", **described("read", answer=EventList, errors=(InvalidValueError,)))
async def events_list(
    request: Request,
    after: Annotated[int, Query(ge=0, le=2**62)] = 0,
    limit: Annotated[int, Query(ge=1, le=LIST_MAX)] = 100,
    job: OneJob = None,
) -> Response:
    """Events behind the one with id ``after``, oldest first; those of one job, or all."""
    hub = hub_of(request)
    found = await hub.reading(
        lambda connection: list_events(connection, after_id=after, limit=limit, job_id=job)
    )
    return json_answer(EventList(found))


@router.get("/stream", **described("read", errors=(InvalidValueError,), media_type="text/event-stream"))
async def stream(
    request: Request,
    after: Annotated[int | None, Query(ge=0, le=2**62)] = None,
    job: OneJob = None,
) -> Response:
    """Events as they happen, server-sent: ``event`` is the action, ``data`` as in the list.

    Begins behind ``Last-Event-ID`` or ``after``, else with what happens from now on; a comment every 15
    seconds is a sign of life. It ends after an hour at the latest: connect again, as browsers do.
    """
    hub = hub_of(request)
    wanted = resume_point(request.headers.get("last-event-id"), after)
    first = await hub.reading(lambda connection: stream_start(connection, wanted))
    messages = stream_events(hub, first, job, lambda: _still_allowed(request), hub.settings.stream_s)
    headers = {"X-Accel-Buffering": "no"}  # nginx would keep events back
    return StreamingResponse(messages, media_type="text/event-stream", headers=headers)


async def _still_allowed(request: Request) -> bool:
    """Its key or session still counts, and the hub still listens to where it comes from."""
    try:
        await authorise(request, "read")
    except StableQueueError:
        return False
    return not is_loopback(hub_of(request).host) or is_loopback(client_address(request))
