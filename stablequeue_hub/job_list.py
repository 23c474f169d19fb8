"""Jobs as they are read: a page of them, or one in full."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.errors import NotFoundError
from stablequeue_client.job_messages import JobInfo, JobPage, JobPictureInfo, JobRequirementInfo
from stablequeue_hub.db.tables import job_payloads, job_pictures, job_requirements, jobs
from stablequeue_hub.jobs import JobState

LIST_MAX = 200


def list_jobs(
    connection: Connection,
    *,
    state: JobState | None = None,
    batch_id: str | None = None,
    before: int | None = None,
    limit: int = 50,
) -> JobPage:
    """Newest first; ``before``: a former page's ``next``."""
    conditions = []
    if state is not None:
        conditions.append(jobs.c.state == state)
    if batch_id is not None:
        conditions.append(jobs.c.batch_id == batch_id)
    total = connection.scalar(sa.select(sa.func.count()).select_from(jobs).where(*conditions)) or 0
    if before is not None:
        conditions.append(jobs.c.seq < before)
    query = sa.select(jobs).where(*conditions).order_by(jobs.c.seq.desc()).limit(limit + 1)
    rows = connection.execute(query).all()
    more = len(rows) > limit
    return JobPage(total, [_info(row) for row in rows[:limit]], rows[limit - 1].seq if more else None)


def job_in_full(connection: Connection, job_id: str) -> JobInfo:
    """One job with what it generates. Raises NotFoundError."""
    joined = sa.join(jobs, job_payloads, job_payloads.c.id == jobs.c.payload_id)
    query = sa.select(jobs, job_payloads.c.payload_json).select_from(joined).where(jobs.c.job_id == job_id)
    row = connection.execute(query).first()
    if row is None:
        raise NotFoundError(
            "There is no such job.", remedy="It may have been deleted; look at the list of jobs."
        )
    its = sa.select(job_requirements).where(job_requirements.c.payload_id == row.payload_id)
    requirements = [
        JobRequirementInfo(one.role, one.name, one.hash, one.status, one.sha256)
        for one in connection.execute(its.order_by(job_requirements.c.place))
    ]
    payload = {**msgspec.json.decode(row.payload_json), "seed": row.seed}
    return msgspec.structs.replace(
        _info(row), payload=payload, requirements=requirements, pictures=pictures_of(connection, job_id)
    )


def pictures_of(connection: Connection, job_id: str) -> list[JobPictureInfo]:
    """A job's finished pictures, in order."""
    query = sa.select(job_pictures).where(job_pictures.c.job_id == job_id).order_by(job_pictures.c.number)
    return [
        JobPictureInfo(one.number, one.bytes, one.width, one.height, one.sha256, one.infotext)
        for one in connection.execute(query)
    ]


def _info(row: Any) -> JobInfo:
    return JobInfo(
        row.job_id,
        row.batch_id,
        row.state,
        row.name,
        row.priority,
        row.submitted_by,
        row.seed,
        None if row.targets_json is None else msgspec.json.decode(row.targets_json, type=list[str]),
        row.created_ms,
        row.changed_ms,
        row.ended_ms,
        row.deadline_ms,
        row.server_id,
        row.attempts,
        bool(row.starred),
        row.outcome,
        row.failure,
        row.failure_text,
    )
