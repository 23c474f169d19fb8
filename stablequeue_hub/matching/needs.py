"""What the jobs that wait need of a server. Ten thousand jobs have few kinds of needs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.generation.capability_needs import CapabilityNeed, missing_capability
from stablequeue_client.shared.models.architectures import missing_architecture
from stablequeue_client.shared.models.model_files import Kind
from stablequeue_client.shared.models.roles import KINDS_OF, Role
from stablequeue_client.shared.wire.inventory import ServerCapabilities
from stablequeue_hub.dispatch.fair_queue import WaitingJob, aged_priority
from stablequeue_hub.jobs.states import JobState
from stablequeue_hub.store.bulk import slices
from stablequeue_hub.store.prepared import Prepared, in_list
from stablequeue_hub.store.tables import job_exclusions, job_payloads, job_requirements, jobs, models

REFUSALS_MAX = 5
"""After so many refusals a job waits until somebody says where to try again."""


@dataclass(frozen=True)
class Need:
    """One model: the content that is meant, or a name on the source server that nobody has read.

    ``base_model``: of a checkpoint that is known; a WebUI has to be able to load it.
    """

    kinds: tuple[Kind, ...]
    sha256: str | None
    name: str
    is_checkpoint: bool
    anywhere: bool = False
    """A person decided that it runs without."""
    anyway_on: str | None = None
    base_model: str | None = None


@dataclass(frozen=True)
class JobNeeds:
    """What jobs of one kind need. ``impossible``: something in it is missing or ambiguous."""

    models: tuple[Need, ...]
    capabilities: tuple[CapabilityNeed, ...]
    targets: frozenset[str] | None
    source_id: str | None

    @property
    def checkpoint(self) -> str | None:
        return next((need.sha256 for need in self.models if need.is_checkpoint), None)

    def contents(self) -> Iterator[str]:
        return (need.sha256 for need in self.models if need.sha256 is not None)

    def hold_on(
        self,
        server_id: str,
        has: Callable[[Need, bool], bool],
        capabilities: ServerCapabilities | None,
    ) -> bool:
        """Whether that server can run them. ``has``: whether it has a model; the flag says that an unread
        file will do, as it does where the job was written."""
        if self.targets is not None and server_id not in self.targets:
            return False
        is_source = server_id == self.source_id
        for need in self.models:
            if need.anywhere or need.anyway_on == server_id:
                continue
            if not has(need, is_source):
                return False
        if capabilities is None:
            return True
        loadable = capabilities.architectures
        if any(missing_architecture(need.base_model, loadable) == "missing" for need in self.models):
            return False
        return all(missing_capability(need, capabilities) != "missing" for need in self.capabilities)


class Kinds:
    """Numbers for needs, so that equal ones are judged once."""

    def __init__(self) -> None:
        self._numbers: dict[JobNeeds, int] = {}
        self._needs: list[JobNeeds] = []

    def number(self, needs: JobNeeds) -> int:
        found = self._numbers.get(needs)
        if found is None:
            found = self._numbers[needs] = len(self._needs)
            self._needs.append(needs)
        return found

    def __getitem__(self, number: int) -> JobNeeds:
        return self._needs[number]

    def __len__(self) -> int:
        return len(self._needs)


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
_PAYLOADS = Prepared(
    sa.select(job_payloads.c.id, job_payloads.c.needs_json, job_payloads.c.source_server_id).where(
        in_list(job_payloads.c.id, "ids")
    )
)
_REQUIREMENTS = Prepared(
    sa.select(
        job_requirements.c.payload_id,
        job_requirements.c.role,
        job_requirements.c.name,
        job_requirements.c.status,
        job_requirements.c.sha256,
        job_requirements.c.decision,
        job_requirements.c.decision_server_id,
        models.c.base_model,
    )
    .join_from(job_requirements, models, models.c.hash_sha256 == job_requirements.c.sha256, isouter=True)
    .where(in_list(job_requirements.c.payload_id, "ids"))
    .order_by(job_requirements.c.payload_id, job_requirements.c.place)
)
_EXCLUSIONS = Prepared(
    sa.select(job_exclusions.c.job_id, job_exclusions.c.server_id).where(
        in_list(job_exclusions.c.job_id, "ids")
    )
)
_roles = {str(role): role for role in KINDS_OF}
_decode_needs = msgspec.json.Decoder(list[CapabilityNeed]).decode
_decode_targets = msgspec.json.Decoder(list[str]).decode


@dataclass(frozen=True)
class Pending:
    """A waiting job as it is stored, with what it needs."""

    job_id: str
    seq: int
    priority: int
    submitter: str
    created_ms: int
    needs: JobNeeds
    excluded: frozenset[str]

    def in_line(self, kind: int, now_ms: int) -> WaitingJob:
        return WaitingJob(
            self.job_id,
            self.seq,
            self.priority,
            self.submitter,
            kind,
            self.created_ms,
            self.needs.checkpoint,
            self.excluded,
            aged_priority(self.priority, now_ms - self.created_ms),
        )


def pending_jobs(
    connection: Connection, ids: Collection[str] | None = None, state: JobState = "pending"
) -> list[Pending]:
    """The jobs that wait (or those of ``ids``, in that state). One that was refused too often, or needs what
    nobody can tell from a name, is not among them: a person or a new file has to do something first."""
    if ids is None:
        rows = list(_ALL.all(connection, {}))
    else:
        rows = [
            row for part in slices(ids) for row in _SOME.all(connection, {"ids": part, "its_state": state})
        ]
    payloads = _needs_of(connection, {row[6] for row in rows})
    excluded: dict[str, set[str]] = {}
    for part in slices([row[0] for row in rows]):
        for job_id, server_id in _EXCLUSIONS.all(connection, {"ids": part}):
            excluded.setdefault(job_id, set()).add(server_id)
    found = []
    for job_id, seq, priority, submitter, created_ms, targets_json, payload_id, refusals in rows:
        payload = payloads.get(payload_id)
        if payload is None or refusals >= REFUSALS_MAX:
            continue
        targets = None if targets_json is None else frozenset(_decode_targets(targets_json))
        needs = JobNeeds(payload.models, payload.capabilities, targets, payload.source_id)
        out = frozenset(excluded.get(job_id, ()))
        found.append(Pending(job_id, seq, priority, submitter, created_ms, needs, out))
    return found


@dataclass(frozen=True)
class _Payload:
    models: tuple[Need, ...]
    capabilities: tuple[CapabilityNeed, ...]
    source_id: str | None


def _needs_of(connection: Connection, payload_ids: Collection[int]) -> dict[int, _Payload]:
    """By payload; none for one that can run nowhere as it is."""
    needs: dict[int, list[Need]] = {}
    impossible: set[int] = set()
    for part in slices(payload_ids):
        for payload_id, *columns in _REQUIREMENTS.all(connection, {"ids": part}):
            need = need_of(*columns)
            if need is None:
                impossible.add(payload_id)
            else:
                needs.setdefault(payload_id, []).append(need)
    found = {}
    for part in slices(payload_ids):
        for payload_id, needs_json, source_id in _PAYLOADS.all(connection, {"ids": part}):
            if payload_id not in impossible:
                capabilities = tuple(_decode_needs(needs_json)) if needs_json != "[]" else ()
                found[payload_id] = _Payload(tuple(needs.get(payload_id, ())), capabilities, source_id)
    return found


def need_of(
    role_name: str,
    name: str,
    status: str,
    sha256: str | None,
    decision: str | None,
    decision_server: str | None,
    base_model: str | None = None,
) -> Need | None:
    """From a requirement's row. None: missing or ambiguous, and nobody decided to run without."""
    role: Role = _roles[role_name]
    anywhere = status == "not_checked" or decision == "not_a_model"
    anyway_on = None
    if decision == "run_anyway":
        anywhere, anyway_on = anywhere or decision_server is None, decision_server
    known = sha256 if status == "found" else None
    kinds = KINDS_OF[role]
    loads = base_model if "checkpoint" in kinds and known else None
    need = Need(kinds, known, name, role == "checkpoint", anywhere, anyway_on, loads)
    if status in ("found", "unhashed") or anywhere or anyway_on is not None:
        return need
    return None
