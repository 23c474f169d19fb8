"""Jobs: where one can run."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from stablequeue_client.errors import InvalidValueError, NotFoundError, TooLargeError
from stablequeue_client.job_messages import JOB_MAX_BYTES, JobCheck, JobCheckRequest
from stablequeue_hub.access import principal_of
from stablequeue_hub.answers import json_answer
from stablequeue_hub.bodies import read_json
from stablequeue_hub.documentation import described
from stablequeue_hub.hub import hub_of
from stablequeue_hub.job_check import check_job

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])


@router.post(
    "/check",
    **described(
        "jobs",
        request=JobCheckRequest,
        answer=JobCheck,
        errors=(InvalidValueError, NotFoundError, TooLargeError),
    ),
)
async def check(request: Request) -> Response:
    """Per server whether a job could run there, and why not. Nothing is queued."""
    hub, own_server = hub_of(request), principal_of(request).server_id
    wanted = await read_json(request, JobCheckRequest, JOB_MAX_BYTES)
    now_ms = hub.clock.now_ms()
    return json_answer(
        await hub.reading(
            lambda connection: check_job(
                connection, wanted, hub.presence, own_server=own_server, now_ms=now_ms
            )
        )
    )
