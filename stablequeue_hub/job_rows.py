"""The one writer of jobs: they are made, change their state and go here, each with its event."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.capability_needs import CapabilityNeed
from stablequeue_client.errors import NotFoundError
from stablequeue_hub import events
from stablequeue_hub.db.bulk import insert_rows
from stablequeue_hub.db.tables import events as events_table
from stablequeue_hub.db.tables import job_payloads, job_requirements, job_runs, job_submissions, jobs
from stablequeue_hub.errors import JobStateError
from stablequeue_hub.job_requirements import JobRequirement
from stablequeue_hub.jobs import ENDED, JobState, check_step

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
    requirements: Sequence[JobRequirement],
    source_id: str | None,
    needs: Sequence[CapabilityNeed] = (),
) -> int:
    """Store what is to be generated; its id."""
    text = msgspec.json.encode(payload).decode()
    made = connection.execute(
        job_payloads.insert().values(
            payload_json=text,
            source_server_id=source_id,
            needs_json=msgspec.json.encode(needs).decode(),
            prompt=_prompt(payload),
        )
    ).inserted_primary_key
    assert made is not None
    payload_id = int(made[0])
    rows = []
    for place, requirement in enumerate(requirements):
        found = requirement.as_check()
        rows.append((payload_id, place, found.role, found.name, found.hash, found.status, found.sha256))
    insert_rows(connection, job_requirements, _REQUIREMENT_COLUMNS, rows)
    return payload_id


def _prompt(payload: dict[str, Any]) -> str:
    prompt = payload.get("prompt")
    return prompt.replace("\x00", "") if isinstance(prompt, str) else ""


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
    said = ("at_ms", "action", "actor", "job_id")
    insert_rows(connection, events_table, said, [(now_ms, "job_submitted", actor, job_id) for job_id in ids])
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
    check_step(before, state)
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


def state_of(connection: Connection, job_id: str) -> JobState:
    """Raises NotFoundError."""
    state: JobState | None = connection.scalar(sa.select(jobs.c.state).where(jobs.c.job_id == job_id))
    if state is None:
        raise NotFoundError(
            "There is no such job.", remedy="It may have been deleted; look at the list of jobs."
        )
    return state


def delete_job(connection: Connection, job_id: str, *, actor: str, now_ms: int) -> None:
    """Remove a job with its prompt and its events; that it was removed stays known, without a word of it.

    Raises NotFoundError, and JobStateError while a server works on it.
    """
    if state_of(connection, job_id) == "processing":
        raise JobStateError("A server works on this job.", remedy="Cancel it first.")
    payload_id = connection.scalar(sa.select(jobs.c.payload_id).where(jobs.c.job_id == job_id))
    batch_id = connection.scalar(sa.select(jobs.c.batch_id).where(jobs.c.job_id == job_id))
    connection.execute(jobs.delete().where(jobs.c.job_id == job_id))
    connection.execute(events_table.delete().where(events_table.c.job_id == job_id))
    others = connection.scalar(sa.select(sa.func.count()).where(jobs.c.payload_id == payload_id))
    if not others:
        connection.execute(job_payloads.delete().where(job_payloads.c.id == payload_id))
        connection.execute(job_submissions.delete().where(job_submissions.c.batch_id == batch_id))
    events.append(connection, "job_deleted", actor, now_ms=now_ms)


def change_server(connection: Connection, before: str, after: str) -> list[str]:
    """Jobs that are for one server, or were written there, are another one's now; the ids of the former."""
    column = jobs.c.targets_json
    named = column.contains(f'"{before}"', autoescape=True)
    ids = list(connection.scalars(sa.select(jobs.c.job_id).where(named)))
    connection.execute(
        jobs.update().where(named).values(targets_json=sa.func.replace(column, f'"{before}"', f'"{after}"'))
    )
    connection.execute(
        job_payloads.update()
        .where(job_payloads.c.source_server_id == before)
        .values(source_server_id=after)
    )
    return ids


def ids_of_batch(connection: Connection, batch_id: str) -> list[str]:
    """The jobs of a batch that are still known, in order."""
    query = sa.select(jobs.c.job_id).where(jobs.c.batch_id == batch_id).order_by(jobs.c.seq)
    return list(connection.scalars(query))


def drop_submissions(connection: Connection, before_ms: int) -> None:
    """Forget idempotency keys older than that."""
    connection.execute(job_submissions.delete().where(job_submissions.c.created_ms < before_ms))
