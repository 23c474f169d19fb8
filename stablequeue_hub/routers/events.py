"""What happened."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from stablequeue_client.errors import InvalidValueError
from stablequeue_hub.answers import json_answer
from stablequeue_hub.documentation import described
from stablequeue_hub.events import LIST_MAX, Event, list_events
from stablequeue_hub.hub import hub_of

router = APIRouter(prefix="/api/v1/events", tags=["hub"])


class EventList(msgspec.Struct, frozen=True):
    """Events in order; ask again with ``after`` = the last one's id."""

    events: list[Event]


@router.get("", **described("read", answer=EventList, errors=(InvalidValueError,)))
async def events_list(
    request: Request,
    after: Annotated[int, Query(ge=0, le=2**62)] = 0,
    limit: Annotated[int, Query(ge=1, le=LIST_MAX)] = 100,
) -> Response:
    """Events behind the one with id ``after``, oldest first."""
    hub = hub_of(request)
    found = await hub.reading(lambda connection: list_events(connection, after_id=after, limit=limit))
    return json_answer(EventList(found))
