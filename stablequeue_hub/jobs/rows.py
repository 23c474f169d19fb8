"""The one writer of jobs: they are made, change their state and go here, each with its event."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_hub.errors import JobStateError, unknown_job
from stablequeue_hub.events import events
from stablequeue_hub.jobs.states import ENDED, JobState, check_transition
from stablequeue_hub.matching.job_requirements import JobNeeds
from stablequeue_hub.store.bulk import insert_rows
from stablequeue_hub.store.prepared import Prepared
from stablequeue_hub.store.tables import events as events_table
from stablequeue_hub.store.tables import (
    job_exclusions,
    job_payloads,
    job_requirements,
    job_runs,
    job_submissions,
    jobs,
)

BRIEF_CHARACTERS = 30_000
"""Of a longer payload a shorter one is kept for lists, which show up to 1,000 of them."""
PICTURES = "init_images"

_COLUMNS = (
    "job_id",
    "batch_id",
    "state",
    "name",
    "priority",
    "submitted_by",
    "payload_id",
    "seed",
    "targets_json",
    "created_ms",
    "changed_ms",
    "deadline_ms",
)
_REQUIREMENT_COLUMNS = ("payload_id", "place", "role", "name", "hash", "status", "sha256")


def add_payload(
    connection: Connection,
    payload: dict[str, Any],
    needs: JobNeeds,
) -> int:
    """Store what is to be generated; its id."""
    text = msgspec.json.encode(payload).decode()
    made = connection.execute(
        job_payloads.insert().values(
            payload_json=text,
            source_server_id=needs.source_id,
            needs_json=msgspec.json.encode(needs.capabilities).decode(),
            prompt=_prompt(payload),
            brief_json=brief_text(payload) if len(text) > BRIEF_CHARACTERS else None,
        )
    ).inserted_primary_key
    assert made is not None
    payload_id = int(made[0])
    rows = [
        (payload_id, place, one.role, one.name, one.hash, one.status, one.sha256)
        for place, one in enumerate(needs.requirements)
    ]
    insert_rows(connection, job_requirements, _REQUIREMENT_COLUMNS, rows)
    return payload_id


def _prompt(payload: dict[str, Any]) -> str:
    prompt = payload.get("prompt")
    return prompt.replace("\x00", "") if isinstance(prompt, str) else ""


def brief_text(payload: dict[str, Any]) -> str:
    """A payload as JSON of about ``BRIEF_CHARACTERS`` without its longest values. Pictures to start from that
    are left out are an empty list: one still sees that it has some."""
    parts = [msgspec.json.encode({name: value}).decode()[1:-1] for name, value in payload.items()]
    kept: list[int] = []
    left = BRIEF_CHARACTERS - 2
    for place in sorted(range(len(parts)), key=lambda place: len(parts[place])):
        left -= len(parts[place]) + 1
        if left < 0:
            break
        kept.append(place)
    shown = [parts[place] for place in sorted(kept)]
    if PICTURES in payload and not any(part.startswith(f'"{PICTURES}"') for part in shown):
        shown.append(f'"{PICTURES}":[]')
    return "{" + ",".join(shown) + "}"


def add_jobs(
    connection: Connection,
    payload_id: int,
    seeds: Iterable[int],
    *,
    name: str,
    priority: int,
    targets: Sequence[str] | None,
    actor: str,
    now_ms: int,
    deadline_ms: int | None = None,
) -> tuple[str, list[str]]:
    """A batch of pending jobs, one for each seed; the batch's id and theirs."""
    batch_id = str(uuid.uuid4())
    targets_json = None if targets is None else msgspec.json.encode(sorted(targets)).decode()
    rows = [
        (
            str(uuid.uuid4()),
            batch_id,
            "pending",
            name,
            priority,
            actor,
            payload_id,
            seed,
            targets_json,
            now_ms,
            now_ms,
            deadline_ms,
        )
        for seed in seeds
    ]
    insert_rows(connection, jobs, _COLUMNS, rows)
    ids = [row[0] for row in rows]
    columns = ("at_ms", "action", "actor", "job_id")
    insert_rows(
        connection, events_table, columns, [(now_ms, "job_submitted", actor, job_id) for job_id in ids]
    )
    return batch_id, ids


