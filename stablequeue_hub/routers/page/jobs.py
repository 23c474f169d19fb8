"""What the buttons of the queue's views do: urlencoded forms in, a fragment that says what happened out."""

from __future__ import annotations

from urllib.parse import parse_qsl

from fastapi import APIRouter
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from stablequeue_client.shared.errors import InvalidValueError
from stablequeue_client.shared.views import job_form, views
from stablequeue_client.shared.views import values as v
from stablequeue_client.shared.views.job_form import ACTIONS_DONE, actions_told, changes
from stablequeue_client.shared.views.labels import counted
from stablequeue_client.shared.wire.queue import JobActions, RunAgain
from stablequeue_hub.http.authorisation import principal_of
from stablequeue_hub.http.openapi import described
from stablequeue_hub.http.request_bodies import read_body
from stablequeue_hub.hub import hub_of
from stablequeue_hub.jobs.bulk_actions import IDS_MAX, do_actions
from stablequeue_hub.jobs.decisions import decide
from stablequeue_hub.jobs.edit import edit_job
from stablequeue_hub.jobs.list import job_in_full
from stablequeue_hub.jobs.permissions import check_may_change
from stablequeue_hub.jobs.queue_state import pause_queue, pause_server
from stablequeue_hub.jobs.resubmission import run_again
from stablequeue_hub.jobs.rows import accept_job

router = APIRouter(include_in_schema=False)
FORM_MAX_BYTES = 64 * 1024
EDIT_MAX_BYTES = 1024 * 1024
GO = "X-StableQueue-Go"
"""Tells the script which view to show then."""


async def fields_of(request: Request, limit: int = FORM_MAX_BYTES) -> list[tuple[str, str]]:
    """The fields of a form, in order."""
    body = await read_body(request, limit)
    return parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=IDS_MAX + 50)


def said(text: str, remedy: str = "", *, ok: bool = True) -> Response:
    return HTMLResponse(views.notice(v.Notice(text, ok, remedy)))


@router.post("/views/jobs/actions", **described("jobs", media_type="text/html"))
async def actions(request: Request) -> Response:
    """The same for one or many jobs."""
    hub, principal = hub_of(request), principal_of(request)
    fields = await fields_of(request)
    action, now_ms = dict(fields).get("action", ""), hub.clock.now_ms()
    ids = [value for name, value in fields if name == "ids"]
    if action not in ACTIONS_DONE:
        raise InvalidValueError("There is no such action.", remedy="Reload the page.")
    wanted = JobActions(action, ids)  # type: ignore[arg-type]
    answer_of = await hub.writing(lambda connection: do_actions(connection, wanted, principal, now_ms=now_ms))
    results = answer_of.results
    done = [result.job_id for result in results if result.problem is None]
    if done and action == "delete":
        await hub.jobs_deleted(done)
    elif done:
        await hub.jobs_changed(done)
    answer: Response = HTMLResponse(views.notice(actions_told(action, results)))
    if done and dict(fields).get("go") == "queue":
        answer.headers[GO] = "?view=queue"
    return answer


@router.post("/views/jobs/{job_id}/edit", **described("jobs", media_type="text/html"))
async def edit(request: Request, job_id: str) -> Response:
    """What a form says of a job, as far as it differs from what is there."""
    hub, principal = hub_of(request), principal_of(request)
    fields, now_ms = await fields_of(request, EDIT_MAX_BYTES), hub.clock.now_ms()

    def work(connection: Connection) -> bool:
        check_may_change(connection, job_id, principal)
        wanted = changes(job_in_full(connection, job_id), fields)
        if wanted is None:
            return False
        edit_job(connection, job_id, wanted, hub.presence, actor=principal.actor, now_ms=now_ms)
        return True

    if not await hub.writing(work):
        return said("Nothing was changed.")
    await hub.jobs_changed([job_id])
    return said("Saved.")


@router.post("/views/jobs/{job_id}/again", **described("jobs", media_type="text/html"))
async def again(request: Request, job_id: str) -> Response:
    """Queue it once more."""
    hub, principal = hub_of(request), principal_of(request)
    form, now_ms = dict(await fields_of(request)), hub.clock.now_ms()
    wanted = RunAgain("new" if form.get("seed") == "new" else "same", form.get("once", ""))
    made = await hub.writing(
        lambda connection: run_again(
            connection, job_id, wanted, hub.presence, actor=principal.actor, now_ms=now_ms
        )
    )
    await hub.jobs_made(made.job_ids, principal.server_id)
    answer = said("Queued.")
    answer.headers[GO] = f"?view=job&id={made.job_id}"
    return answer


@router.post("/views/jobs/{job_id}/decisions", **described("jobs", media_type="text/html"))
async def decision(request: Request, job_id: str) -> Response:
    """What is to be done about a model that the job waits for."""
    hub, principal = hub_of(request), principal_of(request)
    wanted, now_ms = job_form.decision(await fields_of(request)), hub.clock.now_ms()

    def work(connection: Connection) -> list[str]:
        check_may_change(connection, job_id, principal)
        return decide(connection, job_id, wanted, hub.presence, actor=principal.actor, now_ms=now_ms)

    ids = await hub.writing(work)
    await hub.jobs_changed(ids)
    return said(f"Decided for {counted(len(ids), 'job')}.")


@router.post("/views/jobs/{job_id}/accept", **described("jobs", media_type="text/html"))
async def accept(request: Request, job_id: str) -> Response:
    """Take the picture as it is."""
    hub, principal = hub_of(request), principal_of(request)
    now_ms = hub.clock.now_ms()

    def work(connection: Connection) -> None:
        check_may_change(connection, job_id, principal)
        accept_job(connection, job_id, actor=principal.actor, now_ms=now_ms)

    await hub.writing(work)
    await hub.jobs_changed([job_id])
    return said("Accepted.")


@router.post("/views/queue/pause", **described("admin", media_type="text/html"))
async def pause(request: Request) -> Response:
    """No server gets a job."""
    return await _pause(request, None, True)


@router.post("/views/queue/resume", **described("admin", media_type="text/html"))
async def resume(request: Request) -> Response:
    """Servers get jobs again."""
    return await _pause(request, None, False)


@router.post("/views/queue/servers/{server_id}/pause", **described("owner", media_type="text/html"))
async def pause_one(request: Request, server_id: str) -> Response:
    """This server gets no job."""
    return await _pause(request, server_id, True)


@router.post("/views/queue/servers/{server_id}/resume", **described("owner", media_type="text/html"))
async def resume_one(request: Request, server_id: str) -> Response:
    """This server gets jobs again."""
    return await _pause(request, server_id, False)


async def _pause(request: Request, server_id: str | None, paused: bool) -> Response:
    hub, actor = hub_of(request), principal_of(request).actor
    now_ms = hub.clock.now_ms()

    def work(connection: Connection) -> None:
        if server_id is None:
            pause_queue(connection, paused, actor=actor, now_ms=now_ms)
        else:
            pause_server(connection, server_id, paused, actor=actor, now_ms=now_ms)

    await hub.writing(work)
    if server_id is not None and not paused:
        hub.dispatcher.clear_cooldown(server_id)
    await hub.jobs_changed([])
    return said("Paused." if paused else "It goes on.")
