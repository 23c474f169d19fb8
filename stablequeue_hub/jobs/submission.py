"""A job is submitted: checked, resolved and queued, in one transaction; a repetition is answered only."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.errors import InvalidValueError
from stablequeue_client.shared.generation.infotext import HashMention, left_out, parse_infotext
from stablequeue_client.shared.wire.jobs import JobCheckRequest, JobSubmission, Submitted
from stablequeue_client.shared.wire.runner import PICTURES_MAX
from stablequeue_hub.errors import RepeatedKeyError
from stablequeue_hub.jobs.rows import add_jobs, add_payload, ids_of_batch
from stablequeue_hub.jobs.states import COUNT_MAX, PRIORITY_MAX, PRIORITY_MIN, SEED_MAX, seeds
from stablequeue_hub.matching.check import check_queued_job, judge_job
from stablequeue_hub.store.tables import job_payloads, job_submissions, jobs

if TYPE_CHECKING:
    from stablequeue_hub.servers.presence import Live

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
    """Queue it; a repetition is answered whatever became of the servers that it names. ``mentions``: hashes
    of what its payload names, stated elsewhere.

    Raises InvalidValueError, NotFoundError, TooLargeError, RepeatedKeyError.
    """
    check_submission(wanted)
    digest = body_digest(wanted)
    before = find_batch(connection, wanted.idempotency_key, actor, digest)
    if before is not None:
        return _repeated(connection, wanted, before, live, now_ms=now_ms)
    request = JobCheckRequest(wanted.payload, wanted.infotext, wanted.server, wanted.targets)
    judged = judge_job(connection, request, live, own_server=own_server, now_ms=now_ms, mentions=mentions)
    if judged.problems:
        raise judged.problems[0]
    check_pictures(judged.payload)
    payload = {name: value for name, value in judged.payload.items() if name != "seed"}
    payload_id = add_payload(connection, payload, judged.needs)
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
    store_key(connection, wanted.idempotency_key, actor, digest, batch_id, now_ms=now_ms)
    return Submitted(ids[0], batch_id, ids, judged.check)


def store_key(
    connection: Connection, key: str, actor: str, digest: str, batch_id: str, *, now_ms: int
) -> None:
    """Store which batch a submission with this key became; nothing without a key."""
    if key:
        connection.execute(
            job_submissions.insert().values(
                submitter=actor,
                idempotency_key=key,
                body_digest=digest,
                batch_id=batch_id,
                created_ms=now_ms,
            )
        )


def body_digest(wanted: JobSubmission) -> str:
    """SHA256 of what it says: the order of keys and the writing of numbers (5.0 for 5) make no other one."""
    values = _by_value(msgspec.json.encode(wanted))
    return hashlib.sha256(msgspec.json.encode(values, order="sorted")).hexdigest()


def _number(text: str) -> int | float:
    """A number with a point or an exponent, as a whole one where it is one and exact."""
    value = float(text)
    return int(value) if value.is_integer() and abs(value) <= _EXACT_MAX else value


_EXACT_MAX = 2**53
_by_value = msgspec.json.Decoder(float_hook=_number).decode


def check_submission(wanted: JobSubmission) -> None:
    """Raises InvalidValueError, which repeats no value."""
    if not 1 <= wanted.count <= COUNT_MAX:
        raise InvalidValueError(f"`count` must be an integer from 1 to {COUNT_MAX:,}.")
    check_priority(wanted.priority)
    check_name(wanted.name)
    check_key(wanted.idempotency_key)


def check_pictures(payload: Mapping[str, Any]) -> None:
    """Raises InvalidValueError for more than a job can bring; a script may still make more than is asked."""
    counts = [payload.get(name, 1) for name in ("batch_size", "n_iter")]
    if all(isinstance(count, int) for count in counts) and math.prod(counts) > PICTURES_MAX:
        raise InvalidValueError(
            f"A job can produce at most {PICTURES_MAX} pictures.",
            remedy="Split it into several jobs (`count`).",
        )


def check_key(key: str) -> None:
    """Raises InvalidValueError."""
    if len(key) > KEY_MAX or not key.isprintable():
        raise InvalidValueError(f"`idempotency_key` must have at most {KEY_MAX} printable characters.")


def check_priority(priority: int) -> None:
    """Raises InvalidValueError."""
    if not PRIORITY_MIN <= priority <= PRIORITY_MAX:
        raise InvalidValueError(f"`priority` must be an integer from {PRIORITY_MIN} to {PRIORITY_MAX}.")


def check_name(name: str) -> None:
    """Raises InvalidValueError."""
    if len(name) > NAME_MAX or not name.isprintable():
        raise InvalidValueError(f"A job's name must have at most {NAME_MAX} printable characters.")


def checked_seed(value: object) -> int:
    """A seed as it is given; -1 (any) for none. Raises InvalidValueError."""
    if value is None:
        return -1
    if isinstance(value, bool) or not isinstance(value, int) or not -1 <= value <= SEED_MAX:
        raise InvalidValueError(f"`seed` must be an integer from -1 to {SEED_MAX}.")
    return value


def _repeated(
    connection: Connection, wanted: JobSubmission, batch_id: str, live: Live, *, now_ms: int
) -> Submitted:
    """The answer again, with what the check says now of what was queued."""
    ids = ids_of_batch(connection, batch_id)
    check = check_queued_job(connection, ids[0], live, now_ms=now_ms)
    if wanted.infotext is not None:
        its = sa.select(jobs.c.seed, job_payloads.c.payload_json).join_from(
            jobs, job_payloads, job_payloads.c.id == jobs.c.payload_id
        )
        seed, text = connection.execute(its.where(jobs.c.job_id == ids[0])).one()
        payload = {**msgspec.json.decode(text), "seed": seed}
        untold = left_out(parse_infotext(wanted.infotext))
        check = msgspec.structs.replace(check, payload=payload, left_out=untold)
    return Submitted(ids[0], batch_id, ids, check, repeated=True)


def find_batch(connection: Connection, key: str, actor: str, digest: str) -> str | None:
    """The batch that this submission became before; None for a new one, or when it was deleted meanwhile.
    Raises RepeatedKeyError when the key was used for another."""
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
