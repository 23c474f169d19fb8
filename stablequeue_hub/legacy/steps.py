"""What both versions of the old contract do, for their routes: each one use case, and who may."""

from __future__ import annotations

from sqlalchemy import Connection
from starlette.requests import Request

from stablequeue_client.shared.errors import ForbiddenError
from stablequeue_client.shared.wire.jobs import JOB_MAX_BYTES
from stablequeue_hub.access.keys import Principal
from stablequeue_hub.http.authorisation import principal_of
from stablequeue_hub.http.request_bodies import read_json
from stablequeue_hub.hub import Hub, hub_of
from stablequeue_hub.jobs.rows import delete_job
from stablequeue_hub.legacy import jobs
from stablequeue_hub.legacy.answers import OldGenerate, OldJob


async def submit(request: Request, *, version: int) -> OldJob:
    """Queue what the body wants. Raises what ``legacy_jobs`` does, TooLargeError."""
    hub, principal = hub_of(request), principal_of(request)
    wanted = jobs.read_submission(await read_json(request, OldGenerate, JOB_MAX_BYTES), version=version)
    now_ms = hub.clock.now_ms()

    def work(connection: Connection) -> OldJob:
        job_id = jobs.submit_old(
            connection,
            wanted,
            hub.presence,
            actor=principal.actor,
            own_server=principal.server_id,
            now_ms=now_ms,
        )
        return jobs.find_old(connection, job_id, hub.presence, hub.dispatcher, now_ms=now_ms)

    job = await hub.writing(work)
    await hub.jobs_changed([job.mobilesd_job_id])
    return job


async def listed(hub: Hub, wanted: jobs.OldFilter) -> tuple[list[OldJob], int]:
    """Jobs, and how many the filter lets through."""
    now_ms = hub.clock.now_ms()
    return await hub.reading(
        lambda connection: jobs.list_old(connection, wanted, hub.presence, now_ms=now_ms)
    )


async def found(hub: Hub, job_id: str) -> OldJob:
    """One job. Raises OldJobError."""
    now_ms = hub.clock.now_ms()
    return await hub.reading(
        lambda connection: jobs.find_old(connection, job_id, hub.presence, hub.dispatcher, now_ms=now_ms)
    )


async def cancel(request: Request, job_id: str) -> OldJob:
    """End it. Raises ForbiddenError, OldJobError, OldJobStateError."""
    hub, principal = hub_of(request), principal_of(request)
    now_ms = hub.clock.now_ms()

    def work(connection: Connection) -> OldJob:
        _check_own(connection, job_id, principal)
        return jobs.cancel_old(
            connection, job_id, hub.presence, hub.dispatcher, actor=principal.actor, now_ms=now_ms
        )

    job = await hub.writing(work)
    await hub.jobs_changed([job_id])
    return job


async def delete(request: Request, job_id: str) -> None:
    """Remove it. Raises ForbiddenError, OldJobError, JobStateError."""
    hub, principal = hub_of(request), principal_of(request)
    now_ms = hub.clock.now_ms()

    def work(connection: Connection) -> None:
        _check_own(connection, job_id, principal)
        delete_job(connection, job_id, actor=principal.actor, now_ms=now_ms)

    await hub.writing(work)
    await hub.jobs_deleted([job_id])


def _check_own(connection: Connection, job_id: str, principal: Principal) -> None:
    """Raises ForbiddenError for somebody else's job, OldJobError."""
    submitted_by = jobs.submitter_of(connection, job_id)
    if principal.scope != "admin" and submitted_by != principal.actor:
        raise ForbiddenError("This job was submitted by somebody else.", remedy="Use an admin key.")
