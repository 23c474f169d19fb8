"""Large bodies in pieces, before the request that they belong to."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from stablequeue_client.shared.errors import DataFolderError, InvalidValueError, TooLargeError
from stablequeue_client.shared.wire.pieces import PIECE_MAX_BYTES, BodyReceived
from stablequeue_hub.errors import IncompleteBodyError
from stablequeue_hub.http.openapi import described
from stablequeue_hub.http.request_bodies import read_body
from stablequeue_hub.http.request_context import hub_of, principal_of
from stablequeue_hub.http.responses import json_answer

router = APIRouter(prefix="/api/v1/bodies", tags=["hub"])


@router.put(
    "/{body_id}",
    **described(
        "jobs",
        answer=BodyReceived,
        errors=(InvalidValueError, IncompleteBodyError, TooLargeError, DataFolderError),
    ),
)
async def piece(
    request: Request,
    body_id: str,
    offset: Annotated[int, Query(ge=0, le=2**40)],
    total: Annotated[int, Query(ge=1, le=2**40)],
) -> Response:
    """One piece of a large body, as bytes, for a proxy that takes only small requests. The request that it
    belongs to follows with an empty body and the header `X-StableQueue-Body: <body_id>`."""
    owner, stored = principal_of(request).actor, hub_of(request).stored_bodies
    data = await read_body(request, PIECE_MAX_BYTES)
    received = await run_in_threadpool(stored.add, owner, body_id, offset, total, data)
    return json_answer(BodyReceived(received))
