"""Copies of models between servers: what people do with them, and what targets and sources do."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from stablequeue_client.shared.errors import (
    BusyError,
    ForbiddenError,
    InvalidValueError,
    NoSourceError,
    NotFoundError,
    ReceiveNeverError,
    TooLargeError,
)
from stablequeue_client.shared.wire.transfers import (
    CHUNK_BYTES,
    SIZE_MAX,
    TRANSFER_TEXT_MAX,
    WAIT_MAX_S,
    ReportAnswer,
    SourceRefusal,
    TransferInfo,
    TransferList,
    TransferOrder,
    TransferPolicy,
    TransferReport,
    TransferRequest,
    WantedChunk,
    WantedChunks,
)
from stablequeue_hub.actions import transfers
from stablequeue_hub.errors import StaleTransferError, TransferStateError
from stablequeue_hub.http.openapi import described
from stablequeue_hub.http.request_bodies import read_body, read_json
from stablequeue_hub.http.request_context import hub_of, principal_of
from stablequeue_hub.http.responses import json_answer
from stablequeue_hub.transfers.relay import Relay
from stablequeue_hub.transfers.rows import list_transfers

router = APIRouter(prefix="/api/v1", tags=["copies"])

TransferId = Annotated[int, Path(ge=1, le=2**53)]
Fence = Annotated[int, Query(ge=1, le=2**53)]
Offset = Annotated[int, Path(ge=0, le=SIZE_MAX)]


# --- people ---------------------------------------------------------------------------------------------


@router.get("/transfers", **described("read", answer=TransferList))
async def transfers_list(request: Request) -> Response:
    """Copies under way, then the latest that ended, newest first."""
    return json_answer(TransferList(await hub_of(request).reading(list_transfers)))


@router.post(
    "/transfers",
    **described(
        "owner",
        request=TransferRequest,
        answer=TransferInfo,
        status=202,
        errors=(InvalidValueError, NotFoundError, ForbiddenError, ReceiveNeverError, NoSourceError),
    ),
)
async def copy(request: Request) -> Response:
    """Have a model copied to a server. A server's own key may do so for that server."""
    wanted = await read_json(request, TransferRequest)
    return json_answer(await transfers.plan_transfer(hub_of(request), principal_of(request), wanted), 202)


@router.post(
    "/transfers/{transfer_id}/accept",
    **described(
        "owner",
        answer=TransferInfo,
        errors=(InvalidValueError, NotFoundError, ForbiddenError, TransferStateError),
    ),
)
async def accept(request: Request, transfer_id: TransferId) -> Response:
    """Let a copy begin that waits for a person."""
    return json_answer(await transfers.accept_transfer(hub_of(request), principal_of(request), transfer_id))


@router.post(
    "/transfers/{transfer_id}/cancel",
    **described(
        "owner",
        answer=TransferInfo,
        errors=(InvalidValueError, NotFoundError, ForbiddenError, TransferStateError),
    ),
)
async def cancel(request: Request, transfer_id: TransferId) -> Response:
    """End a copy; what came of it is removed."""
    return json_answer(await transfers.cancel_transfer(hub_of(request), principal_of(request), transfer_id))


# --- servers --------------------------------------------------------------------------------------------


@router.put(
    "/servers/{server_id}/transfers/policy",
    **described("server", request=TransferPolicy, status=204, errors=(InvalidValueError, NotFoundError)),
)
async def policy(request: Request, server_id: str) -> Response:
    """What the server's owner allows; replaces what was said before."""
    said = await read_json(request, TransferPolicy)
    await transfers.receive_transfer_policy(hub_of(request), server_id, said)
    return Response(status_code=204)


@router.post(
    "/servers/{server_id}/transfers/next",
    **described("server", answer=TransferOrder | None, errors=(NotFoundError,)),
)
async def claim(request: Request, server_id: str) -> Response:
    """The copy that this server is to fetch now; `null` when there is none."""
    hub_of(request).presence.known(server_id)
    return json_answer(await transfers.claim_transfer(hub_of(request), server_id))


