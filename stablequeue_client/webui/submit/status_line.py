"""What the page's script asks about the Queue button (docs/extension-api.md). Never waits for a hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stablequeue_client.shared.errors import InvalidValueError, NotFoundError
from stablequeue_client.shared.views.job_labels import STATES, state_of_row
from stablequeue_client.shared.views.job_values import JobDetails, JobRow
from stablequeue_client.shared.views.labels import counted
from stablequeue_client.webui.parts.runtime import Runtime
from stablequeue_client.webui.parts.states import OutboxJob
from stablequeue_client.webui.submit.sender import SentJob
from stablequeue_client.webui.submit.submission import Submission, SubmissionChoices, SubmissionService
from stablequeue_client.webui.views.prompt_check_view import Tone
from stablequeue_client.webui.views.queue_line_view import QueueItem, queue_line

REFUSED_SHOWN = 3
_TONES: dict[str, Tone] = {"good": "good", "warn": "warn", "bad": "bad"}


class StatusLine:
    """The line beside the Queue button. Any thread may call anything."""

    def __init__(self, rt: Runtime, desk: SubmissionService) -> None:
        self._rt, self._service = rt, desk

    def announce(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """``{tab, target, count, seed_rule}`` -> ``{press}``. Raises InvalidValueError."""
        count, target = values.get("count", 1), values.get("target", "")
        if isinstance(count, bool) or not isinstance(count, int) or not isinstance(target, str):
            raise InvalidValueError("There is no such choice.", remedy="Reload the page.")
        choices = SubmissionChoices(target[:200], count, str(values.get("seed_rule", "increment")))
        return {"press": self._service.announce(str(values.get("tab")), choices)}

    def line(self, tab: str, press_key: str) -> dict[str, Any]:
        """``html``: the line; ``busy``: it will say something else soon; ``later``: at some time; ``kept``:
        how many wait here."""
        submission = self._service.submission(press_key)
        if submission is not None and submission.tab != tab:
            submission = None
        kept = self._service.kept.all()
        items, busy, later = self._of_press(submission, kept, self._service.sender.sent(press_key))
        others = [job for job in kept if job.key != press_key]
        told = any(job.key == press_key and not job.refused for job in kept)
        items += self._of_the_others(others, told=told)
        return {"html": str(queue_line(tuple(items))), "busy": busy, "later": later, "kept": len(kept)}

    def change(self, what: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Send a refused job ``again``, or ``throw-away`` any that is kept; whether there was one."""
        key = str(values.get("key"))
        return {"done": self._service.send_again(key) if what == "again" else self._service.kept.drop(key)}

    def choices(self) -> dict[str, Any]:
        """Return what is chosen among: ``servers [{id, alias, connected}]``, ``placement``, ``shortcut``."""
        settings = self._rt.settings()
        page = self._rt.hub.view("servers")
        servers = page.value.servers if page is not None else ()
        return {
            "placement": settings.queue_button,
            "shortcut": settings.queue_shortcut,
            "servers": [
                {"id": one.server_id, "alias": one.alias, "connected": one.connected}
                for one in servers
                if not one.no_agent
            ],
        }

    # --- the line --------------------------------------------------------------------------------------

    def _of_press(
        self, submission: Submission | None, kept: list[OutboxJob], sent: SentJob | None
    ) -> tuple[list[QueueItem], bool, bool]:
        """Return what there is to say, and whether that changes soon, or some time."""
        if submission is None:
            return [], False, False
        if self._service.timed_out(submission):
            return [QueueItem("bad", "Not queued: the page did not send it. Reload the page.")], False, False
        if submission.stage == "failed":
            return [QueueItem("bad", f"Not queued: {submission.text}")], False, False
        if sent is not None:
            try:
                item, later = of_sent(sent, self._rt.hub.cached_view("job", sent.job_id))
            except NotFoundError:
                return [QueueItem("note", "The job was deleted.")], False, False
            return [item], False, later
        job = next((one for one in kept if one.key == submission.key), None)
        if job is None and submission.stage == "kept":  # thrown away meanwhile
            return [], False, False
        if job is None:
            return [QueueItem("note", "Queueing…")], True, False
        if job.refused:
            return [QueueItem("bad", f"Refused: {job.refused}", key=job.key)], False, False
        others = sum(not one.refused for one in kept) - 1
        what = f"It and {counted(others, 'earlier job')} are kept here" if others else "It is kept here"
        return [self._waits(what)], True, False

    def _of_the_others(self, others: list[OutboxJob], *, told: bool) -> list[QueueItem]:
        """``told``: that some wait was said with the press."""
        waiting = [job for job in others if not job.refused]
        items = []
        if waiting and not told:
            items.append(self._waits(f"{counted(len(waiting), 'job')} kept here"))
        refused = [job for job in others if job.refused]
        for job in refused[-REFUSED_SHOWN:]:
            items.append(QueueItem("bad", f"An earlier job was refused: {job.refused}", key=job.key))
        return items

    def _waits(self, what: str) -> QueueItem:
        hub = self._rt.hub.state()
        if hub.kind == "none":
            if self._rt.own_hub.status().phase in ("building", "starting"):
                return QueueItem("note", f"{what} until the hub of this computer is set up.")
            return QueueItem("note", f"{what} until this WebUI has a hub.", start_hub=True)
        if hub.kind not in ("connected", "asking"):
            return QueueItem("warn", f"{what} until the hub answers. {hub.message}")
        trouble = self._service.sender.problem()  # sending it may have failed before anything else did
        if trouble is not None:
            return QueueItem("warn", f"{what} until the hub answers. {trouble.message}")
        return QueueItem("note", f"{what}, and on the way to the hub.")


def of_sent(sent: SentJob, details: JobDetails | None) -> tuple[QueueItem, bool]:
    """Return what became of it, and whether that can change. ``details``: of the first job, as the hub told
    last."""
    queued = "Queued." if sent.count == 1 else f"{counted(sent.count, 'job')} queued."
    if details is None:
        text = queued if sent.possible else f"{queued} No server can make it now."
        return QueueItem("good" if sent.possible else "warn", text, job_id=sent.job_id), True
    row = details.row
    if row.state == "pending":
        tone: Tone = "good" if row.in_line else "warn"
        text = f"{queued} {_sentence(row.waiting)}".strip()
    else:
        state = STATES[state_of_row(row)]
        tone = _TONES.get(state.tone, "note")
        said = _sentence(f"{state.word}{_details_of(row)}")
        text = f"{queued} The first: {said}" if sent.count > 1 else said[:1].upper() + said[1:]
    return QueueItem(tone, text, job_id=sent.job_id), row.state in ("pending", "processing")


def _details_of(row: JobRow) -> str:
    where = f" on {row.server}" if row.server else ""
    if row.failure:
        return f"{where}: {row.failure}"
    return where if row.progress is None else f"{where}, {int(row.progress * 100)} %"


def _sentence(text: str) -> str:
    return f"{text.rstrip('. ')}." if text else ""
