"""Models: the list, one model, registration by hand."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from stablequeue_client.shared.errors import ConflictError, InvalidValueError, NotFoundError
from stablequeue_client.shared.model_files.model_file import Kind
from stablequeue_hub.actions.models import register_model
from stablequeue_hub.http.openapi import described
from stablequeue_hub.http.request_bodies import read_json
from stablequeue_hub.http.request_context import hub_of, principal_of
from stablequeue_hub.http.responses import json_answer
from stablequeue_hub.legacy.answers import AlsoOldRoute
from stablequeue_hub.legacy.models import old_model, old_models
from stablequeue_hub.models.details import ModelDetailsAnswer, model_details
from stablequeue_hub.models.filters import ModelFilter, SortOrder, StateFilter
from stablequeue_hub.models.matrix import PAGE_LIMIT_MAX, ModelPage, list_models
from stablequeue_hub.models.registration import Registered, Registration

router = APIRouter(prefix="/api/v1/models", tags=["models"], route_class=AlsoOldRoute)


@router.get("", **described("old_read", answer=ModelPage, errors=(InvalidValueError,)))
async def models_list(
    request: Request,
    search: Annotated[str, Query(max_length=200)] = "",
    kind: Kind | None = None,
    base_model: Annotated[str | None, Query(max_length=100)] = None,
    server: Annotated[str | None, Query(max_length=64)] = None,
    state: StateFilter | None = None,
    sort: SortOrder = "name",
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    limit: Annotated[int | None, Query(ge=1, le=PAGE_LIMIT_MAX)] = None,
) -> Response:
    """Models with the servers that have them. Without ``limit``: every row.

    Without a key (where the owner opened the old paths) every row in the old columns, and nothing of servers.
    """
    hub, is_open = hub_of(request), principal_of(request).kind == "open"
    wanted = ModelFilter(search, kind, base_model, server, state, sort, page, limit)
    if is_open:
        wanted = ModelFilter()
    now_ms = hub.clock.now_ms()
    found = await hub.reading(lambda connection: list_models(connection, wanted, hub.presence, now_ms=now_ms))
    return json_answer(old_models(found) if is_open else found)


@router.post(
    "/register",
    **described(
        "admin",
        request=Registration,
        answer=Registered,
        status=201,
        errors=(InvalidValueError, ConflictError),
    ),
)
async def register(request: Request) -> Response:
    """State a model by hand. Without its full SHA256 it is a lead: found by name, available nowhere."""
    wanted = await read_json(request, Registration)
    return json_answer(await register_model(hub_of(request), principal_of(request).actor, wanted), 201)


@router.get(
    "/{model}", **described("old_read", answer=ModelDetailsAnswer, errors=(NotFoundError, ConflictError))
)
async def model(request: Request, model: str) -> Response:
    """Everything about one model, by row id or hash.

    Without a key (where the owner opened the old paths) only what the old StableQueue answered.
    """
    hub = hub_of(request)
    now_ms = hub.clock.now_ms()
    found = await hub.reading(
        lambda connection: model_details(connection, model, hub.presence, now_ms=now_ms)
    )
    return json_answer(old_model(found.model) if principal_of(request).kind == "open" else found)
