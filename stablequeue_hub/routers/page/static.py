"""The browser side's script and style sheet; public."""

from __future__ import annotations

import hashlib

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from stablequeue_client.shared.errors import NotFoundError
from stablequeue_client.shared.views.assets import asset
from stablequeue_hub.http.openapi import described
from stablequeue_hub.http.responses import unchanged_answer

router = APIRouter(include_in_schema=False)


@router.get("/static/{name}", **described("public"))
async def static(request: Request, name: str) -> Response:
    """One file, checked for changes each time it is used."""
    found = asset(name)
    if found is None:
        raise NotFoundError("There is no such file.")
    content, content_type = found
    headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"', "Cache-Control": "no-cache"}
    return unchanged_answer(request, headers) or Response(content, headers=headers, media_type=content_type)