def change_state(
    connection: Connection,
    job_id: str,
    state: JobState,
    *,
    action: str,
    actor: str,
    now_ms: int,
    details: dict[str, Any] | None = None,
    server_id: str | None = None,
    values: dict[str, Any] | None = None,
) -> None:
    """The only way to another state; ``values``: further columns of the job that change with it.

    Raises NotFoundError, and JobStateError where the step is none.
    """
    before = state_of(connection, job_id)
    check_transition(before, state)
    ended_ms = now_ms if state in ENDED else None
    connection.execute(
        jobs.update()
        .where(jobs.c.job_id == job_id, jobs.c.state == before)
        .values(**{"state": state, "changed_ms": now_ms, "ended_ms": ended_ms, **(values or {})})
    )
    if before == "processing" and state == "cancelled":
        open_run = (job_runs.c.job_id == job_id, job_runs.c.ended_ms.is_(None))
        connection.execute(job_runs.update().where(*open_run).values(ended="cancelled", ended_ms=now_ms))
    events.append(
        connection, action, actor, now_ms=now_ms, job_id=job_id, server_id=server_id, details=details
    )


_START = Prepared(
    jobs.update()
    .where(jobs.c.job_id == sa.bindparam("this_job"), jobs.c.state == "pending")
    .values(
        state="processing",
        server_id=sa.bindparam("this_server"),
        fence=sa.bindparam("new_fence"),
        changed_ms=sa.bindparam("now"),
        outcome=None,
        failure=None,
        failure_text=None,
    )
)


_INSERT_EVENT = Prepared(
    events_table.insert().values(
        {name: sa.bindparam(name) for name in ("at_ms", "action", "actor", "server_id", "job_id")}
    )
)


def start_job(connection: Connection, job_id: str, server_id: str, fence: int, *, now_ms: int) -> bool:
    """A server takes a pending job; False when it does not wait any more."""
    check_transition("pending", "processing")
    values = {"this_job": job_id, "this_server": server_id, "new_fence": fence, "now": now_ms}
    if not _START.run(connection, values):
        return False
    event = {"at_ms": now_ms, "action": "job_started", "actor": f"server:{server_id}"}
    _INSERT_EVENT.run(connection, {**event, "server_id": server_id, "job_id": job_id})
    return True


def state_of(connection: Connection, job_id: str) -> JobState:
    """Raises NotFoundError."""
    state: JobState | None = connection.scalar(sa.select(jobs.c.state).where(jobs.c.job_id == job_id))
    if state is None:
        raise unknown_job()
    return state


def change_pending(
    connection: Connection,
    job_id: str,
    values: dict[str, Any],
    *,
    actor: str,
    now_ms: int,
    action: str = "job_edited",
    details: dict[str, Any] | None = None,
) -> None:
    """Change columns of a job that waits, other than its state. A payload that no job has any more goes.

    Raises NotFoundError, and JobStateError when it does not wait any more.
    """
    row = connection.execute(
        sa.select(jobs.c.state, jobs.c.payload_id).where(jobs.c.job_id == job_id)
    ).first()
    if row is None:
        raise unknown_job()
    still = jobs.update().where(jobs.c.job_id == job_id, jobs.c.state == "pending")
    if not connection.execute(still.values(**values, changed_ms=now_ms)).rowcount:
        raise JobStateError(f"The job is {row.state}; this can be changed only while it waits.")
    if values.get("payload_id", row.payload_id) != row.payload_id:
        _drop_unused(connection, row.payload_id)
    if values.keys() & {"payload_id", "targets_json"}:  # what was said of the job before is of another job
        connection.execute(jobs.update().where(jobs.c.job_id == job_id).values(refusals=0))
        connection.execute(job_exclusions.delete().where(job_exclusions.c.job_id == job_id))
    events.append(connection, action, actor, now_ms=now_ms, job_id=job_id, details=details)


def rename_job(connection: Connection, job_id: str, name: str, *, actor: str, now_ms: int) -> None:
    """In any state. Raises NotFoundError."""
    _change(connection, job_id, name=name)
    events.append(connection, "job_renamed", actor, now_ms=now_ms, job_id=job_id)


def star_job(connection: Connection, job_id: str, starred: bool, *, actor: str, now_ms: int) -> None:
    """Starred jobs are kept for ever. Raises NotFoundError."""
    _change(connection, job_id, starred=int(starred))
    action = "job_starred" if starred else "job_unstarred"
    events.append(connection, action, actor, now_ms=now_ms, job_id=job_id)


