"""``jobs``, ``submit`` and ``queue``: what waits, what runs, what came of it; more of it, or none for now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stablequeue_client.commands.context import Context, open_hub
from stablequeue_client.commands.queries import moment, server_called
from stablequeue_client.commands.terminal import say, say_error, say_json, say_table
from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.hub_client.connection import Json
from stablequeue_client.shared.errors import (
    ForbiddenError,
    InvalidValueError,
    NotFoundError,
    StableQueueError,
)
from stablequeue_client.shared.views.job_labels import STATES, state_of_row
from stablequeue_client.shared.views.job_values import JobRow, QueuePage
from stablequeue_client.shared.wire.jobs import JOB_ID_LENGTH
from stablequeue_client.terminal_text import visible

SHOWN_ID = 8
"""Characters of an id in a list; they are enough to name a job on the command line."""
PAGE = 200
QUEUE_PAGE = 50
"""Jobs on one page of the hub's view of the queue."""
SEARCHED = 2_000
_OUTCOMES = {
    "confirmed": "made with exactly these models",
    "not_provable": "its models are not provable",
    "wrong": "made with other models",
    "accepted": "made with other models, and accepted",
}
_STATUS = {
    "found": "known",
    "ambiguous": "several models match",
    "unhashed": "not read yet",
    "missing": "no server has it",
    "not_checked": "not checked",
}


# --- looking ----------------------------------------------------------------------------------------------


def run_jobs(context: Context) -> int:
    """The jobs of the hub, newest first."""
    hub, settings = open_hub(context), context.settings
    if not 1 <= settings.limit <= PAGE:
        raise InvalidValueError(f"--limit must be a number from 1 to {PAGE}.")
    page = hub.jobs(state=settings.state, limit=settings.limit)
    if settings.json:
        say_json(page)
        return 0
    aliases, shown = aliases_of(hub), _as_on_the_page(hub, settings.state, page["jobs"])
    rows = [_row(job, shown.get(str(job["job_id"])), aliases) for job in page["jobs"]]
    say_table(("id", "state", "server", "submitted", "job", ""), rows)
    more = page["total"] - len(rows)
    if more > 0:
        say(f"{more} more; --limit shows up to {PAGE}, --state only those in one state.")
    return 0


