"""Request bodies: read up to a size and a time, after the key was checked; decoded by msgspec only."""

from __future__ import annotations

import asyncio
from typing import TypeVar

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from stablequeue_client.shared.errors import InvalidValueError, TooLargeError
from stablequeue_client.shared.wire.pieces import BODY_HEADER
from stablequeue_hub.access.body_lanes import LARGE_BYTES, BodyKind
from stablequeue_hub.errors import SlowRequestError
from stablequeue_hub.http.request_context import hub_of, principal_of

BODY_MAX_BYTES = 256 * 1024

T = TypeVar("T")


async def read_body(request: Request, limit: int = BODY_MAX_BYTES, kind: BodyKind = "other") -> bytes:
    """The whole body as sent, at once or before in pieces; a large one waits for a place in the lane of its
    ``kind``. Raises TooLargeError, SlowRequestError, IncompleteBodyError, BusyError."""
    body_id = request.headers.get(BODY_HEADER)
    if body_id is not None:
        await hub_of(request).body_lanes.enter(kind, request.scope)
        owner, stored = principal_of(request).actor, hub_of(request).stored_bodies
        return await run_in_threadpool(stored.take, owner, body_id, limit)
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced[:20]) > limit:
        raise _too_large(limit)
    # Without a length it may be anything.
    if limit > LARGE_BYTES and (not announced.isdigit() or int(announced) > LARGE_BYTES):
        await hub_of(request).body_lanes.enter(kind, request.scope)
    try:
        return await asyncio.wait_for(_receive(request, limit), hub_of(request).settings.body_timeout_s)
    except asyncio.TimeoutError:
        raise SlowRequestError from None


async def _receive(request: Request, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
    return b"".join(parts)


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError(f"The request's body is larger than {limit} bytes.")


async def read_json(
    request: Request, form: type[T], limit: int = BODY_MAX_BYTES, kind: BodyKind = "other"
) -> T:
    """The body as ``form`` (a msgspec Struct or dataclass); unknown fields are ignored.

    Raises InvalidValueError, which names the field but repeats no value.
    """
    if request.headers.get("content-encoding", "identity") != "identity":
        raise InvalidValueError("Only a sync may be compressed.", remedy="Send this body as plain JSON.")
    body = await read_body(request, limit, kind)
    try:
        return msgspec.json.decode(body, type=form)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise InvalidValueError(f"The request's body is not valid: {exc}.") from None
