"""Availability: which server has a model."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from stablequeue_client.shared.errors import InvalidValueError, TooLargeError
from stablequeue_hub.http.openapi import described
from stablequeue_hub.http.request_bodies import read_json
from stablequeue_hub.http.request_context import hub_of, principal_of
from stablequeue_hub.http.responses import json_answer
from stablequeue_hub.legacy.answers import AlsoOldRoute
from stablequeue_hub.legacy.models import old_model_servers
from stablequeue_hub.models.availability import AvailabilityAnswer, availability_of, availability_of_many
from stablequeue_hub.models.lookup import ModelRef
from stablequeue_hub.models.model_query import NamedModel

router = APIRouter(prefix="/api/v1", tags=["models"], route_class=AlsoOldRoute)


class AvailabilityQuery(msgspec.Struct, frozen=True):
    """Up to 1,000 in all: ``hashes`` (or row ids, or names of any kind), and ``names`` of one kind each,
    which are names also where they look like a hash or a row id."""

    hashes: list[str] = []
    names: list[NamedModel] = []


class AvailabilityAnswers(msgspec.Struct, frozen=True):
    """One answer for each of the query's hashes, then for each of its names, in their order."""

    count: int
    results: list[AvailabilityAnswer]
    success: bool = True


@router.get(
    "/models/{model}/availability",
    **described("old_read", answer=AvailabilityAnswer, errors=(InvalidValueError,)),
)
async def availability(request: Request, model: str) -> Response:
    """Where a model is, by row id, hash or name. Several hits are ``ambiguous``, never guessed.

    Without a key (where the owner opened the old paths) only what the old StableQueue answered.
    """
    hub = hub_of(request)
    now_ms = hub.clock.now_ms()
    found = await hub.reading(
        lambda connection: availability_of(connection, model, hub.presence, now_ms=now_ms)
    )
    return json_answer(old_model_servers(found) if principal_of(request).kind == "open" else found)


@router.post(
    "/availability",
    **described(
        "read",
        request=AvailabilityQuery,
        answer=AvailabilityAnswers,
        errors=(InvalidValueError, TooLargeError),
    ),
)
async def availability_many(request: Request) -> Response:
    """The same for many hashes and names at once. A short hash that says nothing has no matches."""
    hub = hub_of(request)
    query = await read_json(request, AvailabilityQuery)
    now_ms = hub.clock.now_ms()
    wanted: list[ModelRef] = [*query.hashes, *query.names]
    results = await hub.reading(
        lambda connection: availability_of_many(connection, wanted, hub.presence, now_ms=now_ms)
    )
    return json_answer(AvailabilityAnswers(len(results), results))
