"""A job is edited: its name at any time, everything else while it waits.

Jobs of a batch share their payload; one that is edited gets a payload of its own, and the others keep theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET
from sqlalchemy import Connection

from stablequeue_client.shared.errors import InvalidValueError
from stablequeue_client.shared.generation.payload_fields import checked_payload
from stablequeue_client.shared.views.job_form import NUMBER_FIELDS, TEXT_FIELDS
from stablequeue_client.shared.wire.field_limits import check_number
from stablequeue_client.shared.wire.queue import EditedJob, JobEdit
from stablequeue_hub.errors import JobStateError
from stablequeue_hub.jobs.list import job_in_full
from stablequeue_hub.jobs.resubmission import StoredJob, judge_again, load_job
from stablequeue_hub.jobs.rows import add_payload, change_pending, rename_job
from stablequeue_hub.jobs.states import chosen_seed
from stablequeue_hub.jobs.submission import check_name, check_pictures, check_priority, checked_seed
from stablequeue_hub.matching.check import (
    Judged,
    check_prompts,
    check_queued_job,
    check_targets,
    resolve_server,
)
from stablequeue_hub.servers.known_servers import known_servers
from stablequeue_hub.store.tables import job_requirements

if TYPE_CHECKING:
    from stablequeue_hub.servers.presence import Live

TIME_MAX_MS = 2**53


def edit_job(
    connection: Connection, job_id: str, wanted: JobEdit, live: Live, *, actor: str, now_ms: int
) -> EditedJob:
    """Change what ``wanted`` names. Raises NotFoundError, InvalidValueError, TooLargeError, and JobStateError
    for more than the name of a job that does not wait any more. Nothing is changed then."""
    job = load_job(connection, job_id)
    fields = [name for name in JobEdit.__struct_fields__ if getattr(wanted, name) is not UNSET]
    for_waiting = [name for name in fields if name != "name"]
    if for_waiting and job.state != "pending":
        raise JobStateError(f"The job is {job.state}; only its name can still be changed.")
    if wanted.name is not UNSET:
        check_name(wanted.name)
    values = _columns(connection, job, wanted, live, now_ms)
    check = None
    if for_waiting:
        judged = _judged(connection, job, wanted, values, live, now_ms)
        if judged.payload != job.payload.payload or judged.needs.source_id != job.payload.source_id:
            values["payload_id"] = add_payload(connection, judged.payload, judged.needs)
            _keep_decisions(connection, job.payload.payload_id, values["payload_id"])
        details = {"changed": for_waiting}
        change_pending(connection, job_id, values, actor=actor, now_ms=now_ms, details=details)
        check = check_queued_job(connection, job_id, live, now_ms=now_ms)
    if wanted.name is not UNSET and wanted.name != job.name:
        rename_job(connection, job_id, wanted.name, actor=actor, now_ms=now_ms)
    return EditedJob(job_in_full(connection, job_id), check)


def _columns(
    connection: Connection, job: StoredJob, wanted: JobEdit, live: Live, now_ms: int
) -> dict[str, Any]:
    """The job's own columns that change."""
    values: dict[str, Any] = {}
    if wanted.priority is not UNSET:
        check_priority(wanted.priority)
        values["priority"] = wanted.priority
    if wanted.targets is not UNSET:
        values["targets_json"] = _targets(connection, wanted.targets, live, job.targets or ())
    if wanted.deadline_ms is not UNSET:
        if wanted.deadline_ms is not None and not now_ms < wanted.deadline_ms < TIME_MAX_MS:
            raise InvalidValueError(
                "`deadline_ms` must be in the future, in milliseconds since 1970 UTC.",
                remedy="Send null to let the job wait for ever.",
            )
        values["deadline_ms"] = wanted.deadline_ms
    seed = wanted.seed
    if seed is UNSET and wanted.payload is not UNSET:
        seed = wanted.payload.get("seed", UNSET)
    if seed is not UNSET:
        number = checked_seed(seed)
        values["seed"] = number if number >= 0 else chosen_seed()
    return values


def _targets(
    connection: Connection, wanted: list[str] | None, live: Live, before: Sequence[str]
) -> str | None:
    """``before``: the job's targets, which it may keep also where they were forgotten."""
    if wanted is None:
        return None
    check_targets(wanted)
    known = known_servers(connection, live)
    return msgspec.json.encode(
        sorted({name if name in before else resolve_server(known, name) for name in wanted})
    ).decode()


def _judged(
    connection: Connection,
    job: StoredJob,
    wanted: JobEdit,
    values: dict[str, Any],
    live: Live,
    now_ms: int,
) -> Judged:
    source_id = job.payload.source_id
    if wanted.server is not UNSET:
        source_id = resolve_server(known_servers(connection, live), wanted.server)
    targets = job.targets
    if "targets_json" in values:
        text = values["targets_json"]
        targets = None if text is None else msgspec.json.decode(text, type=list[str])
    payload = edited_payload(job.payload.payload, wanted)
    check_pictures(payload)
    check_prompts(payload)
    return judge_again(
        connection,
        job.payload,
        payload,
        source_id,
        targets,
        live,
        submitted_by=job.submitted_by,
        now_ms=now_ms,
    )


def edited_payload(before: dict[str, Any], wanted: JobEdit) -> dict[str, Any]:
    """The payload with the values that ``wanted`` names, without its seed. Raises InvalidValueError."""
    payload = dict(before if wanted.payload is UNSET else checked_payload(wanted.payload))
    payload.pop("seed", None)
    for name in TEXT_FIELDS:
        text = getattr(wanted, name)
        if text is not UNSET:
            payload[name] = text
    for name in NUMBER_FIELDS:
        number = getattr(wanted, name)
        if number is not UNSET:
            check_number(name, number)
            payload[name] = number
    if wanted.checkpoint is not UNSET:
        _set_checkpoint(payload, wanted.checkpoint)
    return payload


def _set_checkpoint(payload: dict[str, Any], title: str) -> None:
    before = payload.get("override_settings")
    settings = dict(before) if isinstance(before, dict) else {}
    settings.pop("sd_model_checkpoint", None)
    if title.strip():
        settings["sd_model_checkpoint"] = title
    payload["override_settings"] = settings


def _keep_decisions(connection: Connection, before_id: int, after_id: int) -> None:
    """Copy what a person decided about models to where they are named as before."""
    before, after = job_requirements.alias(), job_requirements
    same = (
        before.c.payload_id == before_id,
        before.c.role == after.c.role,
        before.c.name == after.c.name,
        before.c.hash.is_not_distinct_from(after.c.hash),
        before.c.decision.is_not(None),
    )
    rows = connection.execute(
        before.select()
        .with_only_columns(after.c.place, before.c.decision, before.c.decision_server_id)
        .join(after, after.c.payload_id == after_id)
        .where(*same)
    ).all()
    for place, decision, server_id in rows:
        connection.execute(
            after.update()
            .where(after.c.payload_id == after_id, after.c.place == place)
            .values(decision=decision, decision_server_id=server_id)
        )
