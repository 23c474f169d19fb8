"""The form for a new job: read a picture or a text into it, check it, queue it. Each answer is HTML for the
hub's own page and a value for a WebUI, as a view is."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from stablequeue_client.shared.generation.png_text import TEXT_MAX_BYTES
from stablequeue_client.shared.views import job_values as jv
from stablequeue_client.shared.views import job_views
from stablequeue_client.shared.views.labels import counted
from stablequeue_client.shared.wire.runner import PICTURE_MAX_BYTES
from stablequeue_hub.actions.jobs import submit_job
from stablequeue_hub.http.openapi import described
from stablequeue_hub.http.request_bodies import read_body
from stablequeue_hub.http.request_context import hub_of, principal_of
from stablequeue_hub.http.responses import json_answer, view_answer, wants_value
from stablequeue_hub.page.forms import fields_of, text_response
from stablequeue_hub.page.new_job import checked_form, checked_text, new_job, submission_of, text_of_picture

router = APIRouter(include_in_schema=False)
FORM_MAX_BYTES = 8 * TEXT_MAX_BYTES
"""Texts are percent-encoded: three bytes for one."""


@router.post("/views/new/picture", **described("jobs", media_type="text/html"))
async def picture(request: Request) -> Response:
    """The form, filled from the generation text of a picture (the request's body)."""
    data = await read_body(request, PICTURE_MAX_BYTES, "picture")
    # In a thread: of a picture without a text the pixels are looked at.
    return await _filled(request, await asyncio.to_thread(text_of_picture, data))


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
    """Check what the form needs, and which servers can run it."""
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
    hub, fields = hub_of(request), await fields_of(request, FORM_MAX_BYTES)
    wanted, start = await hub.reading(lambda connection: submission_of(connection, fields))
    made = await submit_job(hub, principal_of(request), wanted, mentions=start.mentions)
    if wants_value(request):
        return json_answer(made)
    go = f"?view=job&id={made.job_id}" if len(made.job_ids) == 1 else "?view=queue"
    return text_response(f"{counted(len(made.job_ids), 'job')} queued.", go=go)
