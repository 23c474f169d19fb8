"""The pictures of finished jobs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from stablequeue_client.shared.errors import NotFoundError
from stablequeue_client.shared.wire.runner import PICTURES_MAX
from stablequeue_hub.http.openapi import described
from stablequeue_hub.http.request_context import hub_of
from stablequeue_hub.http.responses import unchanged_answer
from stablequeue_hub.jobs.list import find_picture

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])


@router.get(
    "/{job_id}/pictures/{number}",
    **described("read", media_type="image/png", errors=(NotFoundError,)),
)
async def job_picture(
    request: Request, job_id: str, number: Annotated[int, Path(ge=0, lt=PICTURES_MAX)]
) -> Response:
    """One picture, byte for byte as the WebUI made it, with its generation text."""
    hub = hub_of(request)
    file, sha256 = await hub.reading(lambda connection: find_picture(connection, job_id, number))
    headers = {"ETag": f'"{sha256}"', "Cache-Control": "private, no-cache"}
    unchanged = unchanged_answer(request, headers)
    if unchanged is not None:
        return unchanged
    data = await run_in_threadpool(hub.pictures.read, file)
    name = f'inline; filename="{job_id[:8]}-{number}.png"'
    return Response(data, media_type="image/png", headers={**headers, "Content-Disposition": name})
