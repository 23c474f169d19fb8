"""Keys: list, create, revoke, and the code of "Add another computer"."""

from __future__ import annotations

from typing import Literal

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from stablequeue_client.shared.errors import InvalidValueError, NotFoundError
from stablequeue_hub.access.keys import CreatedKey, KeyInfo, list_keys
from stablequeue_hub.actions.access import create_join_code, create_key, revoke_key
from stablequeue_hub.http.openapi import described
from stablequeue_hub.http.request_bodies import read_json
from stablequeue_hub.http.request_context import hub_of, principal_of
from stablequeue_hub.http.responses import json_answer

router = APIRouter(prefix="/api/v1/keys", tags=["keys"])


class KeyRequest(msgspec.Struct, frozen=True):
    """What the key is for. ``name`` helps its owner to tell it from others."""

    scope: Literal["admin", "jobs", "view", "join"]
    name: str = ""


class KeyList(msgspec.Struct, frozen=True):
    """All keys, newest first, without their secrets."""

    keys: list[KeyInfo]


@router.get("", **described("admin", answer=KeyList))
async def keys_list(request: Request) -> Response:
    """All keys, also revoked ones."""
    return json_answer(KeyList(await hub_of(request).reading(list_keys)))


@router.post(
    "", **described("admin", request=KeyRequest, answer=CreatedKey, status=201, errors=(InvalidValueError,))
)
async def create(request: Request) -> Response:
    """A new key. Its text is in this answer and nowhere else."""
    wanted = await read_json(request, KeyRequest)
    actor = principal_of(request).actor
    return json_answer(await create_key(hub_of(request), actor, wanted.scope, wanted.name), 201)


@router.post("/join-code", **described("admin", answer=CreatedKey, status=201))
async def join_code(request: Request) -> Response:
    """A key with which one more server joins within an hour."""
    return json_answer(await create_join_code(hub_of(request), principal_of(request).actor), 201)


@router.delete("/{key_id}", **described("admin", status=204, errors=(NotFoundError,)))
async def revoke(request: Request, key_id: str) -> Response:
    """Make a key worthless, at once and for good."""
    await revoke_key(hub_of(request), principal_of(request).actor, key_id)
    return Response(status_code=204)
