"""Why pending jobs wait: for each server, and as one sentence for each of many jobs. Reads only."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.wire.jobs import JobWhy, ServerWhy
from stablequeue_hub.errors import unknown_job
from stablequeue_hub.matching.exclusions import Exclusion, exclusions_of
from stablequeue_hub.matching.job_requirements import JobNeeds, needs_of_payloads
from stablequeue_hub.matching.judge import Judge
from stablequeue_hub.matching.obstacles import PlacementQuery, not_checked
from stablequeue_hub.matching.read_judge import read_judge
from stablequeue_hub.matching.reasons import ReasonTexts
from stablequeue_hub.matching.resolve import resolve
from stablequeue_hub.matching.sentence import Sentences, Waiting
from stablequeue_hub.matching.server_facts import DispatchView, ServerFacts, fewest_ahead, servers_now
from stablequeue_hub.servers.presence import Live
from stablequeue_hub.store.tables import jobs


class PendingJobRow(NamedTuple):
    """Columns of a job that waits."""

    job_id: str
    seq: int
    state: str
    priority: int
    submitted_by: str
    payload_id: int
    targets_json: str | None
    refusals: int

    @property
    def targets(self) -> frozenset[str] | None:
        return None if self.targets_json is None else _decode_targets(self.targets_json)


_COLUMNS = [jobs.c[name] for name in PendingJobRow._fields]
_ONE = sa.select(*_COLUMNS).where(jobs.c.job_id == sa.bindparam("job_id"))
_decode_targets = msgspec.json.Decoder(frozenset[str]).decode


class QueueContext(NamedTuple):
    """Everything that decides where some jobs can run. ``needs``: by payload."""

    needs: Mapping[int, JobNeeds]
    exclusions: Mapping[str, Sequence[Exclusion]]
    sentences: Sentences

    @property
    def judge(self) -> Judge:
        return self.sentences.judge

    def alike(self, job: PendingJobRow) -> Hashable:
        """Jobs with the same value are judged alike, but for their place in line."""
        excluded = job.job_id if job.job_id in self.exclusions else None
        return job.payload_id, job.targets_json, job.submitted_by, job.refusals, excluded

    def query(self, job: PendingJobRow) -> PlacementQuery:
        """The job as it is judged."""
        return PlacementQuery(
            self.needs[job.payload_id],
            job.submitted_by,
            job.targets,
            job.refusals,
            self.exclusions.get(job.job_id, ()),
        )

    def waiting(self, job: PendingJobRow, before: int | None = None) -> Waiting:
        """Return what one of the jobs waits for. ``before``: jobs that come first, where known."""
        return self.sentences.waiting(self.query(job), before)

    def in_line(self, waiting: Waiting, job_id: str, dispatch: DispatchView) -> Waiting:
        """Return the same with the job's place, if it is in line."""
        if waiting.code is not None:
            return waiting
        ahead = fewest_ahead(dispatch, waiting.servers, job_id)
        return waiting._replace(text=self.sentences.in_line(waiting.servers, ahead))


def load_context(connection: Connection, some: Sequence[PendingJobRow], live: Live) -> QueueContext:
    """Everything that decides where ``some`` can run, in a few statements."""
    return load_context_with(connection, some, servers_now(connection, live))


def load_context_with(
    connection: Connection,
    some: Sequence[PendingJobRow],
    servers: Mapping[str, ServerFacts],
    further_payloads: Iterable[int] = (),
) -> QueueContext:
    """As ``load_context``, with servers that were read already. ``further_payloads``: of other jobs."""
    waiting = {job.payload_id for job in some}
    needs = needs_of_payloads(connection, waiting.union(further_payloads))
    judge = read_judge(connection, [needs[payload_id] for payload_id in waiting], servers)
    return QueueContext(needs, exclusions_of(connection, [job.job_id for job in some]), Sentences(judge))


def job_row(connection: Connection, job_id: str) -> PendingJobRow:
    """Raises NotFoundError."""
    row = connection.execute(_ONE, {"job_id": job_id}).first()
    if row is None:
        raise unknown_job()
    return PendingJobRow(*row)


def why(connection: Connection, job_id: str, live: Live, dispatch: DispatchView, *, now_ms: int) -> JobWhy:
    """Return for each server why not, or the job's place there. Raises NotFoundError."""
    job = job_row(connection, job_id)
    if job.state != "pending":
        return JobWhy(job_id, job.state, "", None, [])
    context = load_context(connection, [job], live)
    query = context.query(job)
    candidates = _candidates(connection, query.needs, live, now_ms)
    texts = ReasonTexts(context.judge, query.needs, candidates, refusals=job.refusals)
    servers = [
        _server_why(
            context.judge, query, server, texts, lambda server_id: dispatch.jobs_ahead(server_id, job_id)
        )
        for server in context.judge.servers.values()
    ]
    places = [server.before for server in servers if server.ok and server.before is not None]
    waiting = context.waiting(job, min(places, default=None))
    return JobWhy(job_id, job.state, waiting.text, waiting.code, servers)


def _server_why(
    judge: Judge,
    job: PlacementQuery,
    server: ServerFacts,
    texts: ReasonTexts,
    before: Callable[[str], int | None],
) -> ServerWhy:
    reasons = [texts.reason(one) for one in judge.obstacles(job, server.server_id)]
    return ServerWhy(
        server.server_id,
        server.alias,
        not reasons,
        reasons,
        not_checked(job.needs, server),
        server.working,
        None if reasons else before(server.server_id),
    )


def _candidates(connection: Connection, needs: JobNeeds, live: Live, now_ms: int) -> list[int]:
    """By place, how many models an ambiguous name may mean."""
    unclear = [one.written for one in needs.requirements if one.status == "ambiguous"]
    if not unclear:
        return []
    again = resolve(connection, list(dict.fromkeys(unclear)), needs.source_id, live, now_ms=now_ms)
    several = {one.written: len(one.candidates) for one in again}
    return [several.get(one.written, 0) for one in needs.requirements]
