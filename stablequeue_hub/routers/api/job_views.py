"""Jobs explained: why one waits, and what happened to it."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from stablequeue_client.shared.errors import NotFoundError
from stablequeue_client.shared.wire.jobs import JobWhy
from stablequeue_client.shared.wire.reports import JobReport
from stablequeue_hub.http.openapi import described
from stablequeue_hub.http.request_context import hub_of
from stablequeue_hub.http.responses import json_answer
from stablequeue_hub.jobs.report import job_report
from stablequeue_hub.matching.why import why

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])


@router.get("/{job_id}/why", **described("read", answer=JobWhy, errors=(NotFoundError,)))
async def why_it_waits(request: Request, job_id: str) -> Response:
    """For each server why a pending job is not given to it, or how many jobs come first there."""
    hub = hub_of(request)
    dispatch, now_ms = hub.dispatcher, hub.clock.now_ms()
    await dispatch.refresh_stocks()
    return json_answer(
        await hub.reading(lambda connection: why(connection, job_id, hub.presence, dispatch, now_ms=now_ms))
    )


@router.get("/{job_id}/report", **described("read", answer=JobReport, errors=(NotFoundError,)))
async def report(request: Request, job_id: str) -> Response:
    """What happened to a job: its timeline, each run, and how each model was confirmed."""
    hub = hub_of(request)
    dispatch, now_ms = hub.dispatcher, hub.clock.now_ms()
    await dispatch.refresh_stocks()
    return json_answer(
        await hub.reading(
            lambda connection: job_report(connection, job_id, hub.presence, dispatch, now_ms=now_ms)
        )
    )
