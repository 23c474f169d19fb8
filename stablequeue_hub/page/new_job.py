"""The form for a new job: where it starts from, what it needs, who can make it. Reads only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import Connection

from stablequeue_client.shared.errors import InvalidValueError
from stablequeue_client.shared.generation.image_text import generation_text
from stablequeue_client.shared.generation.infotext import (
    HashMention,
    infotext_hashes,
    left_out,
    parse_infotext,
    payload_from_infotext,
    plain_text,
)
from stablequeue_client.shared.generation.requirements import can_be_written
from stablequeue_client.shared.views import job_values as jv
from stablequeue_client.shared.views.job_form import Fields, fields_of_payload
from stablequeue_client.shared.wire.jobs import JobCheck, JobCheckRequest, JobSubmission, RequirementCheck
from stablequeue_hub.jobs.resubmission import StoredJob, load_job
from stablequeue_hub.matching.check import check_generation_text, judge_job
from stablequeue_hub.matching.job_requirements import requirements_of
from stablequeue_hub.matching.sentence import short_name
from stablequeue_hub.matching.server_facts import servers_now
from stablequeue_hub.models.filters import ModelFilter
from stablequeue_hub.models.matrix import list_models
from stablequeue_hub.page.job import form_choices
from stablequeue_hub.page.job_forms import form_payload, form_submission
from stablequeue_hub.page.queue import title_of
from stablequeue_hub.servers.servers import server_named

if TYPE_CHECKING:
    from stablequeue_hub.servers.presence import Live

PICKED_MAX = 20
SEARCH_MAX = 200
LEFT_OUT_SHOWN = 8
LABEL_SHOWN = 80
_MARKS: dict[str, jv.NeedMark] = {"ambiguous": "ambiguous", "missing": "missing", "not_checked": "unchecked"}
_REASON_MARKS: dict[str, jv.NeedMark] = {"model_unhashed": "unread", "model_unreachable": "away"}


@dataclass(frozen=True)
class Start:
    """What a form starts from: a payload, where its names were written, hashes that are known of them, and
    labels of a text that the payload says nothing of."""

    payload: dict[str, Any]
    source_id: str | None = None
    mentions: tuple[HashMention, ...] = ()
    left_out: tuple[str, ...] = ()


def start_of(connection: Connection, from_job: str, text: str) -> Start:
    """From a job, else from a generation text, else from nothing. Raises NotFoundError."""
    if from_job:
        return _from_job(connection, load_job(connection, from_job))
    if text:
        parsed = parse_infotext(text)
        return Start(
            payload_from_infotext(parsed),
            mentions=tuple(infotext_hashes(parsed)),
            left_out=tuple(left_out(parsed)),
        )
    return Start({})


def _from_job(connection: Connection, job: StoredJob) -> Start:
    """The contents that its names meant go along, whatever else is called so by now."""
    payload_id = job.payload.payload_id
    stored = requirements_of(connection, payload_id)
    mentions = [
        HashMention(one.role, one.name, one.sha256, "sha256")
        for one in stored
        if one.status == "found" and one.sha256
    ]
    payload = {**job.payload.payload, "seed": job.seed}
    (source_id,) = _still_known(connection, [job.payload.source_id]) or (None,)
    return Start(payload, source_id, tuple(mentions))


def _still_known(connection: Connection, some: Iterable[str | None]) -> list[str]:
    """Those of the servers that were not forgotten."""
    return [server_id for server_id in some if server_id and server_named(connection, server_id)]


def new_job(
    connection: Connection,
    from_job: str,
    text: str,
    live: Live,
    *,
    own_server: str | None,
    now_ms: int,
) -> jv.NewJob:
    """The form, filled from where it starts. ``own_server``: as of a check. Raises NotFoundError."""
    start = start_of(connection, from_job, text)
    choices = form_choices(servers_now(connection, live))
    form = jv.NewJob(choices=choices)
    if not start.payload:
        return form
    seed = start.payload.get("seed", -1)
    fields = jv.JobFields(seed=str(seed), count="1", **fields_of_payload(start.payload))
    title, targets = "", None
    if from_job:
        job = load_job(connection, from_job)
        title = title_of(job.name, fields.prompt)
        targets = _still_known(connection, job.targets or ()) or None
        fields = replace(fields, name=job.name, priority=str(job.priority), targets=tuple(targets or ()))
    wanted = JobCheckRequest(start.payload, server=start.source_id, targets=targets)
    judged = judge_job(
        connection, wanted, live, own_server=own_server, now_ms=now_ms, mentions=start.mentions
    )
    return replace(
        form,
        fields=fields,
        from_job=from_job,
        title=title,
        text=text,
        check=shown_check(judged.check),
        left_out=tuple(label[:LABEL_SHOWN] for label in start.left_out[:LEFT_OUT_SHOWN]),
        left_out_count=len(start.left_out),
    )


def checked_form(
    connection: Connection, fields: Fields, live: Live, *, own_server: str | None, now_ms: int
) -> jv.CheckShown:
    """Check a filled form. Raises InvalidValueError, NotFoundError, TooLargeError."""
    wanted, start = submission_of(connection, fields)
    request = JobCheckRequest(wanted.payload, None, wanted.server, wanted.targets)
    judged = judge_job(
        connection, request, live, own_server=own_server, now_ms=now_ms, mentions=start.mentions
    )
    return shown_check(judged.check)


def submission_of(connection: Connection, fields: Fields) -> tuple[JobSubmission, Start]:
    """The job that a form means. Raises InvalidValueError, NotFoundError."""
    form = dict(fields)
    start = start_of(connection, form.get("from_job", ""), form.get("text", ""))
    payload = form_payload(start.payload, fields)
    return form_submission(fields, payload, start.source_id), start


def shown_check(check: JobCheck) -> jv.CheckShown:
    """The answer of the check as the form shows it."""
    return jv.CheckShown(
        check.possible,
        tuple(
            jv.NeedChip(_mark(check, place, one), one.role, short_name(one.name), one.sha256 or "")
            for place, one in enumerate(check.requirements)
        ),
        tuple(
            jv.WhyLine(
                server.server_id,
                server.alias,
                server.ok,
                tuple(reason.text for reason in server.reasons),
                tuple(server.not_checked),
            )
            for server in check.servers
        ),
        (*check.warnings, *(found.text for found in check.helps)),
    )


def _mark(check: JobCheck, place: int, one: RequirementCheck) -> jv.NeedMark:
    """There, if it is somewhere; else what comes nearest."""
    if one.status in _MARKS:
        return _MARKS[one.status]
    about = [
        next((reason.code for reason in server.reasons if reason.requirement == place), "")
        for server in check.servers
    ]
    if "" in about:
        return "have"
    return next((_REASON_MARKS[code] for code in about if code in _REASON_MARKS), "missing")


def text_of_picture(data: bytes) -> str:
    """The generation text of a picture. Raises InvalidValueError for what has none."""
    text = generation_text(data)
    if not text:
        raise InvalidValueError(
            "This picture carries no generation text.",
            remedy="Take the file as the WebUI saved it, or paste the text.",
        )
    return text


def checked_text(text: str) -> str:
    """A pasted generation text. Raises InvalidValueError for none, TooLargeError for too long a one."""
    text = plain_text(text)
    if not text:
        raise InvalidValueError("There is no generation text.", remedy="Paste the text under a picture.")
    check_generation_text(text)
    return text


def pick_list(connection: Connection, query: Mapping[str, str], live: Live, *, now_ms: int) -> jv.PickList:
    """Checkpoints or LoRAs whose name fits."""
    kind: Literal["lora", "checkpoint"] = "lora" if query.get("kind") == "lora" else "checkpoint"
    search = query.get("search", "").strip()[:SEARCH_MAX]
    wanted = ModelFilter(search=search, kind=kind, state="present", limit=PICKED_MAX)
    found = list_models(connection, wanted, live, now_ms=now_ms)
    return jv.PickList(
        kind,
        tuple(
            jv.PickedModel(
                row.name,
                _insert(kind, row.name, row.hash_autov2),
                row.base_model or "",
                row.available_on,
                row.hash_autov2 or "",
            )
            for row in found.models
            if kind != "lora" or can_be_written(row.name)
        ),
        found.total,
    )


def _insert(kind: str, name: str, short_hash: str | None) -> str:
    """A checkpoint's title says by its hash which one is meant; a LoRA's name in a prompt cannot."""
    if kind == "lora":
        return f"<lora:{name}:1>"
    return f"{name} [{short_hash}]" if short_hash else name
