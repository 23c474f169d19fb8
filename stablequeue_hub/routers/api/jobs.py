"""Jobs: where one can run, submit, look, cancel, delete."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from stablequeue_client.shared.errors import ForbiddenError, InvalidValueError, NotFoundError, TooLargeError
from stablequeue_client.shared.wire.jobs import (
    JOB_MAX_BYTES,
    JobCheck,
    JobCheckRequest,
    JobInfo,
    JobPage,
    JobSubmission,
    Submitted,
)
from stablequeue_hub.actions.jobs import act_on_job, delete_job, submit_job
from stablequeue_hub.errors import JobStateError, RepeatedKeyError
from stablequeue_hub.http.openapi import described
from stablequeue_hub.http.request_bodies import read_json
from stablequeue_hub.http.request_context import hub_of, principal_of
from stablequeue_hub.http.responses import json_answer
from stablequeue_hub.jobs.list import LIST_MAX, list_jobs, with_progress
from stablequeue_hub.jobs.queue_rows import QueueFilter
from stablequeue_hub.jobs.states import JOB_STATES, JobState
from stablequeue_hub.jobs.wait import WAIT_ACCEPTED_MAX_S, job_when_ended
from stablequeue_hub.matching.check import judge_job, resolve_server
from stablequeue_hub.matching.missing_models import jobs_that_lack_models
from stablequeue_hub.servers.known_servers import known_servers

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])
TEXT_MAX = 200


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
    wanted = await read_json(request, JobCheckRequest, JOB_MAX_BYTES, "job")
    now_ms = hub.clock.now_ms()
    judged = await hub.reading(
        lambda connection: judge_job(connection, wanted, hub.presence, own_server=own_server, now_ms=now_ms)
    )
    return json_answer(judged.check)


@router.post(
    "",
    **described(
        "jobs",
        request=JobSubmission,
        answer=Submitted,
        status=202,
        errors=(InvalidValueError, NotFoundError, TooLargeError, RepeatedKeyError),
    ),
)
async def submission(request: Request) -> Response:
    """Queue a job, or several that differ in their seed. What is missing is a warning in the answer."""
    wanted = await read_json(request, JobSubmission, JOB_MAX_BYTES, "job")
    return json_answer(await submit_job(hub_of(request), principal_of(request), wanted), 202)


@router.get("", **described("read", answer=JobPage, errors=(InvalidValueError, NotFoundError)))
async def jobs_list(
    request: Request,
    state: JobState | None = None,
    batch: Annotated[str | None, Query(max_length=64)] = None,
    text: Annotated[str, Query(max_length=TEXT_MAX)] = "",
    server: Annotated[str, Query(max_length=64)] = "",
    submitter: Annotated[str, Query(max_length=100)] = "",
    starred: bool = False,
    waiting: bool = False,
    mine: bool = False,
    before: Annotated[int | None, Query(ge=1, le=2**62)] = None,
    limit: Annotated[int, Query(ge=1, le=LIST_MAX)] = 50,
) -> Response:
    """Jobs, newest first: whose name, prompt or models hold ``text``; that ``server`` (id or alias) works on,
    did last or is a target of; of one ``submitter``, or ``mine``; ``starred`` ones; those ``waiting`` for a
    model."""
    hub, principal = hub_of(request), principal_of(request)

    def work(connection: Connection) -> JobPage:
        server_id = resolve_server(known_servers(connection, hub.presence), server) if server else ""
        whose = principal.actor if mine else submitter
        wanted = QueueFilter((state,) if state else JOB_STATES, text.strip(), server_id, whose, starred)
        among = jobs_that_lack_models(connection, hub.presence) if waiting else None
        return list_jobs(connection, wanted, batch_id=batch, among=among, before=before, limit=limit)

    page = await hub.reading(work)
    found = [with_progress(info, hub.dispatcher) for info in page.jobs]
    return json_answer(msgspec.structs.replace(page, jobs=found))


@router.get("/{job_id}", **described("read", answer=JobInfo, errors=(InvalidValueError, NotFoundError)))
async def job(
    request: Request, job_id: str, wait: Annotated[float, Query(ge=0, le=WAIT_ACCEPTED_MAX_S)] = 0
) -> Response:
    """One job, with what it generates and the models it names; ``wait``: seconds to wait for its end. The
    answer comes after 45 seconds at the latest: ask again."""
    hub = hub_of(request)
    found = await job_when_ended(hub.store, hub.notifier, job_id, wait)
    return json_answer(with_progress(found, hub.dispatcher))


@router.post(
    "/{job_id}/cancel",
    **described("jobs", answer=JobInfo, errors=(ForbiddenError, NotFoundError, JobStateError)),
)
async def cancel(request: Request, job_id: str) -> Response:
    """End a job that has not ended. Its submitter may, and an admin."""
    return json_answer(await act_on_job(hub_of(request), principal_of(request), "cancel", job_id))


@router.delete(
    "/{job_id}",
    **described("jobs", status=204, errors=(ForbiddenError, NotFoundError, JobStateError)),
)
async def delete(request: Request, job_id: str) -> Response:
    """Remove a job with its prompt, its pictures and its events. Its submitter may, and an admin."""
    await delete_job(hub_of(request), principal_of(request), job_id)
    return Response(status_code=204)
