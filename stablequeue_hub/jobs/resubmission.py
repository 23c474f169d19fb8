"""What a job generates is judged again: when it is edited, and when it is to run once more."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.generation.infotext import HashMention
from stablequeue_client.shared.generation.requirements import Requirement
from stablequeue_client.shared.model_files.roles import Role
from stablequeue_client.shared.wire.jobs import Submitted
from stablequeue_client.shared.wire.queue import RunAgain
from stablequeue_hub.errors import unknown_job
from stablequeue_hub.jobs.rows import add_jobs, add_payload, ids_of_batch
from stablequeue_hub.jobs.states import chosen_seed
from stablequeue_hub.jobs.submission import WAITING_MS, check_key, checked_seed, find_batch, store_key
from stablequeue_hub.matching.check import Judged, check_queued_job, judge_payload
from stablequeue_hub.matching.job_requirements import JobRequirement, requirements_of
from stablequeue_hub.matching.resolve import payload_requirements
from stablequeue_hub.servers.known_servers import has_reported
from stablequeue_hub.store.tables import job_payloads, jobs

if TYPE_CHECKING:
    from stablequeue_hub.servers.presence import Live


@dataclass(frozen=True)
class StoredPayload:
    """A stored payload without its seed. ``requirements``: by place."""

    payload_id: int
    payload: dict[str, Any]
    source_id: str | None
    requirements: tuple[JobRequirement, ...]


@dataclass(frozen=True)
class StoredJob:
    """A job as it stands, with what it generates. ``targets``: server ids, None for any."""

    job_id: str
    state: str
    name: str
    priority: int
    submitted_by: str
    seed: int
    targets: list[str] | None
    payload: StoredPayload


def load_job(connection: Connection, job_id: str) -> StoredJob:
    """Raises NotFoundError."""
    row = connection.execute(sa.select(jobs).where(jobs.c.job_id == job_id)).first()
    if row is None:
        raise unknown_job()
    return StoredJob(
        job_id,
        row.state,
        row.name,
        row.priority,
        row.submitted_by,
        row.seed,
        None if row.targets_json is None else msgspec.json.decode(row.targets_json, type=list[str]),
        _payload(connection, row.payload_id),
    )


def _payload(connection: Connection, payload_id: int) -> StoredPayload:
    row = connection.execute(sa.select(job_payloads).where(job_payloads.c.id == payload_id)).one()
    return StoredPayload(
        payload_id,
        msgspec.json.decode(row.payload_json),
        row.source_server_id,
        requirements_of(connection, payload_id),
    )


def judge_again(
    connection: Connection,
    known: StoredPayload,
    payload: dict[str, Any],
    source_id: str | None,
    targets: Sequence[str] | None,
    live: Live,
    *,
    submitted_by: str,
    now_ms: int,
) -> Judged:
    """Judge ``payload``, which was or becomes what ``known`` is. A hash that a text stated for one of the
    models still counts, and where nobody knows any more which words are embeddings, those that were found.
    Raises TooLargeError for too many names, InvalidValueError for too deep a payload."""
    hashes = {(one.role, one.name): one.hash for one in known.requirements if one.hash}
    if source_id is not None and not has_reported(connection, source_id):
        found = (one for one in known.requirements if one.role == "embedding" and one.content)
        hashes = {**{(one.role, one.name): one.content for one in found if one.content}, **hashes}
    embeddings = [
        HashMention("embedding", name, hash_, "sha256")
        for (role, name), hash_ in hashes.items()
        if role == "embedding"
    ]
    written = payload_requirements(connection, payload, source_id, embeddings)
    stated = list(dict.fromkeys(_with_hash(requirement, hashes) for requirement in written))
    return judge_payload(
        connection, payload, stated, source_id, targets, live, submitted_by=submitted_by, now_ms=now_ms
    )


def _with_hash(requirement: Requirement, hashes: dict[tuple[Role, str], str]) -> Requirement:
    known = hashes.get((requirement.role, requirement.name))
    return replace(requirement, hash=known) if known and not requirement.hash else requirement


def run_again(
    connection: Connection, job_id: str, wanted: RunAgain, live: Live, *, actor: str, now_ms: int
) -> Submitted:
    """A new job that generates what this one does, for the same servers, in the name of who asks.

    It shares the payload row as long as its models still mean the same contents and nobody decided about
    them; what was found out or decided for the former job stays that one's. Raises NotFoundError,
    InvalidValueError, TooLargeError, RepeatedKeyError.
    """
    check_key(wanted.idempotency_key)
    digest = hashlib.sha256(f"again {job_id} {wanted.seed}".encode("utf-8", "replace")).hexdigest()
    before = find_batch(connection, wanted.idempotency_key, actor, digest)
    job = load_job(connection, job_id)
    known = job.payload
    seed = _seed(wanted.seed, job.seed)
    judged = judge_again(
        connection,
        known,
        known.payload,
        known.source_id,
        job.targets,
        live,
        submitted_by=actor,
        now_ms=now_ms,
    )
    if before is not None:
        ids = ids_of_batch(connection, before)
        check = check_queued_job(connection, ids[0], live, now_ms=now_ms)
        return Submitted(ids[0], before, ids, check, repeated=True)
    same = judged.needs.requirements == known.requirements  # then nobody decided about any of them either
    shares = same and job.submitted_by == actor
    batch_id, ids = add_jobs(
        connection,
        known.payload_id if shares else add_payload(connection, judged.payload, judged.needs),
        [seed],
        name=job.name,
        priority=job.priority,
        targets=job.targets,
        actor=actor,
        now_ms=now_ms,
        deadline_ms=now_ms + WAITING_MS,
    )
    store_key(connection, wanted.idempotency_key, actor, digest, batch_id, now_ms=now_ms)
    return Submitted(ids[0], batch_id, ids, judged.check)


def _seed(wanted: str | int, same: int) -> int:
    if wanted == "same":
        return same
    seed = checked_seed(-1 if wanted == "new" else wanted)
    return seed if seed >= 0 else chosen_seed()
