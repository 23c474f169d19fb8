"""What the buttons of the queue's views do: urlencoded forms in, a fragment that says what happened out."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from stablequeue_client.shared.errors import InvalidValueError
from stablequeue_client.shared.views import job_form
from stablequeue_client.shared.views.job_form import ACTIONS_DONE, actions_told, changes
from stablequeue_client.shared.views.labels import counted
from stablequeue_client.shared.wire.queue import JobActions, RunAgain
from stablequeue_hub.actions.jobs import act_on_job, act_on_jobs, decide, edit_job, run_again
from stablequeue_hub.actions.queue import pause_jobs
from stablequeue_hub.http.openapi import described
from stablequeue_hub.http.request_context import hub_of, principal_of
from stablequeue_hub.jobs.list import job_in_full
from stablequeue_hub.page.forms import fields_of, notice_response, text_response

router = APIRouter(include_in_schema=False)
EDIT_MAX_BYTES = 1024 * 1024


@router.post("/views/jobs/actions", **described("jobs", media_type="text/html"))
async def actions(request: Request) -> Response:
    """Do the same to one or many jobs."""
    fields = await fields_of(request)
    form = dict(fields)
    action = form.get("action", "")
    if action not in ACTIONS_DONE:
        raise InvalidValueError("There is no such action.", remedy="Reload the page.")
    wanted = JobActions(action, [value for name, value in fields if name == "ids"])  # type: ignore[arg-type]
    results = (await act_on_jobs(hub_of(request), principal_of(request), wanted)).results
    done = any(result.problem is None for result in results)
    return notice_response(
        actions_told(action, results), go="?view=queue" if done and form.get("go") == "queue" else None
    )


@router.post("/views/jobs/{job_id}/edit", **described("jobs", media_type="text/html"))
async def edit(request: Request, job_id: str) -> Response:
    """Change a job as a form says, as far as that differs from what is stored."""
    hub, fields = hub_of(request), await fields_of(request, EDIT_MAX_BYTES)
    wanted = await hub.reading(lambda connection: changes(job_in_full(connection, job_id), fields))
    if wanted is None:
        return text_response("Nothing was changed.")
    await edit_job(hub, principal_of(request), job_id, wanted)
    return text_response("Saved.")


@router.post("/views/jobs/{job_id}/again", **described("jobs", media_type="text/html"))
async def again(request: Request, job_id: str) -> Response:
    """Queue it once more."""
    form = dict(await fields_of(request))
    wanted = RunAgain("new" if form.get("seed") == "new" else "same", form.get("once", ""))
    made = await run_again(hub_of(request), principal_of(request), job_id, wanted)
    return text_response("Queued.", go=f"?view=job&id={made.job_id}")


@router.post("/views/jobs/{job_id}/decisions", **described("jobs", media_type="text/html"))
async def decision(request: Request, job_id: str) -> Response:
    """Decide about a model that the job waits for."""
    wanted = job_form.decision(await fields_of(request))
    decided = await decide(hub_of(request), principal_of(request), job_id, wanted)
    return text_response(f"Decided for {counted(len(decided.job_ids), 'job')}.")


@router.post("/views/jobs/{job_id}/accept", **described("jobs", media_type="text/html"))
async def accept(request: Request, job_id: str) -> Response:
    """Take the picture as it is."""
    await act_on_job(hub_of(request), principal_of(request), "accept", job_id)
    return text_response("Accepted.")


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
    await pause_jobs(hub_of(request), principal_of(request).actor, server_id, paused=paused)
    return text_response("Paused." if paused else "Resumed.")
