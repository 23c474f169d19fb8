"""Pages of the queue: what runs, what waits in its order, what has ended. Reads only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection

from stablequeue_hub.jobs.states import JOB_STATES
from stablequeue_hub.matching.why import PendingJobRow
from stablequeue_hub.store.prepared import Prepared
from stablequeue_hub.store.tables import job_payloads, job_requirements, jobs

OPEN = ("processing", "pending")
"""States of what has not ended, in the order of a list."""


class QueueRow(NamedTuple):
    """Columns of a job in a list, and how its prompt begins."""

    job_id: str
    seq: int
    state: str
    name: str
    priority: int
    submitted_by: str
    payload_id: int
    targets_json: str | None
    created_ms: int
    ended_ms: int | None
    server_id: str | None
    refusals: int
    starred: int
    outcome: str | None
    failure_text: str | None
    prompt: str

    def as_pending(self) -> PendingJobRow:
        return PendingJobRow(
            self.job_id,
            self.seq,
            self.state,
            self.priority,
            self.submitted_by,
            self.payload_id,
            self.targets_json,
            self.refusals,
        )


@dataclass(frozen=True)
class QueueFilter:
    """``states``: which jobs; ``text``: part of a name, a prompt or the name of a model; ``server_id``: who
    works on it, did last, or is its target; ``submitter``: an actor."""

    states: tuple[str, ...] = OPEN
    text: str = ""
    server_id: str = ""
    submitter: str = ""
    starred: bool = False

    @property
    def is_plain(self) -> bool:
        """It chooses by state only, so that the index of states knows every place."""
        return not (self.text or self.server_id or self.submitter or self.starred)

    @property
    def is_one_state(self) -> bool:
        """It chooses by one state only."""
        return self.is_plain and len(self.states) == 1


@dataclass(frozen=True)
class QueueRows:
    """A page. ``counts``: all jobs by state."""

    rows: list[QueueRow]
    total: int
    counts: dict[str, int]


PROMPT_SHOWN = 200
_COLUMNS = [jobs.c[name] for name in QueueRow._fields[:-1]]
_JOINED = sa.join(jobs, job_payloads, job_payloads.c.id == jobs.c.payload_id)
_SELECT = sa.select(*_COLUMNS, sa.func.substr(job_payloads.c.prompt, 1, PROMPT_SHOWN)).select_from(_JOINED)
_COUNTS = Prepared(
    sa.select(jobs.c.state, jobs.c.priority, sa.func.count()).group_by(jobs.c.state, jobs.c.priority)
)
# What is skipped is passed over in the index alone; only the rows of the page are visited.
_THESE = (
    sa.select(jobs.c.seq)
    .where(jobs.c.state == sa.bindparam("state"), jobs.c.priority == sa.bindparam("priority"))
    .order_by(jobs.c.seq)
    .limit(sa.bindparam("size", type_=sa.Integer))
    .offset(sa.bindparam("skipped", type_=sa.Integer))
)
_OF_PRIORITY = Prepared(_SELECT.where(jobs.c.seq.in_(_THESE)).order_by(jobs.c.seq))


def find_row(connection: Connection, job_id: str) -> QueueRow | None:
    """One job as in a list."""
    row = connection.execute(_SELECT.where(jobs.c.job_id == job_id)).first()
    return None if row is None else QueueRow._make(row)


def queue_rows(connection: Connection, wanted: QueueFilter, page: int, size: int) -> QueueRows:
    """Return a page: open jobs in the order of the queue, ended ones newest first. ``page`` from 1."""
    by_priority: dict[str, dict[int, int]] = {state: {} for state in JOB_STATES}
    for state, priority, number in _COUNTS.all(connection, {}):
        by_priority[state][priority] = number
    counts = {state: sum(numbers.values()) for state, numbers in by_priority.items()}
    skipped = (page - 1) * size
    if wanted.is_plain and wanted.states == OPEN:
        rows = _in_order(connection, by_priority, skipped, size)
        return QueueRows(rows, sum(counts[state] for state in OPEN), counts)
    conditions = list(conditions_of(wanted))
    total = sum(counts[state] for state in wanted.states)
    if not wanted.is_plain:
        total = connection.scalar(sa.select(sa.func.count()).select_from(_JOINED).where(*conditions)) or 0
    in_order = set(wanted.states) <= set(OPEN)
    order = (jobs.c.state.desc(), jobs.c.priority.desc(), jobs.c.seq) if in_order else (jobs.c.seq.desc(),)
    query = _SELECT.where(*conditions).order_by(*order).limit(size).offset(skipped)
    return QueueRows([QueueRow._make(row) for row in connection.execute(query)], total, counts)


def _in_order(
    connection: Connection, by_priority: dict[str, dict[int, int]], skipped: int, size: int
) -> list[QueueRow]:
    """A page of what has not ended, without sorting: the index holds each priority in its order."""
    rows: list[QueueRow] = []
    for state in OPEN:
        for priority in sorted(by_priority[state], reverse=True):
            number = by_priority[state][priority]
            if skipped >= number:
                skipped -= number
            elif len(rows) < size:
                values = {"state": state, "priority": priority, "size": size - len(rows), "skipped": skipped}
                rows += [QueueRow._make(row) for row in _OF_PRIORITY.all(connection, values)]
                skipped = 0
    return rows


def conditions_of(wanted: QueueFilter) -> Iterable[ColumnElement[Any]]:
    """For jobs joined with their payloads."""
    if set(wanted.states) != set(JOB_STATES):
        yield jobs.c.state.in_(wanted.states)
    if wanted.submitter:
        yield jobs.c.submitted_by == wanted.submitter
    if wanted.starred:
        yield jobs.c.starred == 1
    if wanted.server_id:
        target = jobs.c.targets_json.contains(f'"{wanted.server_id}"', autoescape=True)
        yield sa.or_(jobs.c.server_id == wanted.server_id, target)
    if wanted.text:
        text = wanted.text.lower()
        named = sa.exists().where(
            job_requirements.c.payload_id == jobs.c.payload_id,
            sa.func.lower(job_requirements.c.name).contains(text, autoescape=True),
        )
        yield sa.or_(
            sa.func.lower(jobs.c.name).contains(text, autoescape=True),
            sa.func.lower(job_payloads.c.prompt).contains(text, autoescape=True),
            jobs.c.job_id.startswith(text, autoescape=True),
            named,
        )
