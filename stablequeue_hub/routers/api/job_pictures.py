"""The pictures of finished jobs."""

from __future__ import annotations

from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Path
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from stablequeue_client.shared.errors import NotFoundError
from stablequeue_client.shared.wire.runner import PICTURES_MAX
from stablequeue_hub.http.openapi import described
from stablequeue_hub.http.request_context import hub_of
from stablequeue_hub.store.tables import job_pictures

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

    def find(connection: Connection) -> tuple[str, str] | None:
        row = connection.execute(
            sa.select(job_pictures.c.file, job_pictures.c.sha256).where(
                job_pictures.c.job_id == job_id, job_pictures.c.number == number
            )
        ).first()
        return (row.file, row.sha256) if row else None

    found = await hub.reading(find)
    if found is None:
        raise NotFoundError("This job has no such picture.", remedy="Look at the job.")
    file, sha256 = found
    headers = {"ETag": f'"{sha256}"', "Cache-Control": "private, no-cache"}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    data = await run_in_threadpool(hub.pictures.read, file)
    name = f'inline; filename="{job_id[:8]}-{number}.png"'
    return Response(data, media_type="image/png", headers={**headers, "Content-Disposition": name})