@router.post(
    "/servers/{server_id}/transfers/{transfer_id}/report",
    **described(
        "server", request=TransferReport, answer=ReportAnswer, errors=(InvalidValueError, NotFoundError)
    ),
)
async def report(request: Request, server_id: str, transfer_id: TransferId) -> Response:
    """How a copy goes, or how it ended; the answer says whether to stop."""
    said = await read_json(request, TransferReport)
    _check_text(said.text, said.code, said.path)
    if not (0 <= said.bytes_done <= SIZE_MAX and 0 <= said.bytes_per_s <= SIZE_MAX and said.fence >= 0):
        raise InvalidValueError("A number is out of range.")
    return json_answer(await transfers.receive_report(hub_of(request), server_id, transfer_id, said))


@router.get(
    "/servers/{server_id}/transfers/{transfer_id}/chunks/{offset}",
    **described(
        "server",
        media_type="application/octet-stream",
        errors=(InvalidValueError, NotFoundError, StaleTransferError),
    ),
)
async def chunk(
    request: Request,
    server_id: str,
    transfer_id: TransferId,
    offset: Offset,
    fence: Fence,
    length: Annotated[int, Query(ge=1, le=CHUNK_BYTES)],
    wait_s: Annotated[float, Query(ge=0, le=WAIT_MAX_S, allow_inf_nan=False)] = WAIT_MAX_S,
) -> Response:
    """The bytes from there on, or the first of them; nothing when they did not come in time."""
    hub = hub_of(request)
    data = await transfers.receive_chunk(hub, server_id, transfer_id, fence, offset, length, wait_s)
    return ChunkAnswer(hub.relay, data) if data else Response(media_type="application/octet-stream")


class ChunkAnswer(Response):
    """A piece, which is held until it was sent on."""

    def __init__(self, relay: Relay, data: bytes) -> None:
        super().__init__(data, media_type="application/octet-stream")
        self._relay = relay

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._relay.release()


@router.post(
    "/servers/{server_id}/transfers/wanted",
    **described(
        "server", request=WantedChunks, answer=WantedChunk | None, errors=(InvalidValueError, NotFoundError)
    ),
)
async def wanted(request: Request, server_id: str) -> Response:
    """The next range that somebody wants of this server; `null` when none came in time."""
    hub = hub_of(request)
    asked = await read_json(request, WantedChunks)
    if not 0 <= asked.wait_s <= WAIT_MAX_S:
        raise InvalidValueError(f"wait_s must be 0 to {WAIT_MAX_S:.0f}.")
    hub.presence.known(server_id)
    return json_answer(await hub.relay.wanted(server_id, asked.wait_s, request.is_disconnected))


@router.put(
    "/servers/{server_id}/transfers/{transfer_id}/chunks/{offset}",
    **described(
        "server",
        answer=WantedChunk | None,
        errors=(InvalidValueError, NotFoundError, StaleTransferError, TooLargeError, BusyError),
    ),
)
async def send(
    request: Request, server_id: str, transfer_id: TransferId, offset: Offset, fence: Fence
) -> Response:
    """A range that is wanted of this server, or its beginning; the answer is the next one."""
    return json_answer(
        await transfers.send_chunk(
            hub_of(request),
            server_id,
            transfer_id,
            fence,
            offset,
            lambda most: read_body(request, most, "chunk"),
        )
    )


@router.post(
    "/servers/{server_id}/transfers/{transfer_id}/refuse",
    **described(
        "server",
        request=SourceRefusal,
        status=204,
        errors=(InvalidValueError, NotFoundError, StaleTransferError),
    ),
)
async def refuse(request: Request, server_id: str, transfer_id: TransferId) -> Response:
    """This server cannot send it."""
    said = await read_json(request, SourceRefusal)
    _check_text(said.text)
    await transfers.receive_refusal(hub_of(request), server_id, transfer_id, said)
    return Response(status_code=204)


def _check_text(*texts: str) -> None:
    if any(len(text) > 4 * TRANSFER_TEXT_MAX or "\x00" in text for text in texts):
        raise InvalidValueError("A text is too long, or holds a NUL.")