def accept_job(connection: Connection, job_id: str, *, actor: str, now_ms: int) -> None:
    """Take a picture all the same that was made with other models than it should: the one step out of an
    end. Raises NotFoundError, and JobStateError for a job that did not fail for this reason."""
    row = connection.execute(sa.select(jobs.c.state, jobs.c.outcome).where(jobs.c.job_id == job_id)).first()
    if row is None:
        raise unknown_job()
    if row.state != "failed":
        raise JobStateError(f"The job is {row.state}; only a failed job's picture can be accepted.")
    check_transition(row.state, "completed", outcome=row.outcome)
    values = {"state": "completed", "outcome": "accepted", "failure": None, "failure_text": None}
    failed = jobs.update().where(jobs.c.job_id == job_id, jobs.c.state == "failed")
    connection.execute(failed.values(**values, changed_ms=now_ms))
    events.append(connection, "job_accepted", actor, now_ms=now_ms, job_id=job_id)


def _change(connection: Connection, job_id: str, **values: Any) -> None:
    if not connection.execute(jobs.update().where(jobs.c.job_id == job_id).values(**values)).rowcount:
        raise unknown_job()


def delete_job(connection: Connection, job_id: str, *, actor: str, now_ms: int) -> None:
    """Remove a job with its prompt and its events; that it was removed stays known, without a word of it.

    Raises NotFoundError, and JobStateError while a server works on it.
    """
    if state_of(connection, job_id) == "processing":
        raise JobStateError("A server is running this job.", remedy="Cancel it first.")
    payload_id = connection.scalar(sa.select(jobs.c.payload_id).where(jobs.c.job_id == job_id))
    batch_id = connection.scalar(sa.select(jobs.c.batch_id).where(jobs.c.job_id == job_id))
    connection.execute(jobs.delete().where(jobs.c.job_id == job_id))
    connection.execute(events_table.delete().where(events_table.c.job_id == job_id))
    _drop_unused(connection, payload_id)
    if connection.scalar(sa.select(jobs.c.seq).where(jobs.c.batch_id == batch_id).limit(1)) is None:
        connection.execute(job_submissions.delete().where(job_submissions.c.batch_id == batch_id))
    events.append(connection, "job_deleted", actor, now_ms=now_ms)


def retire_jobs(connection: Connection, job_ids: Sequence[str], *, now_ms: int) -> None:
    """Remove jobs that were kept long enough, with their prompts and events; one event says how many."""
    if not job_ids:
        return
    these = jobs.c.job_id.in_(job_ids)
    payload_ids = list(connection.scalars(sa.select(jobs.c.payload_id).distinct().where(these)))
    connection.execute(jobs.delete().where(these))
    connection.execute(events_table.delete().where(events_table.c.job_id.in_(job_ids)))
    used = sa.exists().where(jobs.c.payload_id == job_payloads.c.id)
    connection.execute(job_payloads.delete().where(job_payloads.c.id.in_(payload_ids), ~used))
    has_jobs = sa.exists().where(jobs.c.batch_id == job_submissions.c.batch_id)
    connection.execute(job_submissions.delete().where(~has_jobs))
    events.append(connection, "jobs_retired", "hub", now_ms=now_ms, details={"jobs": len(job_ids)})


def _drop_unused(connection: Connection, payload_id: int | None) -> None:
    """Forget a payload unless a job still has it."""
    if connection.scalar(sa.select(jobs.c.seq).where(jobs.c.payload_id == payload_id).limit(1)) is None:
        connection.execute(job_payloads.delete().where(job_payloads.c.id == payload_id))


def change_server(connection: Connection, before: str, after: str) -> list[str]:
    """Jobs that are for one server, or were written there, are another one's now, and what was decided for
    it; the ids of the former."""
    column = jobs.c.targets_json
    named = column.contains(f'"{before}"', autoescape=True)
    ids = list(connection.scalars(sa.select(jobs.c.job_id).where(named)))
    connection.execute(
        jobs.update().where(named).values(targets_json=sa.func.replace(column, f'"{before}"', f'"{after}"'))
    )
    connection.execute(
        job_payloads.update().where(job_payloads.c.source_server_id == before).values(source_server_id=after)
    )
    its = job_requirements.c.decision_server_id == before
    connection.execute(job_requirements.update().where(its).values(decision_server_id=after))
    return ids


def ids_of_batch(connection: Connection, batch_id: str) -> list[str]:
    """The jobs of a batch that are still known, in order."""
    query = sa.select(jobs.c.job_id).where(jobs.c.batch_id == batch_id).order_by(jobs.c.seq)
    return list(connection.scalars(query))


def drop_submissions(connection: Connection, before_ms: int) -> None:
    """Forget idempotency keys older than that."""
    connection.execute(job_submissions.delete().where(job_submissions.c.created_ms < before_ms))
