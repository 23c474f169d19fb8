"""A job is submitted: checked, resolved and queued, in one transaction; a repetition is answered only."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.capability_needs import capability_needs
from stablequeue_client.errors import InvalidValueError
from stablequeue_client.infotext import HashMention
from stablequeue_client.job_messages import JobCheckRequest, JobSubmission, Submitted
from stablequeue_hub.db.tables import job_submissions
from stablequeue_hub.errors import RepeatedKeyError
from stablequeue_hub.job_check import judge_job
from stablequeue_hub.job_rows import add_jobs, add_payload, ids_of_batch
from stablequeue_hub.jobs import COUNT_MAX, PRIORITY_MAX, PRIORITY_MIN, SEED_MAX, seeds

if TYPE_CHECKING:
    from stablequeue_hub.presence import Live

NAME_MAX = 200
KEY_MAX = 200
SUBMISSIONS_KEPT_MS = 48 * 3_600_000
WAITING_MS = 14 * 24 * 3_600_000
"""How long a job waits for a server that can run it."""


def submit(
    connection: Connection,
    wanted: JobSubmission,
    live: Live,
    *,
    actor: str,
    own_server: str | None,
    now_ms: int,
    mentions: Sequence[HashMention] = (),
) -> Submitted:
    """Queue it. ``mentions``: hashes of what its payload names, stated elsewhere.

    Raises InvalidValueError, NotFoundError, TooLargeError, RepeatedKeyError.
    """
    check_submission(wanted)
    request = JobCheckRequest(wanted.payload, wanted.infotext, wanted.server, wanted.targets)
    judged = judge_job(connection, request, live, own_server=own_server, now_ms=now_ms, mentions=mentions)
    digest = hashlib.sha256(msgspec.json.encode(wanted)).hexdigest()
    batch_id = _batch_of(connection, wanted.idempotency_key, actor, digest)
    if batch_id is not None:
        ids = ids_of_batch(connection, batch_id)
        return Submitted(ids[0], batch_id, ids, judged.check, repeated=True)
    payload = {name: value for name, value in judged.payload.items() if name != "seed"}
    payload_id = add_payload(
        connection, payload, judged.requirements, judged.source_id, capability_needs(judged.payload)
    )
    batch_id, ids = add_jobs(
        connection,
        payload_id,
        seeds(checked_seed(judged.payload.get("seed")), wanted.count, wanted.seed_rule),
        name=wanted.name,
        priority=wanted.priority,
        targets=judged.target_ids,
        actor=actor,
        now_ms=now_ms,
        deadline_ms=now_ms + WAITING_MS,
    )
    if wanted.idempotency_key:
        connection.execute(
            job_submissions.insert().values(
                submitter=actor,
                idempotency_key=wanted.idempotency_key,
                body_digest=digest,
                batch_id=batch_id,
                created_ms=now_ms,
            )
        )
    return Submitted(ids[0], batch_id, ids, judged.check)


def check_submission(wanted: JobSubmission) -> None:
    """Raises InvalidValueError, which repeats no value."""
    if not 1 <= wanted.count <= COUNT_MAX:
        raise InvalidValueError(f"`count` is a number from 1 to {COUNT_MAX:,}.")
    check_priority(wanted.priority)
    check_name(wanted.name)
    if len(wanted.idempotency_key) > KEY_MAX or not wanted.idempotency_key.isprintable():
        raise InvalidValueError(f"`idempotency_key` has at most {KEY_MAX} printable characters.")


def check_priority(priority: int) -> None:
    """Raises InvalidValueError."""
    if not PRIORITY_MIN <= priority <= PRIORITY_MAX:
        raise InvalidValueError(f"`priority` is a number from {PRIORITY_MIN} to {PRIORITY_MAX}.")


def check_name(name: str) -> None:
    """Raises InvalidValueError."""
    if len(name) > NAME_MAX or not name.isprintable():
        raise InvalidValueError(f"A job's name has at most {NAME_MAX} printable characters.")


def checked_seed(value: object) -> int:
    """A seed as it is given; -1 (any) for none. Raises InvalidValueError."""
    if value is None:
        return -1
    if isinstance(value, bool) or not isinstance(value, int) or not -1 <= value <= SEED_MAX:
        raise InvalidValueError(f"`seed` is a whole number from -1 to {SEED_MAX}.")
    return value


def _batch_of(connection: Connection, key: str, actor: str, digest: str) -> str | None:
    """The batch that this submission became before; None for a new one, or when it was deleted meanwhile."""
    if not key:
        return None
    row = connection.execute(
        sa.select(job_submissions.c.batch_id, job_submissions.c.body_digest).where(
            job_submissions.c.submitter == actor, job_submissions.c.idempotency_key == key
        )
    ).first()
    if row is None:
        return None
    if row.body_digest != digest:
        raise RepeatedKeyError
    return str(row.batch_id)
