"""Jobs that are there: edit, run again, star, accept, decide; one or many."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter
from sqlalchemy import Connection
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
from stablequeue_hub.errors import JobStateError, RepeatedKeyError
from stablequeue_hub.http.openapi import described
from stablequeue_hub.http.request_bodies import read_json
from stablequeue_hub.http.request_context import hub_of, principal_of
from stablequeue_hub.http.responses import json_answer
from stablequeue_hub.jobs.bulk_actions import do_actions
from stablequeue_hub.jobs.decisions import decide, retry_job
from stablequeue_hub.jobs.edit import edit_job
from stablequeue_hub.jobs.list import job_in_full
from stablequeue_hub.jobs.permissions import check_may_change
from stablequeue_hub.jobs.resubmission import run_again
from stablequeue_hub.jobs.rows import accept_job, star_job

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])
ERRORS = (ForbiddenError, NotFoundError, JobStateError)


@router.post(
    "/actions",
    **described("jobs", request=JobActions, answer=ActionResults, errors=(InvalidValueError, TooLargeError)),
)
async def actions(request: Request) -> Response:
    """Cancel, delete, star, unstar, retry, or move in the queue, up to 500 jobs; answered for each."""
    hub, principal = hub_of(request), principal_of(request)
    wanted = await read_json(request, JobActions)
    now_ms = hub.clock.now_ms()
    answer = await hub.writing(lambda connection: do_actions(connection, wanted, principal, now_ms=now_ms))
    done = [result.job_id for result in answer.results if result.problem is None]
    if done and wanted.action == "delete":
        await hub.jobs_deleted(done)
    elif done:
        await hub.dispatcher.jobs_changed(done)
    return json_answer(answer)


@router.patch(
    "/{job_id}",
    **described(
        "jobs", request=JobEdit, answer=EditedJob, errors=(*ERRORS, InvalidValueError, TooLargeError)
    ),
)
async def edit(request: Request, job_id: str) -> Response:
    """Change a job: its name at any time, everything else while it waits. Its submitter may, and an admin."""
    hub, principal = hub_of(request), principal_of(request)
    wanted = await read_json(request, JobEdit, JOB_MAX_BYTES)
    now_ms = hub.clock.now_ms()

    def work(connection: Connection) -> EditedJob:
        check_may_change(connection, job_id, principal)
        return edit_job(connection, job_id, wanted, hub.presence, actor=principal.actor, now_ms=now_ms)

    answer = await hub.writing(work)
    await hub.dispatcher.jobs_changed([job_id])
    return json_answer(answer)


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
    hub, principal = hub_of(request), principal_of(request)
    wanted = await read_json(request, RunAgain)
    now_ms = hub.clock.now_ms()
    answer = await hub.writing(
        lambda connection: run_again(
            connection, job_id, wanted, hub.presence, actor=principal.actor, now_ms=now_ms
        )
    )
    await hub.jobs_made(answer.job_ids, principal.server_id)
    return json_answer(answer, 202)


@router.post(
    "/{job_id}/decisions",
    **described("jobs", request=Decision, answer=Decided, errors=(*ERRORS, InvalidValueError)),
)
async def decisions(request: Request, job_id: str) -> Response:
    """Say about a model that a job waits for: run anyway, not a model, give up."""
    hub, principal = hub_of(request), principal_of(request)
    wanted = await read_json(request, Decision)
    now_ms = hub.clock.now_ms()

    def work(connection: Connection) -> Decided:
        check_may_change(connection, job_id, principal)
        actor = principal.actor
        ids = decide(connection, job_id, wanted, hub.presence, actor=actor, now_ms=now_ms)
        return Decided(job_in_full(connection, job_id), ids)

    answer = await hub.writing(work)
    await hub.dispatcher.jobs_changed(answer.job_ids)
    return json_answer(answer)


@router.post("/{job_id}/retry", **described("jobs", answer=JobInfo, errors=ERRORS))
async def retry(request: Request, job_id: str) -> Response:
    """Let every server get a waiting job again, also those that sent it back or failed with it."""
    return await _change(
        request, job_id, lambda c, actor, now_ms: retry_job(c, job_id, actor=actor, now_ms=now_ms)
    )


@router.post("/{job_id}/accept", **described("jobs", answer=JobInfo, errors=ERRORS))
async def accept(request: Request, job_id: str) -> Response:
    """Take a picture all the same that was made with other models than it should."""
    return await _change(
        request, job_id, lambda c, actor, now_ms: accept_job(c, job_id, actor=actor, now_ms=now_ms)
    )


@router.post("/{job_id}/star", **described("jobs", answer=JobInfo, errors=ERRORS))
async def star(request: Request, job_id: str) -> Response:
    """Keep a job for ever, with its pictures."""
    return await _change(
        request, job_id, lambda c, actor, now_ms: star_job(c, job_id, True, actor=actor, now_ms=now_ms)
    )


@router.post("/{job_id}/unstar", **described("jobs", answer=JobInfo, errors=ERRORS))
async def unstar(request: Request, job_id: str) -> Response:
    """Keep a job no longer than others."""
    return await _change(
        request, job_id, lambda c, actor, now_ms: star_job(c, job_id, False, actor=actor, now_ms=now_ms)
    )


async def _change(request: Request, job_id: str, step: Callable[[Connection, str, int], None]) -> Response:
    """Do it for who may; the job as it is then."""
    hub, principal = hub_of(request), principal_of(request)
    now_ms = hub.clock.now_ms()

    def work(connection: Connection) -> JobInfo:
        check_may_change(connection, job_id, principal)
        step(connection, principal.actor, now_ms)
        return job_in_full(connection, job_id)

    answer = await hub.writing(work)
    await hub.dispatcher.jobs_changed([job_id])
    return json_answer(answer)
