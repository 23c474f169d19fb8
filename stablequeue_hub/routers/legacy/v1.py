"""The old StableQueue's contract, as far as clients use it: jobs in both versions, servers, pictures.

``GET /api/v1/servers``, ``/api/v1/models`` and ``.../availability`` are the hub's own: they answer what the
old ones did, and more.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from stablequeue_client.shared.errors import AliasTakenError, ConflictError, InvalidValueError, NotFoundError
from stablequeue_hub.http.openapi import described
from stablequeue_hub.http.request_bodies import read_json
from stablequeue_hub.http.request_context import hub_of, principal_of
from stablequeue_hub.http.responses import json_answer, unchanged_answer
from stablequeue_hub.legacy import steps
from stablequeue_hub.legacy.answers import (
    REFUSED,
    STEP_ERRORS,
    Filter,
    Limit,
    Offset,
    OldDone,
    OldFailure,
    OldGallery,
    OldGenerate,
    OldJob,
    OldJobError,
    OldJobId,
    OldJobList,
    OldMessage,
    OldMissingFieldError,
    OldPicture,
    OldRoute,
    OldServerDone,
    OldServerRequest,
    Order,
)
from stablequeue_hub.legacy.gallery import find_picture, gallery, picture_info
from stablequeue_hub.legacy.jobs import OldFilter
from stablequeue_hub.legacy.servers import add_server_by_address
from stablequeue_hub.servers.servers import NO_AGENT

router = APIRouter(tags=["old contract"], route_class=OldRoute)


# --- submission -------------------------------------------------------------------------------------------


@router.post(
    "/api/v1/generate",
    **described(
        "old_jobs",
        request=OldGenerate,
        answer=OldJobId,
        status=202,
        errors=REFUSED,
        failure=OldFailure,
    ),
)
async def generate(request: Request) -> Response:
    """Queue a job for one server, given by its alias. `generation_params`: the old names or the WebUI's."""
    job = await steps.submit(request, version=1)
    return json_answer(OldJobId(job.mobilesd_job_id, job.stablequeue_job_id), 202)


# --- looking ----------------------------------------------------------------------------------------------


@router.get("/api/v1/queue/jobs", **described("old_read", answer=OldJobList, failure=OldFailure))
async def jobs_v1(
    request: Request,
    status: Filter = None,
    limit: Limit = None,
    offset: Offset = None,
    order: Order = "desc",
) -> Response:
    """Everybody's jobs, newest first, at most 1,000."""
    wanted = OldFilter(status, None, limit, offset, order.lower() == "asc")
    jobs, total = await steps.list_jobs(hub_of(request), wanted)
    return json_answer(OldJobList(len(jobs), jobs, total))


@router.get(
    "/api/v1/queue/jobs/{job_id}/status",
    **described("old_read", answer=OldJob, errors=(OldJobError,), failure=OldFailure),
)
async def status_v1(request: Request, job_id: str) -> Response:
    """One job."""
    return json_answer(await steps.find_job(hub_of(request), job_id))


# --- ending -----------------------------------------------------------------------------------------------


@router.post(
    "/api/v1/queue/jobs/{job_id}/cancel",
    **described("old_jobs", answer=OldDone, errors=STEP_ERRORS, failure=OldFailure),
)
async def cancel_v1(request: Request, job_id: str) -> Response:
    """End a job that waits or runs. Its submitter may, and an admin."""
    job = await steps.cancel(request, job_id)
    return json_answer(OldDone("Job cancelled successfully.", job))


@router.delete(
    "/api/v1/queue/jobs/{job_id}",
    **described("old_jobs", answer=OldMessage, errors=STEP_ERRORS, failure=OldFailure),
)
async def delete_v1(request: Request, job_id: str) -> Response:
    """Remove a job that does not run, with its prompt and its events. Its submitter may, and an admin."""
    await steps.delete(request, job_id)
    return json_answer(OldMessage(f"Job {job_id} deleted successfully."))


# --- servers ----------------------------------------------------------------------------------------------


@router.post(
    "/api/v1/servers",
    **described(
        "old_jobs",
        request=OldServerRequest,
        answer=OldServerDone,
        status=201,
        errors=(OldMissingFieldError, InvalidValueError, AliasTakenError, ConflictError),
        failure=OldFailure,
    ),
)
async def add_server(request: Request) -> Response:
    """Keep a server by its address, as a target for jobs. They wait until it joins under this alias."""
    wanted = await read_json(request, OldServerRequest)
    if not _is_text(wanted.alias) or not _is_text(wanted.apiUrl):
        raise OldMissingFieldError("Missing required fields: alias and apiUrl.", remedy="")
    kept = await add_server_by_address(
        hub_of(request), principal_of(request).actor, wanted.alias, wanted.apiUrl
    )
    return json_answer(OldServerDone("Server configuration added successfully.", kept, NO_AGENT), 201)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


# --- pictures ---------------------------------------------------------------------------------------------


@router.get("/api/v1/gallery/images", **described("old_read", answer=OldGallery, failure=OldFailure))
async def gallery_images(request: Request, limit: Limit = None, offset: Offset = None) -> Response:
    """Pictures of all jobs, newest first, at most 1,000."""
    return json_answer(
        await hub_of(request).reading(lambda connection: gallery(connection, limit, offset or 0))
    )


@router.get(
    "/api/v1/gallery/images/{filename}/info",
    **described("old_read", answer=OldPicture, errors=(InvalidValueError, NotFoundError), failure=OldFailure),
)
async def gallery_info(request: Request, filename: str) -> Response:
    """One picture."""
    return json_answer(await hub_of(request).reading(lambda connection: picture_info(connection, filename)))


@router.get(
    "/outputs/{filename}",
    **described(
        "old_read",
        answer=bytes,
        errors=(InvalidValueError, NotFoundError),
        failure=OldFailure,
        media_type="image/png",
    ),
)
async def output(request: Request, filename: str) -> Response:
    """The picture itself."""
    hub = hub_of(request)
    row = await hub.reading(lambda connection: find_picture(connection, filename))
    headers = {"ETag": f'"{row.sha256}"', "Cache-Control": "private, no-cache"}
    unchanged = unchanged_answer(request, headers)
    if unchanged is not None:
        return unchanged
    data = await run_in_threadpool(hub.pictures.read, row.file)
    return Response(data, media_type="image/png", headers=headers)
