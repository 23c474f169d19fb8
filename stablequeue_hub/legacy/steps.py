"""What both versions of the old contract do, for their routes, in its form and with its failures."""

from __future__ import annotations

from sqlalchemy import Connection
from starlette.requests import Request

from stablequeue_client.shared.errors import InvalidValueError, NotFoundError
from stablequeue_client.shared.wire.jobs import JOB_MAX_BYTES, Submitted
from stablequeue_hub.actions.jobs import act_on_job, delete_job, submit_job
from stablequeue_hub.errors import JobStateError
from stablequeue_hub.http.request_bodies import read_json
from stablequeue_hub.http.request_context import hub_of, principal_of
from stablequeue_hub.hub import Hub
from stablequeue_hub.legacy import jobs
from stablequeue_hub.legacy.answers import OldGenerate, OldJob


async def submit(request: Request, *, version: int) -> OldJob:
    """Queue what the body wants; the job as it is before anybody takes it. Raises OldServerError,
    OldFieldError, OldMissingFieldError, TooLargeError."""
    hub = hub_of(request)
    wanted = jobs.read_submission(
        await read_json(request, OldGenerate, JOB_MAX_BYTES, "job"), version=version
    )
    submission = await hub.reading(lambda connection: jobs.submission_of(connection, wanted))
    now_ms, queued = hub.clock.now_ms(), []

    def also(connection: Connection, made: Submitted) -> None:
        jobs.note_submission(connection, made.job_id, wanted)
        queued.append(jobs.find_old(connection, made.job_id, hub.presence, hub.dispatcher, now_ms=now_ms))

    try:
        await submit_job(hub, principal_of(request), submission, also=also)
    except InvalidValueError as error:
        raise jobs.refused(wanted, error) from None
    return queued[0]


async def list_jobs(hub: Hub, wanted: jobs.OldFilter) -> tuple[list[OldJob], int]:
    """Jobs, and how many the filter lets through."""
    await hub.dispatcher.refresh_stocks()
    now_ms = hub.clock.now_ms()
    return await hub.reading(
        lambda connection: jobs.list_old(connection, wanted, hub.presence, hub.dispatcher, now_ms=now_ms)
    )


async def find_job(hub: Hub, job_id: str) -> OldJob:
    """One job. Raises OldJobError."""
    await hub.dispatcher.refresh_stocks()
    now_ms = hub.clock.now_ms()
    return await hub.reading(
        lambda connection: jobs.find_old(connection, job_id, hub.presence, hub.dispatcher, now_ms=now_ms)
    )


async def cancel(request: Request, job_id: str) -> OldJob:
    """End it. Raises ForbiddenError, OldJobError, and OldJobStateError with the job as it is."""
    hub = hub_of(request)
    try:
        await act_on_job(hub, principal_of(request), "cancel", jobs.storable(job_id))
    except NotFoundError:
        raise jobs.unknown_job(job_id) from None
    except JobStateError:
        raise jobs.cannot_cancel(await find_job(hub, job_id)) from None
    return await find_job(hub, job_id)


async def delete(request: Request, job_id: str) -> None:
    """Remove it. Raises ForbiddenError, OldJobError, JobStateError."""
    try:
        await delete_job(hub_of(request), principal_of(request), jobs.storable(job_id))
    except NotFoundError:
        raise jobs.unknown_job(job_id) from None
