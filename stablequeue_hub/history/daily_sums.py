"""What was made, as sums for each day: which models were used where, how long jobs waited and ran.

Kept when jobs are deleted; nothing here says what a picture shows or who wanted it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection, Table

from stablequeue_hub.store.tables import (
    job_payloads,
    job_pictures,
    job_requirements,
    job_runs,
    jobs,
    model_days,
    models,
    run_days,
)

DAY_MS = 86_400_000
NO_SERVER = ""
_RUN = (
    sa.select(
        job_runs.c.server_id,
        job_runs.c.started_ms,
        job_runs.c.models_json,
        jobs.c.created_ms,
        # A long payload has a short version with all that is short in it, as sizes and steps are.
        sa.func.coalesce(job_payloads.c.brief_json, job_payloads.c.payload_json).label("payload"),
    )
    .join_from(job_runs, jobs, jobs.c.job_id == job_runs.c.job_id)
    .join(job_payloads, job_payloads.c.id == jobs.c.payload_id)
)


class _UsedModel(msgspec.Struct):
    """As ``AssignedFile``, what counts here."""

    role: str
    sha256: str | None = None
    used: bool = True


_decode_models = msgspec.json.Decoder(list[_UsedModel]).decode


def add_run(connection: Connection, job_id: str, fence: int, *, made: bool, now_ms: int) -> None:
    """Count a run that has just ended. ``made``: it made its pictures. Call it in the same transaction."""
    row = connection.execute(_RUN.where(job_runs.c.job_id == job_id, job_runs.c.fence == fence)).first()
    if row is None:
        return
    used = [one for one in _decode_models(row.models_json) if one.used and one.sha256 is not None]
    day, server_id = now_ms // DAY_MS, row.server_id
    checkpoint = next((one.sha256 for one in used if one.role == "checkpoint"), None)
    which = {"day": day, "server_id": server_id, "family": _family(connection, checkpoint)}
    if not made:
        _add(connection, run_days, which, {"failed": 1})
        return
    wait_ms, run_ms = max(0, row.started_ms - row.created_ms), max(0, now_ms - row.started_ms)
    sums: dict[str, float] = {"runs": 1, "wait_ms": wait_ms, "run_ms": run_ms}
    size = _megapixel_steps(connection, job_id, msgspec.json.decode(row.payload))
    if size and run_ms:
        taken = math.log(run_ms / size)
        sums |= {"measured": 1, "log_sum": taken, "log_square_sum": taken * taken}
    _add(connection, run_days, which, sums)
    _add_models(connection, day, server_id, (one.sha256 for one in used), {"uses": 1, "wait_ms": wait_ms})


def add_unserved(connection: Connection, job_id: str, *, now_ms: int) -> None:
    """Count a job that ends without having run. Call it in the same transaction."""
    wanted = connection.execute(
        sa.select(jobs.c.created_ms, job_requirements.c.sha256)
        .join_from(jobs, job_requirements, job_requirements.c.payload_id == jobs.c.payload_id)
        .where(jobs.c.job_id == job_id, job_requirements.c.sha256.is_not(None))
    ).all()
    if wanted:
        sums = {"unserved": 1, "wait_ms": max(0, now_ms - wanted[0].created_ms)}
        _add_models(connection, now_ms // DAY_MS, NO_SERVER, (row.sha256 for row in wanted), sums)


def _family(connection: Connection, sha256: str | None) -> str:
    if sha256 is None:
        return ""
    query = sa.select(models.c.base_model).where(models.c.hash_sha256 == sha256)
    return connection.scalar(query) or ""


def _megapixel_steps(connection: Connection, job_id: str, payload: Mapping[str, Any]) -> float:
    """Return how much was computed; 0 where the payload does not say so itself."""
    values = [payload.get(name) for name in ("width", "height", "steps")]
    if not all(type(value) is int and value > 0 for value in values):
        return 0.0
    made = sa.select(sa.func.count()).where(job_pictures.c.job_id == job_id)
    return math.prod(values) / 1e6 * int(connection.scalar(made) or 0)  # type: ignore[arg-type]


def _add_models(
    connection: Connection,
    day: int,
    server_id: str,
    contents: Iterable[str | None],
    sums: Mapping[str, float],
) -> None:
    for sha256 in dict.fromkeys(contents):  # a model that is named twice is used once
        _add(connection, model_days, {"day": day, "server_id": server_id, "sha256": sha256}, sums)


def _add(connection: Connection, table: Table, which: Mapping[str, Any], sums: Mapping[str, float]) -> None:
    """Add to a row, or make it. The store has one writer, so nobody comes between the two."""
    this = [table.c[name] == value for name, value in which.items()]
    more = {name: table.c[name] + value for name, value in sums.items()}
    if not connection.execute(table.update().where(*this).values(more)).rowcount:
        connection.execute(table.insert().values(**which, **sums))
