"""The jobs that wait, as they are stored, with what they need. Ten thousand jobs have few kinds of needs."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_hub.dispatch.fair_queue import QueuedJob, aged_priority
from stablequeue_hub.jobs.states import JobState
from stablequeue_hub.matching.exclusions import exclusions_of
from stablequeue_hub.matching.job_requirements import JobNeeds, needs_of_payloads
from stablequeue_hub.matching.obstacles import REFUSALS_MAX
from stablequeue_hub.store.bulk import slices
from stablequeue_hub.store.prepared import Prepared, in_list
from stablequeue_hub.store.tables import jobs


class RequirementClass(NamedTuple):
    """What jobs that can run in the same places have in common. ``targets``: ids of servers; None: any."""

    needs: JobNeeds
    targets: frozenset[str] | None


class RequirementClasses:
    """Numbers for them, so that equal ones are judged once."""

    def __init__(self) -> None:
        self._numbers: dict[RequirementClass, int] = {}
        self._classes: list[RequirementClass] = []

    def number(self, one: RequirementClass) -> int:
        found = self._numbers.get(one)
        if found is None:
            found = self._numbers[one] = len(self._classes)
            self._classes.append(one)
        return found

    def __getitem__(self, number: int) -> RequirementClass:
        return self._classes[number]

    def __iter__(self) -> Iterator[RequirementClass]:
        return iter(self._classes)


_JOBS = sa.select(
    jobs.c.job_id,
    jobs.c.seq,
    jobs.c.priority,
    jobs.c.submitted_by,
    jobs.c.created_ms,
    jobs.c.targets_json,
    jobs.c.payload_id,
    jobs.c.refusals,
).order_by(jobs.c.seq)
_ALL = Prepared(_JOBS.where(jobs.c.state == "pending"))
_SOME = Prepared(_JOBS.where(jobs.c.state == sa.bindparam("its_state"), in_list(jobs.c.job_id, "ids")))
_decode_targets = msgspec.json.Decoder(frozenset[str]).decode


@dataclass(frozen=True)
class PendingJob:
    """A waiting job as it is stored, with what it needs."""

    job_id: str
    seq: int
    priority: int
    submitter: str
    created_ms: int
    requirement_class: RequirementClass
    excluded: frozenset[str]

    @property
    def needs(self) -> JobNeeds:
        return self.requirement_class.needs

    def as_queued(self, number: int, now_ms: int) -> QueuedJob:
        """Return it as the queue keeps it; ``number``: of its class."""
        return QueuedJob(
            self.job_id,
            self.seq,
            self.priority,
            self.submitter,
            number,
            self.created_ms,
            self.needs.checkpoint,
            self.excluded,
            aged_priority(self.priority, now_ms - self.created_ms),
        )


def pending_jobs(
    connection: Connection, ids: Collection[str] | None = None, state: JobState = "pending"
) -> list[PendingJob]:
    """The jobs that wait (or those of ``ids``, in that state). One that was refused too often is not among
    them: a person has to do something first."""
    if ids is None:
        rows = list(_ALL.all(connection, {}))
    else:
        rows = [
            row for part in slices(ids) for row in _SOME.all(connection, {"ids": part, "its_state": state})
        ]
    needs = needs_of_payloads(connection, {row[6] for row in rows})
    excluded = exclusions_of(connection, [row[0] for row in rows])
    found = []
    for job_id, seq, priority, submitter, created_ms, targets_json, payload_id, refusals in rows:
        if refusals >= REFUSALS_MAX or payload_id not in needs:
            continue
        targets = None if targets_json is None else _decode_targets(targets_json)
        its_class = RequirementClass(needs[payload_id], targets)
        out = frozenset(one.server_id for one in excluded.get(job_id, ()))
        found.append(PendingJob(job_id, seq, priority, submitter, created_ms, its_class, out))
    return found
