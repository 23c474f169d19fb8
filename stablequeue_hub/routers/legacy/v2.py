"""Version 2 of the old contract: jobs, always with a key."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from stablequeue_hub.http.openapi import described
from stablequeue_hub.http.request_context import hub_of
from stablequeue_hub.http.responses import json_answer
from stablequeue_hub.legacy import steps
from stablequeue_hub.legacy.answers import (
    REFUSED,
    STEP_ERRORS,
    Filter,
    Limit,
    Offset,
    OldDone,
    OldFailureV2,
    OldGenerate,
    OldJobError,
    OldJobListV2,
    OldRouteV2,
    OldStatusV2,
    OldSubmitted,
    Order,
)
from stablequeue_hub.legacy.jobs import OldFilter

router = APIRouter(prefix="/api/v2", tags=["old contract"], route_class=OldRouteV2)


@router.post(
    "/generate",
    **described(
        "jobs",
        request=OldGenerate,
        answer=OldSubmitted,
        status=202,
        errors=REFUSED,
        failure=OldFailureV2,
    ),
)
async def generate_v2(request: Request) -> Response:
    """The same; `generation_info_raw` (the text under a picture) may stand in place of parameters."""
    job = await steps.submit(request, version=2)
    answer = OldSubmitted(
        True,
        job.mobilesd_job_id,
        job.stablequeue_job_id,
        job.queue_position or 1,
        job.app_type,
        job.creation_timestamp,
        job.target_server_alias or "",
        job.waiting_for,
    )
    return json_answer(answer, 202)


@router.get("/jobs", **described("read", answer=OldJobListV2, failure=OldFailureV2))
async def jobs_v2(
    request: Request,
    status: Filter = None,
    app_type: Filter = None,
    limit: Limit = None,
    offset: Offset = None,
    order: Order = "desc",
) -> Response:
    """The same, with the filters that were used."""
    wanted = OldFilter(status, app_type, limit, offset, order.lower() == "asc")
    jobs, total = await steps.list_jobs(hub_of(request), wanted)
    given = {"status": status, "app_type": app_type, "limit": limit, "offset": offset}
    filters: dict[str, str | int] = {name: value for name, value in given.items() if value is not None}
    return json_answer(OldJobListV2(True, len(jobs), {**filters, "order": order.upper()}, jobs, total))


@router.get(
    "/jobs/{job_id}/status",
    **described("read", answer=OldStatusV2, errors=(OldJobError,), failure=OldFailureV2),
)
async def status_v2(request: Request, job_id: str) -> Response:
    """One job."""
    return json_answer(OldStatusV2(True, await steps.find_job(hub_of(request), job_id)))


@router.post(
    "/jobs/{job_id}/cancel", **described("jobs", answer=OldDone, errors=STEP_ERRORS, failure=OldFailureV2)
)
async def cancel_v2(request: Request, job_id: str) -> Response:
    """End a job that waits or runs. Its submitter may, and an admin."""
    job = await steps.cancel(request, job_id)
    return json_answer(OldDone("Job cancelled successfully.", job))
