"""Jobs that are there: edit, run again, star, accept, decide; one or many."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from stablequeue_client.shared.errors import ForbiddenError, InvalidValueError, NotFoundError, TooLargeError
from stablequeue_client.shared.wire.jobs import JOB_MAX_BYTES, JobInfo, Submitted
from stablequeue_client.shared.wire.queue import (
    ActionResults,
    Decided,
    Decision,
    EditedJob,
    JobActions,
    JobEdit,
    RunAgain,
)
from stablequeue_hub.actions.jobs import act_on_job, act_on_jobs, decide, edit_job, run_again
from stablequeue_hub.errors import JobStateError, RepeatedKeyError
from stablequeue_hub.http.openapi import described
from stablequeue_hub.http.request_bodies import read_json
from stablequeue_hub.http.request_context import hub_of, principal_of
from stablequeue_hub.http.responses import json_answer

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])
ERRORS = (ForbiddenError, NotFoundError, JobStateError)


@router.post(
    "/actions",
    **described("jobs", request=JobActions, answer=ActionResults, errors=(InvalidValueError, TooLargeError)),
)
async def actions(request: Request) -> Response:
    """Cancel, delete, star, unstar, retry, or move in the queue, up to 500 jobs; answered for each."""
    wanted = await read_json(request, JobActions)
    return json_answer(await act_on_jobs(hub_of(request), principal_of(request), wanted))


@router.patch(
    "/{job_id}",
    **described(
        "jobs", request=JobEdit, answer=EditedJob, errors=(*ERRORS, InvalidValueError, TooLargeError)
    ),
)
async def edit(request: Request, job_id: str) -> Response:
    """Change a job: its name at any time, everything else while it waits. Its submitter may, and an admin."""
    wanted = await read_json(request, JobEdit, JOB_MAX_BYTES, "job")
    return json_answer(await edit_job(hub_of(request), principal_of(request), job_id, wanted))


@router.post(
    "/{job_id}/again",
    **described(
        "jobs",
        request=RunAgain,
        answer=Submitted,
        status=202,
        errors=(InvalidValueError, NotFoundError, TooLargeError, RepeatedKeyError),
    ),
)
async def again(request: Request, job_id: str) -> Response:
    """Queue a new job that generates the same, with the same seed, a new one or this number."""
    wanted = await read_json(request, RunAgain)
    return json_answer(await run_again(hub_of(request), principal_of(request), job_id, wanted), 202)


@router.post(
    "/{job_id}/decisions",
    **described("jobs", request=Decision, answer=Decided, errors=(*ERRORS, InvalidValueError)),
)
async def decisions(request: Request, job_id: str) -> Response:
    """Say about a model that a job waits for: run anyway, not a model, give up."""
    wanted = await read_json(request, Decision)
    return json_answer(await decide(hub_of(request), principal_of(request), job_id, wanted))


@router.post("/{job_id}/retry", **described("jobs", answer=JobInfo, errors=ERRORS))
async def retry(request: Request, job_id: str) -> Response:
    """Let every server get a waiting job again, also those that sent it back or failed with it."""
    return json_answer(await act_on_job(hub_of(request), principal_of(request), "retry", job_id))


@router.post("/{job_id}/accept", **described("jobs", answer=JobInfo, errors=ERRORS))
async def accept(request: Request, job_id: str) -> Response:
    """Take a picture all the same that was made with other models than it should."""
    return json_answer(await act_on_job(hub_of(request), principal_of(request), "accept", job_id))


@router.post("/{job_id}/star", **described("jobs", answer=JobInfo, errors=ERRORS))
async def star(request: Request, job_id: str) -> Response:
    """Keep a job for ever, with its pictures."""
    return json_answer(await act_on_job(hub_of(request), principal_of(request), "star", job_id))


@router.post("/{job_id}/unstar", **described("jobs", answer=JobInfo, errors=ERRORS))
async def unstar(request: Request, job_id: str) -> Response:
    """Keep a job no longer than others."""
    return json_answer(await act_on_job(hub_of(request), principal_of(request), "unstar", job_id))