def _as_on_the_page(hub: HubApi, state: str | None, wanted: Sequence[Json]) -> dict[str, JobRow]:
    """These jobs as the page shows them, by id; without those that moved meanwhile."""
    ids = {str(job["job_id"]) for job in wanted}
    found: dict[str, JobRow] = {}
    for number in range(1, PAGE // QUEUE_PAGE + 2):
        if ids <= found.keys():
            break
        try:
            view = hub.view("queue", query={"state": state or "all", "page": str(number)})
        except (ForbiddenError, NotFoundError):  # a key or a hub without that view
            break
        rows = view.rows if isinstance(view, QueuePage) else ()
        found |= {row.job_id: row for row in rows}
        if len(rows) < QUEUE_PAGE:
            break
    return found


def _row(job: Json, shown: JobRow | None, aliases: dict[str, str]) -> tuple[str, ...]:
    state = STATES[state_of_row(shown)].word if shown else str(job["state"])
    return (
        str(job["job_id"])[:SHOWN_ID],
        state + (" *" if job.get("starred") else ""),
        _where(job, aliases),
        moment(job.get("created_ms")),
        shown.title if shown else str(job.get("name") or ""),
        _remark(job) or (shown.waiting if shown and not shown.in_line else ""),
    )


def _where(job: Json, aliases: dict[str, str]) -> str:
    """The server that has it or had it, else those that it is for."""
    if job.get("server_id"):
        return aliases.get(job["server_id"], "a server that is gone")
    targets = job.get("targets")
    if targets is None:
        return "any"
    return ", ".join(aliases.get(one, "a server that is gone") for one in targets)


def _remark(job: Json) -> str:
    if job.get("failure_text"):
        return str(job["failure_text"])
    if isinstance(job.get("progress"), float):
        return f"{job['progress']:.0%}"
    return _OUTCOMES.get(str(job.get("outcome")), "")


def aliases_of(hub: HubApi) -> dict[str, str]:
    """server_id -> alias."""
    return {str(server["server_id"]): str(server["alias"]) for server in hub.servers()}


def run_show(context: Context) -> int:
    """One job: what it needs, why it waits or what came of it; as JSON the whole report."""
    hub = open_hub(context)
    job_id = find_job(hub, context.arguments.job)
    job = hub.job(job_id)
    report = _report(hub, job_id)
    if context.settings.json:
        say_json(report or job)
        return 0
    by = str((report or {}).get("submitted_by") or job.get("submitted_by"))
    _say_job(job, aliases_of(hub), by)
    if job["state"] == "pending":
        _say_why((report or {}).get("why") or hub.job_why(job_id))
    if report is not None:
        _say_timeline(report)
    return 0


def _report(hub: HubApi, job_id: str) -> Json | None:
    """None from a hub that makes no reports."""
    try:
        return hub.job_report(job_id)
    except NotFoundError:
        return None


def _say_job(job: Json, aliases: dict[str, str], by: str) -> None:
    say(f"Job {job['job_id']}: {job['state']}")
    facts = (
        ("Name", job.get("name")),
        ("Server", _where(job, aliases)),
        ("Submitted", f"{moment(job.get('created_ms'))} by {by}"),
        ("Ended", moment(job["ended_ms"]) if job.get("ended_ms") else None),
        ("Seed", str(job.get("seed"))),
        ("Prompt", (job.get("payload") or {}).get("prompt")),
        ("Failure", job.get("failure_text")),
        ("Outcome", _OUTCOMES.get(str(job.get("outcome")))),
    )
    for name, value in facts:
        if value:
            say(f"{name}: {visible(str(value))}")
    say_requirements(job.get("requirements") or [])
    for picture in job.get("pictures") or []:
        size = f"{picture['width']}x{picture['height']}"
        say(f"Picture {picture['number']}: {size}, {picture['bytes']} bytes")


def say_requirements(requirements: Sequence[Json]) -> None:
    """A table of the models that a job names."""
    if not requirements:
        return
    rows = [
        (
            str(one.get("role")),
            str(one.get("name")),
            _STATUS.get(str(one.get("status")), str(one.get("status"))),
            str(one.get("sha256") or one.get("hash") or "")[:10],
        )
        for one in requirements
    ]
    say_table(("needs", "name", "state", "hash"), rows)


def _say_why(why: Json) -> None:
    if why.get("waiting_for"):
        say(visible(str(why["waiting_for"])))
    for server in why.get("servers") or []:
        reasons = " ".join(str(reason.get("text")) for reason in server.get("reasons") or [])
        say(f"  {visible(str(server['alias']))}: {visible(reasons) or 'could run it'}")


def _say_timeline(report: Json) -> None:
    """Say how each model was confirmed in the last run, and what happened."""
    names = {model["place"]: str(model["name"]) for model in report.get("models") or []}
    runs = report.get("runs") or []
    rows = [_use_row(names, use) for use in (runs[-1].get("uses") if runs else None) or []]
    if rows:
        say_table(("model", f"file on {runs[-1].get('server')}", "confirmed"), rows)
    traceback = next((run["traceback"] for run in reversed(runs) if run.get("traceback")), "")
    if traceback:
        say("The WebUI's own traceback:")
        for line in str(traceback).splitlines():
            say(f"  {visible(line)}")
    for event in report.get("timeline") or []:
        said = " ".join(str(event[part]) for part in ("text", "reason") if event.get(part))
        say(f"  {moment(event.get('at_ms'))}  {visible(said)} ({visible(str(event.get('by') or ''))})")


def _use_row(names: dict[int, str], use: Json) -> tuple[str, str, str]:
    confirmation = use.get("confirmation") or {}
    file = use.get("file") or {}
    written = use.get("translated")
    path = str(file.get("path")) + (f", in place of {written}" if written else "")
    return names.get(use["requirement"], "?"), path, str(confirmation.get("text") or "")


# --- one and many -----------------------------------------------------------------------------------------


def find_job(hub: HubApi, wanted: str) -> str:
    """The id of the job that begins so. Raises NotFoundError, InvalidValueError when several do."""
    if len(wanted) >= JOB_ID_LENGTH:
        return wanted
    found: set[str] = set()
    before: int | None = None
    for _ in range(SEARCHED // PAGE):
        page = hub.jobs(limit=PAGE, before=before)
        found |= {str(job["job_id"]) for job in page["jobs"] if str(job["job_id"]).startswith(wanted)}
        before = page.get("next")
        if before is None:
            break
    if len(found) > 1:
        raise InvalidValueError(
            f"{len(found)} jobs begin with {wanted!r}.", remedy="Give more digits of the id."
        )
    if not found or not wanted:
        raise NotFoundError(f"There is no job {wanted!r}.", remedy="`stablequeue jobs` lists them.")
    return found.pop()


def run_cancel(context: Context) -> int:
    """Cancel jobs that have not ended."""
    return _each(context, lambda hub, job_id: hub.cancel_job(job_id), "is cancelled")


def run_delete(context: Context) -> int:
    """Remove jobs with their prompts and pictures."""
    return _each(context, lambda hub, job_id: hub.delete_job(job_id), "is deleted")


def run_star(context: Context) -> int:
    """Keep jobs for ever."""
    return _each(context, lambda hub, job_id: hub.star_job(job_id), "is kept for ever")


def _each(context: Context, step: Any, done: str) -> int:
    """Do it to each job; what fails for one does not hold up the others. Exit code 3 when some failed."""
    hub = open_hub(context)
    results: list[Json] = []
    last: StableQueueError | None = None
    for wanted in context.arguments.jobs:
        try:
            job_id = find_job(hub, wanted)
            step(hub, job_id)
        except StableQueueError as error:
            last = error
            results.append({"job_id": wanted, "error": error.as_wire()})
            if not context.settings.json:
                say_error(error, as_json=False)
            continue
        results.append({"job_id": job_id, "error": None})
        if not context.settings.json:
            say(f"Job {job_id[:SHOWN_ID]} {done}.")
    if context.settings.json:
        say_json({"jobs": results})
    if last is None:
        return 0
    return last.exit_code if len(results) == 1 else 3


# --- the queue --------------------------------------------------------------------------------------------


def run_pause(context: Context) -> int:
    """Give no more jobs to one server, or to any. Running jobs go on."""
    return _pause(context, paused=True)


def run_resume(context: Context) -> int:
    """Give jobs again."""
    return _pause(context, paused=False)


def _pause(context: Context, *, paused: bool) -> int:
    hub, alias = open_hub(context), context.arguments.server
    server = server_called(hub, alias) if alias else None
    answer = hub.pause_queue(server["server_id"] if server else None, paused=paused)
    if context.settings.json:
        say_json(answer)
        return 0
    who = visible(str(server["alias"])) if server else "The queue"
    say(f"{who} {'is paused; running jobs finish.' if paused else 'is resumed.'}")
    return 0
