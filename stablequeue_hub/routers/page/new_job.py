"""The form for a new job: read a picture or a text into it, check it, queue it. Each answer is HTML for the
hub's own page and a value for a WebUI, as a view is."""

from __future__ import annotations

from fastapi import APIRouter
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from stablequeue_client.shared.generation.png_text import TEXT_MAX_BYTES
from stablequeue_client.shared.views import job_values as jv
from stablequeue_client.shared.views import job_views
from stablequeue_client.shared.views.labels import counted
from stablequeue_client.shared.wire.jobs import Submitted
from stablequeue_client.shared.wire.runner import PICTURE_MAX_BYTES
from stablequeue_hub.http.authorisation import principal_of
from stablequeue_hub.http.openapi import described
from stablequeue_hub.http.request_bodies import read_body
from stablequeue_hub.http.responses import json_answer, view_answer, wants_value
from stablequeue_hub.hub import hub_of
from stablequeue_hub.jobs.submission import submit
from stablequeue_hub.page.new_job import checked_form, checked_text, new_job, submission_of, text_of_picture
from stablequeue_hub.routers.page.jobs import GO, fields_of, said

router = APIRouter(include_in_schema=False)
FORM_MAX_BYTES = 8 * TEXT_MAX_BYTES
"""Texts are percent-encoded: three bytes for one."""


@router.post("/views/new/picture", **described("jobs", media_type="text/html"))
async def picture(request: Request) -> Response:
    """The form, filled from the generation text of a picture (the request's body)."""
    data = await read_body(request, PICTURE_MAX_BYTES)
    return await _filled(request, text_of_picture(data))


@router.post("/views/new/text", **described("jobs", media_type="text/html"))
async def text(request: Request) -> Response:
    """The form, filled from a pasted generation text."""
    fields = dict(await fields_of(request, FORM_MAX_BYTES))
    return await _filled(request, checked_text(fields.get("text", "")))


async def _filled(request: Request, text: str) -> Response:
    hub, own_server = hub_of(request), principal_of(request).server_id
    now_ms = hub.clock.now_ms()

    def work(connection: Connection) -> jv.NewJob:
        return new_job(connection, "", text, hub.presence, own_server=own_server, now_ms=now_ms)

    return view_answer(request, await hub.reading(work), job_views.new_job)


@router.post("/views/new/check", **described("jobs", media_type="text/html"))
async def check(request: Request) -> Response:
    """What the form needs, and who can make it."""
    hub, own_server = hub_of(request), principal_of(request).server_id
    fields, now_ms = await fields_of(request, FORM_MAX_BYTES), hub.clock.now_ms()
    found = await hub.reading(
        lambda connection: checked_form(
            connection, fields, hub.presence, own_server=own_server, now_ms=now_ms
        )
    )
    return view_answer(request, found, job_views.job_check)


@router.post("/views/new/queue", **described("jobs", media_type="text/html"))
async def queue(request: Request) -> Response:
    """Queue what the form says."""
    hub, principal = hub_of(request), principal_of(request)
    fields, now_ms = await fields_of(request, FORM_MAX_BYTES), hub.clock.now_ms()

    def work(connection: Connection) -> Submitted:
        wanted, start = submission_of(connection, fields)
        return submit(
            connection,
            wanted,
            hub.presence,
            actor=principal.actor,
            own_server=principal.server_id,
            now_ms=now_ms,
            mentions=start.mentions,
        )

    made = await hub.writing(work)
    await hub.jobs_made(made.job_ids, principal.server_id)
    if wants_value(request):
        return json_answer(made)
    answer = said(f"{counted(len(made.job_ids), 'job')} queued.")
    answer.headers[GO] = f"?view=job&id={made.job_id}" if len(made.job_ids) == 1 else "?view=queue"
    return answer
