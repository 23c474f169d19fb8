"""Why a pending job waits: for each server, and as one sentence for each of many jobs. Reads only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.wire.jobs import JobWhy, ServerWhy, WhyReason
from stablequeue_hub.errors import unknown_job
from stablequeue_hub.matching.eligibility import Told, judge_server
from stablequeue_hub.matching.explanation import EXCLUDED, Surroundings, Waiting, WaitingJob
from stablequeue_hub.matching.needs import REFUSALS_MAX
from stablequeue_hub.matching.server_facts import (
    Exclusion,
    Line,
    ServerFacts,
    exclusions_of,
    servers_now,
    stock_of,
)
from stablequeue_hub.matching.stock_of_many import stock_of_servers
from stablequeue_hub.matching.stored_payload import StoredPayload, judged_requirements, stored_payloads
from stablequeue_hub.servers.known_servers import known_servers
from stablequeue_hub.store.hub_settings_table import queue_is_paused
from stablequeue_hub.store.tables import jobs

if TYPE_CHECKING:
    from stablequeue_hub.servers.presence import Live


class PendingJob(NamedTuple):
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
        return None if self.targets_json is None else _targets(self.targets_json)


_COLUMNS = [jobs.c[name] for name in PendingJob._fields]
_ONE = sa.select(*_COLUMNS).where(jobs.c.job_id == sa.bindparam("job_id"))
_decode_targets = msgspec.json.Decoder(frozenset[str]).decode


def _targets(text: str) -> frozenset[str]:
    return _decode_targets(text)


class Read(NamedTuple):
    """What was read for some jobs."""

    payloads: Mapping[int, StoredPayload]
    exclusions: Mapping[str, Sequence[Exclusion]]
    surroundings: Surroundings


def read_around(connection: Connection, some: Sequence[PendingJob], live: Live, line: Line) -> Read:
    """Everything that decides where ``some`` can run, in a few statements."""
    return read_among(connection, some, servers_now(connection, live, line))


def read_among(
    connection: Connection,
    some: Sequence[PendingJob],
    servers: Mapping[str, ServerFacts],
    further_payloads: Iterable[int] = (),
) -> Read:
    """As ``read_around``, with servers that were read already. ``further_payloads``: of other jobs."""
    waiting = {job.payload_id for job in some}
    payloads = stored_payloads(connection, waiting.union(further_payloads))
    contents = {
        one.sha256
        for payload_id in waiting
        for one in payloads[payload_id].requirements
        if one.sha256 is not None
    }
    stock, paused = stock_of(connection, contents), queue_is_paused(connection)
    wanted = {found for job in waiting for one in payloads[job].requirements if (found := one.wanted)}
    named = stock_of_servers(connection, wanted)
    surroundings = Surroundings(servers, stock, named, queue_paused=paused)
    return Read(payloads, exclusions_of(connection, [job.job_id for job in some], servers), surroundings)


def waiting_of(read: Read, job: PendingJob, before: int | None) -> Waiting:
    """What one of the jobs waits for. ``before``: jobs that come first, where that is known."""
    return read.surroundings.waiting(
        WaitingJob(
            read.payloads[job.payload_id],
            job.submitted_by,
            job.targets,
            job.refusals,
            read.exclusions.get(job.job_id, ()),
            before,
        )
    )


def why(connection: Connection, job_id: str, live: Live, line: Line, *, now_ms: int) -> JobWhy:
    """For each server why not, or its place. Raises NotFoundError."""
    row = connection.execute(_ONE, {"job_id": job_id}).first()
    if row is None:
        raise unknown_job()
    job = PendingJob(*row)
    if job.state != "pending":
        return JobWhy(job_id, job.state, "", None, [])
    read = read_around(connection, [job], live, line)
    judged = _Judging(connection, job, read, live, line, now_ms)
    servers = [judged.server(server) for server in read.surroundings.servers.values()]
    places = [server.before for server in servers if server.ok and server.before is not None]
    waiting = waiting_of(read, job, min(places, default=None))
    return JobWhy(job_id, job.state, waiting.text, waiting.code, servers)


class _Judging:
    """One pending job, judged for each server."""

    def __init__(
        self, connection: Connection, job: PendingJob, read: Read, live: Live, line: Line, now_ms: int
    ) -> None:
        self._job = job
        self._read = read
        self._line = line
        self._payload = read.payloads[job.payload_id]
        self._known = known_servers(connection, live)
        self._requirements = judged_requirements(connection, self._payload, live, now_ms=now_ms)
        self._before = jobs_before(connection, job)

    def server(self, server: ServerFacts) -> ServerWhy:
        source = server.server_id == self._payload.source_id
        checked = judge_server(
            self._known[server.server_id],
            self._requirements,
            self._payload.needs,
            Told(server.frozen, server.capabilities),
            is_source=source,
            stock=self._read.surroundings.named.get(server.server_id),
            waived=[
                place
                for place, one in enumerate(self._payload.requirements)
                if one.is_waived_on(server.server_id)
            ],
        )
        reasons = [
            *self._of_the_queue(server),
            *(WhyReason(one.code, one.text, one.requirement) for one in checked.reasons),
        ]
        return ServerWhy(
            server.server_id,
            server.alias,
            not reasons,
            reasons,
            checked.not_checked,
            server.working,
            None if reasons else self._place(server.server_id),
        )

    def _place(self, server_id: str) -> int:
        return self._line.places.get(server_id, self._before)

    def _of_the_queue(self, server: ServerFacts) -> list[WhyReason]:
        """What the queue has against that server, before models are looked at."""
        found = []
        if self._job.targets is not None and server.server_id not in self._job.targets:
            found.append(WhyReason("not_a_target", "The job is for other servers."))
        if self._read.surroundings.queue_paused:
            found.append(WhyReason("queue_paused", "The whole queue is paused."))
        if server.paused:
            found.append(WhyReason("server_paused", "It is paused."))
        if server.resting:
            text = (
                "It failed several times in a row, and gets no jobs for some minutes. "
                "“Go on” in the queue ends that, and so does a job queued in its own WebUI."
            )
            found.append(WhyReason("server_resting", text))
        if not server.works_for(self._job.submitted_by):
            found.append(WhyReason("not_for_others", "It works for nobody else."))
        if server.in_use_for(self._job.submitted_by):
            text = (
                "Somebody uses it just now"
                if server.gave_way
                else "Somebody uses it; it works for nobody else now"
            )
            found.append(WhyReason("server_in_use", f"{text}."))
        found += [
            WhyReason(EXCLUDED[one.reason][0], f"{EXCLUDED[one.reason][2]} {one.text}".strip())
            for one in self._read.exclusions.get(self._job.job_id, ())
            if one.server_id == server.server_id
        ]
        if self._job.refusals >= REFUSALS_MAX:
            text = f"Servers sent the job back {self._job.refusals} times."
            found.append(WhyReason("refused_often", text))
        if server.asks is False and server.reachable:
            found.append(WhyReason("no_agent", "Nothing there asks for jobs."))
        return found


def jobs_before(connection: Connection, job: PendingJob) -> int:
    """How many pending jobs come first by priority and age, whatever they need."""
    first = sa.or_(
        jobs.c.priority > job.priority, sa.and_(jobs.c.priority == job.priority, jobs.c.seq < job.seq)
    )
    query = sa.select(sa.func.count()).select_from(jobs).where(jobs.c.state == "pending", first)
    return connection.scalar(query) or 0
