"""The browser side's script and style sheet; public."""

from __future__ import annotations

import hashlib

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from stablequeue_client.shared.errors import NotFoundError
from stablequeue_client.shared.views.assets import asset
from stablequeue_hub.http.openapi import described

router = APIRouter(include_in_schema=False)


@router.get("/static/{name}", **described("public"))
async def static(request: Request, name: str) -> Response:
    """One file, checked for changes each time it is used."""
    found = asset(name)
    if found is None:
        raise NotFoundError("There is no such file.")
    content, content_type = found
    headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"', "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=content_type)
