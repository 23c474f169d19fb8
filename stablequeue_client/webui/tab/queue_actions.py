"""What the buttons and forms of the queue's views do: by the hub's API, with this WebUI's own key.

The hub decides who may do what. What it says comes back as a message, and the words are made here. All of
this waits for the hub, so it runs in threads of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from markupsafe import Markup

from stablequeue_client.shared.errors import InvalidValueError, NotFoundError
from stablequeue_client.shared.generation.image_text import generation_text
from stablequeue_client.shared.generation.png_text import TEXT_MAX_BYTES
from stablequeue_client.shared.views import job_views, views
from stablequeue_client.shared.views import values as v
from stablequeue_client.shared.views.job_form import ACTIONS_DONE, Fields, actions_told, changes, decision
from stablequeue_client.shared.views.labels import counted
from stablequeue_client.shared.wire.jobs import JobInfo
from stablequeue_client.shared.wire.queue import JobActions, RunAgain
from stablequeue_client.webui.parts.runtime import Runtime
from stablequeue_client.webui.tab.local_queue import send_again, throw_away

FORM_MAX_BYTES = 8 * TEXT_MAX_BYTES
"""Texts are percent-encoded: three bytes for one."""
FIELDS_MAX = 550
"""Up to 500 jobs are chosen at once."""
KEPT = "queue/kept/"
"""Actions on what lies here, which ask no hub."""


@dataclass(frozen=True)
class ActionAnswer:
    """What happened, as a fragment. ``go``: the place to show then."""

    html: Markup
    go: str = ""


def act(rt: Runtime, action: str, fields: Fields) -> ActionAnswer:
    """Do what a button of the queue says. Raises NotFoundError, NoHubError, HubAwayError, and what the hub
    says of it."""
    for pattern, do in _ACTIONS:
        match = pattern.fullmatch(action)
        if match:
            return do(rt, fields, *match.groups())
    raise NotFoundError("There is no such action.", remedy="Reload the page.")


def from_picture(rt: Runtime, data: bytes) -> Markup:
    """The form for a new job, filled from the generation text of a picture. Raises InvalidValueError,
    NoHubError, HubAwayError."""
    text = generation_text(data)
    if not text:
        raise InvalidValueError(
            "This picture carries no generation text.",
            remedy="Take the file as the WebUI saved it, or paste the text.",
        )
    return _filled(rt, text)


def from_text(rt: Runtime, fields: Fields) -> Markup:
    """The form for a new job, filled from a pasted generation text. Raises what the hub says of it."""
    return _filled(rt, dict(fields).get("text", ""))


def check(rt: Runtime, fields: Fields) -> Markup:
    """Return what a filled form needs, and who can make it. Raises what the hub says of it."""
    return job_views.job_check(rt.calls.run(lambda hub: hub.check_form(fields)))


def _filled(rt: Runtime, text: str) -> Markup:
    return job_views.new_job(rt.calls.run(lambda hub: hub.fill_form(text)))


# --- one or many jobs ---------------------------------------------------------------------------------------


def _many(rt: Runtime, fields: Fields) -> ActionAnswer:
    form = dict(fields)
    action, ids = form.get("action", ""), [value for name, value in fields if name == "ids"]
    if action not in ACTIONS_DONE:
        raise InvalidValueError("There is no such action.", remedy="Reload the page.")
    if not ids:
        return ActionAnswer(views.notice(actions_told(action, [])))
    wanted = JobActions(action, ids)  # type: ignore[arg-type]
    results = rt.calls.run(lambda hub: hub.act_on_jobs(wanted)).results
    done = any(result.problem is None for result in results)
    go = "?view=queue" if form.get("go") == "queue" and done else ""
    return ActionAnswer(views.notice(actions_told(action, results)), go)


def _edit(rt: Runtime, fields: Fields, job_id: str) -> ActionAnswer:
    """Return what the form says, as far as it differs from what is there."""

    def call(hub: Any) -> bool:
        wanted = changes(msgspec.convert(hub.job(job_id), JobInfo), fields)
        if wanted is not None:
            hub.edit_job(job_id, wanted)
        return wanted is not None

    return _said("Saved." if rt.calls.run(call) else "Nothing was changed.")


def _again(rt: Runtime, fields: Fields, job_id: str) -> ActionAnswer:
    form = dict(fields)
    wanted = RunAgain("new" if form.get("seed") == "new" else "same", form.get("once", ""))
    made = rt.calls.run(lambda hub: hub.run_again(job_id, wanted))
    return _said("Queued.", go=f"?view=job&id={made.job_id}")


def _decide(rt: Runtime, fields: Fields, job_id: str) -> ActionAnswer:
    wanted = decision(fields)
    decided = rt.calls.run(lambda hub: hub.decide(job_id, wanted))
    return _said(f"Decided for {counted(len(decided.job_ids), 'job')}.")


def _accept(rt: Runtime, _fields: Fields, job_id: str) -> ActionAnswer:
    rt.calls.run(lambda hub: hub.accept_job(job_id))
    return _said("Accepted.")


def _pause(rt: Runtime, _fields: Fields, server_id: str, step: str) -> ActionAnswer:
    paused = step == "pause"
    rt.calls.run(lambda hub: hub.pause_queue(server_id, paused=paused))
    return _said("Paused." if paused else "Resumed.")


def _kept(rt: Runtime, _fields: Fields, key: str, step: str) -> ActionAnswer:
    if step == "again":
        send_again(rt, key)
        return _said("Sending it.")
    throw_away(rt, key)
    return _said("Thrown away.")


def _queue(rt: Runtime, fields: Fields) -> ActionAnswer:
    made = rt.calls.run(lambda hub: hub.queue_form(fields))
    go = f"?view=job&id={made.job_id}" if len(made.job_ids) == 1 else "?view=queue"
    return _said(f"{counted(len(made.job_ids), 'job')} queued.", go=go)


def _said(text: str, remedy: str = "", *, ok: bool = True, go: str = "") -> ActionAnswer:
    return ActionAnswer(views.notice(v.Notice(text, ok, remedy)), go)


_JOB, _KEY = r"([0-9a-f-]{36})", r"[0-9a-f]{32}"
_ACTIONS: tuple[tuple[re.Pattern[str], Callable[..., ActionAnswer]], ...] = (
    (re.compile(r"jobs/actions"), _many),
    (re.compile(rf"jobs/{_JOB}/edit"), _edit),
    (re.compile(rf"jobs/{_JOB}/again"), _again),
    (re.compile(rf"jobs/{_JOB}/decisions"), _decide),
    (re.compile(rf"jobs/{_JOB}/accept"), _accept),
    (re.compile(rf"queue/servers/({_KEY})/(pause|resume)"), _pause),
    (re.compile(rf"{KEPT}({_KEY})/(again|throw-away)"), _kept),
    (re.compile(r"new/queue"), _queue),
)
