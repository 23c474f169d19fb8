"""Jobs as they are read: a page of them, or one in full."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.errors import NotFoundError
from stablequeue_client.shared.wire.jobs import JobInfo, JobPage, JobPictureInfo, JobRequirementInfo
from stablequeue_hub.errors import unknown_job
from stablequeue_hub.jobs.queue_rows import QueueFilter, conditions_of
from stablequeue_hub.jobs.states import PRIORITY_MAX, PRIORITY_MIN
from stablequeue_hub.matching.job_requirements import requirements_of
from stablequeue_hub.matching.server_facts import DispatchView
from stablequeue_hub.store.prepared import Prepared
from stablequeue_hub.store.tables import job_payloads, job_pictures, jobs

LIST_MAX = 200
SEQ_MAX = 2**62


_ROWS = (
    sa.select(jobs).where(jobs.c.seq.in_(sa.bindparam("seqs", expanding=True))).order_by(jobs.c.seq.desc())
)
_COUNT_OF_STATE = Prepared(sa.select(sa.func.count()).where(jobs.c.state == sa.bindparam("state")))
_NEWEST_OF_PRIORITY = Prepared(
    sa.select(jobs.c.seq)
    .where(
        jobs.c.state == sa.bindparam("state"),
        jobs.c.priority == sa.bindparam("priority"),
        jobs.c.seq < sa.bindparam("before"),
    )
    .order_by(jobs.c.seq.desc())
    .limit(sa.bindparam("most", type_=sa.Integer))
)
_WITH_PAYLOADS = sa.join(jobs, job_payloads, job_payloads.c.id == jobs.c.payload_id)


def list_jobs(
    connection: Connection,
    wanted: QueueFilter | None = None,
    *,
    batch_id: str | None = None,
    among: Collection[int] | None = None,
    before: int | None = None,
    limit: int = 50,
) -> JobPage:
    """Newest first. ``before``: a former page's ``next``; ``among``: only these numbers (``seq``)."""
    if wanted is None or among is not None or batch_id is not None or not wanted.is_one_state:
        total, seqs = _matching(connection, wanted, batch_id, among, before, limit + 1)
    else:
        total, seqs = _of_state(connection, wanted.states[0], before, limit + 1)
    rows = connection.execute(_ROWS, {"seqs": seqs[:limit]}).all() if seqs else []
    return JobPage(total, [_info(row) for row in rows], seqs[limit - 1] if len(seqs) > limit else None)


def _matching(
    connection: Connection,
    wanted: QueueFilter | None,
    batch_id: str | None,
    among: Collection[int] | None,
    before: int | None,
    most: int,
) -> tuple[int, list[int]]:
    """Return how many jobs match, and the numbers of the newest before ``before``."""
    conditions = [] if wanted is None else list(conditions_of(wanted))
    if batch_id is not None:
        conditions.append(jobs.c.batch_id == batch_id)
    needs_payloads = wanted is not None and wanted.text
    query = sa.select(jobs.c.seq).select_from(_WITH_PAYLOADS if needs_payloads else jobs).where(*conditions)
    newest_first = query.order_by(jobs.c.seq.desc())
    if among is not None:
        matching = [seq for seq in connection.scalars(newest_first) if seq in among]
        return len(matching), [seq for seq in matching if before is None or seq < before][:most]
    total = connection.scalar(query.with_only_columns(sa.func.count())) or 0
    if before is not None:
        newest_first = newest_first.where(jobs.c.seq < before)
    return total, list(connection.scalars(newest_first.limit(most)))


def _of_state(connection: Connection, state: str, before: int | None, most: int) -> tuple[int, list[int]]:
    """As ``_matching``, without reading all of them: the index holds each priority's in their order."""
    [(total,)] = _COUNT_OF_STATE.all(connection, {"state": state})
    values = {"state": state, "before": SEQ_MAX if before is None else before, "most": most}
    newest: list[int] = []
    for priority in range(PRIORITY_MIN, PRIORITY_MAX + 1) if total else ():
        newest += [seq for (seq,) in _NEWEST_OF_PRIORITY.all(connection, {**values, "priority": priority})]
    return total, sorted(newest, reverse=True)[:most]


def job_in_full(connection: Connection, job_id: str) -> JobInfo:
    """One job with what it generates. Raises NotFoundError."""
    query = sa.select(jobs, job_payloads.c.payload_json).select_from(_WITH_PAYLOADS)
    row = connection.execute(query.where(jobs.c.job_id == job_id)).first()
    if row is None:
        raise unknown_job()
    requirements = [
        JobRequirementInfo(one.role, one.name, one.hash, one.status, one.sha256)
        for one in requirements_of(connection, row.payload_id)
    ]
    payload = {**msgspec.json.decode(row.payload_json), "seed": row.seed}
    return msgspec.structs.replace(
        _info(row), payload=payload, requirements=requirements, pictures=pictures_of(connection, job_id)
    )


def with_progress(info: JobInfo, dispatch: DispatchView) -> JobInfo:
    """Add the progress that the job's server reports."""
    progress = dispatch.progress(info.job_id) if info.state == "processing" else None
    return info if progress is None else msgspec.structs.replace(info, progress=progress)


def pictures_of(connection: Connection, job_id: str) -> list[JobPictureInfo]:
    """A job's finished pictures, in order."""
    query = sa.select(job_pictures).where(job_pictures.c.job_id == job_id).order_by(job_pictures.c.number)
    return [
        JobPictureInfo(one.number, one.bytes, one.width, one.height, one.sha256, one.infotext)
        for one in connection.execute(query)
    ]


def find_picture(connection: Connection, job_id: str, number: int) -> tuple[str, str]:
    """File and SHA256 of a finished picture. Raises NotFoundError."""
    its = (job_pictures.c.job_id == job_id, job_pictures.c.number == number)
    row = connection.execute(sa.select(job_pictures.c.file, job_pictures.c.sha256).where(*its)).first()
    if row is None:
        raise NotFoundError("This job has no such picture.", remedy="Look at the job.")
    return row.file, row.sha256


def picture_is_named(connection: Connection, job_id: str, file: str) -> bool:
    """Return whether a file is a finished picture of that job."""
    its = (job_pictures.c.job_id == job_id, job_pictures.c.file == file)
    return connection.execute(sa.select(job_pictures.c.number).where(*its)).first() is not None


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
