"""Runners: a server asks for jobs, tells how they go, and brings the pictures."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from stablequeue_client.shared.errors import (
    DataFolderError,
    InvalidValueError,
    NotFoundError,
    ServerFrozenError,
    TooLargeError,
)
from stablequeue_client.shared.wire.runner import (
    PICTURE_MAX_BYTES,
    PICTURES_MAX,
    TEXT_MAX,
    Assignment,
    FinishAnswer,
    FinishRequest,
    NextRequest,
    RefuseRequest,
    RenewAnswer,
    RenewRequest,
)
from stablequeue_hub.actions.runs import finish_run, receive_picture
from stablequeue_hub.errors import StaleRunError
from stablequeue_hub.http.openapi import described
from stablequeue_hub.http.request_bodies import read_body, read_json
from stablequeue_hub.http.request_context import hub_of
from stablequeue_hub.http.responses import json_answer

router = APIRouter(prefix="/api/v1/servers/{server_id}/runner", tags=["runners"])
ID_MAX = 64


class StoredPicture(msgspec.Struct, frozen=True):
    """What the hub received: SHA256 of the bytes, width and height in pixels."""

    sha256: str
    width: int
    height: int


@router.post(
    "/next",
    **described(
        "server",
        request=NextRequest,
        answer=Assignment | None,
        errors=(InvalidValueError, NotFoundError, ServerFrozenError),
    ),
)
async def next_job(request: Request, server_id: str) -> Response:
    """A job for this server, as soon as there is one; `null` when none came in time."""
    wanted = await read_json(request, NextRequest)
    _check_id(wanted.runner_id, "runner_id")
    return json_answer(await hub_of(request).dispatcher.next_job(server_id, wanted, request.is_disconnected))


@router.post(
    "/renew", **described("server", request=RenewRequest, answer=RenewAnswer, errors=(InvalidValueError,))
)
async def renew(request: Request, server_id: str) -> Response:
    """The runner still works on it."""
    message = await read_json(request, RenewRequest)
    return json_answer(await hub_of(request).dispatcher.renew(server_id, message))


@router.post(
    "/refuse",
    **described(
        "server",
        request=RefuseRequest,
        status=204,
        errors=(InvalidValueError, NotFoundError, StaleRunError),
    ),
)
async def refuse(request: Request, server_id: str) -> Response:
    """The job goes back unstarted."""
    message = await read_json(request, RefuseRequest)
    message = msgspec.structs.replace(message, text=_checked(message.text))
    await hub_of(request).dispatcher.refuse(server_id, message)
    return Response(status_code=204)


@router.put(
    "/jobs/{job_id}/pictures/{number}",
    **described(
        "server",
        answer=StoredPicture,
        errors=(InvalidValueError, StaleRunError, TooLargeError, DataFolderError),
    ),
)
async def picture(
    request: Request,
    server_id: str,
    job_id: str,
    number: Annotated[int, Path(ge=0, lt=PICTURES_MAX)],
    fence: Annotated[int, Query(ge=1, le=2**53)],
) -> Response:
    """One picture of the job as PNG bytes, before `finish`. Sending it again replaces it."""
    stored = await receive_picture(
        hub_of(request),
        server_id,
        job_id,
        fence,
        number,
        lambda: read_body(request, PICTURE_MAX_BYTES, "picture"),
    )
    return json_answer(StoredPicture(stored.sha256, stored.width, stored.height))


@router.post(
    "/finish",
    **described(
        "server",
        request=FinishRequest,
        answer=FinishAnswer,
        errors=(InvalidValueError, StaleRunError, TooLargeError),
    ),
)
async def finish(request: Request, server_id: str) -> Response:
    """The run ended. The hub judges the pictures, and answers what became of the job."""
    message = await read_json(request, FinishRequest)
    loaded = [msgspec.structs.replace(one, detail=_storable(one.detail)) for one in message.loaded]
    message = msgspec.structs.replace(message, text=_checked(message.text), loaded=loaded)
    if len(message.pictures) > PICTURES_MAX:
        raise TooLargeError(f"A job can produce at most {PICTURES_MAX} pictures.")
    return json_answer(await finish_run(hub_of(request), server_id, message))


def _check_id(value: str, name: str) -> None:
    if not 1 <= len(value) <= ID_MAX or not value.isprintable():
        raise InvalidValueError(f"`{name}` must have 1 to {ID_MAX} printable characters.")


def _checked(text: str) -> str:
    if len(text) > TEXT_MAX:
        raise InvalidValueError(f"`text` must have at most {TEXT_MAX} characters.")
    return _storable(text)


def _storable(text: str) -> str:
    """An error of a WebUI may hold anything; PostgreSQL stores no NUL."""
    return text.replace("\x00", "")
