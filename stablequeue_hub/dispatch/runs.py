"""A server works on a job: claimed, given back, lost, finished. Each step is one write transaction.

The queue in memory only proposes. What counts is decided here: whether the job still waits (compare and set),
and whether the server still has its models. The ``fence`` grows with each claim; whoever comes with an
older one is refused, however late it comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.generation.name_translation import Renaming, translated
from stablequeue_client.shared.generation.requirements import EmbeddingNames, Where, generation_requirements
from stablequeue_client.shared.model_files.roles import Role
from stablequeue_client.shared.wire.runner import (
    TRACEBACK_MAX,
    AssignedFile,
    Assignment,
    LoadedFile,
    RenamedModel,
)
from stablequeue_hub.access.actors import actor_names
from stablequeue_hub.errors import StaleRunError
from stablequeue_hub.history.daily_sums import add_run
from stablequeue_hub.jobs.rows import change_state, start_job
from stablequeue_hub.matching.exclusions import COUNTS, is_over
from stablequeue_hub.matching.job_requirements import JobRequirement, requirements_of
from stablequeue_hub.matching.stock import ServerStock, reload_files
from stablequeue_hub.store.prepared import Prepared
from stablequeue_hub.store.tables import job_exclusions, job_payloads, job_runs, jobs

ATTEMPTS_MAX = 3
Exclusion = Literal["refused", "failed", "lost"]
ClaimFailure = Literal["not_waiting", "not_here"]
TEXT_KEPT = 1_000

_JOB = Prepared(
    sa.select(
        jobs.c.state,
        jobs.c.name,
        jobs.c.seed,
        jobs.c.fence,
        jobs.c.payload_id,
        jobs.c.targets_json,
        job_payloads.c.payload_json,
        job_payloads.c.source_server_id,
        sa.exists()
        .where(
            job_exclusions.c.job_id == jobs.c.job_id,
            job_exclusions.c.server_id == sa.bindparam("server_id"),
            COUNTS,
        )
        .label("excluded"),
        jobs.c.submitted_by,
    )
    .select_from(sa.join(jobs, job_payloads, job_payloads.c.id == jobs.c.payload_id))
    .where(jobs.c.job_id == sa.bindparam("job_id"))
)
_RUN_COLUMNS = (
    "job_id", "fence", "server_id", "runner_id", "started_ms", "models_json", "renamed_json",
)  # fmt: skip
_BEGIN = Prepared(job_runs.insert().values({name: sa.bindparam(name) for name in _RUN_COLUMNS}))
_RUN = Prepared(
    sa.select(
        job_runs.c.server_id,
        job_runs.c.runner_id,
        job_runs.c.models_json,
        job_runs.c.renamed_json,
        jobs.c.state,
        jobs.c.fence,
    )
    .select_from(sa.join(job_runs, jobs, jobs.c.job_id == job_runs.c.job_id))
    .where(job_runs.c.job_id == sa.bindparam("job_id"), job_runs.c.fence == sa.bindparam("fence"))
)


@dataclass(frozen=True)
class Run:
    """A claim that still counts."""

    job_id: str
    fence: int
    server_id: str
    runner_id: str
    files: list[AssignedFile]


# --- taken ------------------------------------------------------------------------------------------------


def claim(
    connection: Connection, job_id: str, stock: ServerStock, *, runner_id: str, now_ms: int
) -> Assignment | ClaimFailure:
    """Hand the job to the server of ``stock``, if it still waits and the server still has its models."""
    server_id = stock.server_id
    rows = _JOB.all(connection, {"job_id": job_id, "server_id": server_id})
    if not rows or rows[0][0] != "pending" or rows[0][8]:
        return "not_waiting"
    _, name, seed, fence, payload_id, targets_json, payload_json, source_id, _, submitter = rows[0]
    if targets_json is not None and server_id not in msgspec.json.decode(targets_json):
        return "not_waiting"
    payload: dict[str, Any] = {**msgspec.json.decode(payload_json), "seed": seed}
    requirements = requirements_of(connection, payload_id)
    files = _assigned(connection, requirements, payload, stock, is_source=server_id == source_id)
    if files is None:
        return "not_here"
    payload, renamed = _renamed(payload, files)
    if not start_job(connection, job_id, server_id, fence + 1, now_ms=now_ms):
        return "not_waiting"
    run = (job_id, fence + 1, server_id, runner_id, now_ms, _text(files), _text(renamed))
    _BEGIN.run(connection, dict(zip(_RUN_COLUMNS, run, strict=True)))
    who = actor_names(connection, [submitter])[submitter]
    return Assignment(
        job_id, fence + 1, name, payload, files, renamed,
        submitter=who, own=submitter == f"server:{server_id}",
    )  # fmt: skip


def _assigned(
    connection: Connection,
    requirements: Sequence[JobRequirement],
    payload: dict[str, Any],
    stock: ServerStock,
    *,
    is_source: bool,
) -> list[AssignedFile] | None:
    """The server's file for each model; None when one is not there any more."""
    wanted = {lookup for one in requirements if (lookup := one.lookup) is not None}
    now = reload_files(connection, stock, wanted, is_source=is_source)
    embeddings = EmbeddingNames([one.name for one in requirements if one.role == "embedding"])
    places = _places_of_models(payload, embeddings)
    found = []
    for place, one in enumerate(requirements):
        if one.decision == "not_a_model":
            continue
        file = now.file(one, is_source=is_source)
        if file is None and one.is_waived_on(stock.server_id):
            continue
        if file is None:
            return None
        used, script = _usage(one, places)
        read = any(
            (other.root, other.path) == (file.root, file.path)
            for other in now.ready.get(one.content or "", ())
        )
        known = one.content if read else None
        found.append(
            AssignedFile(
                place, one.role, one.name, file.name, file.root, file.path, known, file.size, used, script
            )
        )
    return found


def _places_of_models(
    payload: dict[str, Any], embeddings: EmbeddingNames
) -> dict[tuple[Role, str], set[Where]]:
    """Where a payload names each model."""
    where: dict[tuple[Role, str], set[Where]] = {}
    for requirement in generation_requirements(payload, embeddings):
        where.setdefault((requirement.role, requirement.name), set()).add(requirement.where)
    return where


def _usage(one: JobRequirement, places: dict[tuple[Role, str], set[Where]]) -> tuple[bool, bool]:
    """Return whether the generation itself loads it, and whether a script does.

    No host looks for LoRAs in negative prompts; a checkpoint of an axis stands in the place of the
    generation's own.
    """
    where = places.get((one.role, one.name), set())
    script = bool(where & _OF_SCRIPTS)
    if one.role == "lora":
        return not where or not where <= (_NEGATIVE | _OF_SCRIPTS), script
    replaced = any("axis" in places[role, name] for role, name in places if role == one.role)
    return not replaced and not (where and where <= _OF_SCRIPTS), script


_NEGATIVE: frozenset[Where] = frozenset({"negative", "negative_style", "hires_negative"})
_OF_SCRIPTS: frozenset[Where] = frozenset({"script", "axis"})


def _renamed(
    payload: dict[str, Any], files: Sequence[AssignedFile]
) -> tuple[dict[str, Any], list[RenamedModel]]:
    """The payload with this server's names. A title loses its hash: a WebUI knows it only under hashes that
    it made itself, and takes the loaded model for an unknown title."""
    renamings = [Renaming(file.role, file.written, file.name) for file in files]
    payload, used = translated(payload, renamings)
    return payload, [RenamedModel(one.role, one.written, one.name) for one in used]


def repeat_assignment(connection: Connection, job_id: str, fence: int) -> Assignment | None:
    """Return the assignment as it was answered; None when its claim does not count any more."""
    rows, runs = (
        _JOB.all(connection, {"job_id": job_id, "server_id": ""}),
        _run_rows(connection, job_id, fence),
    )
    if not rows or not runs or rows[0][0] != "processing" or rows[0][3] != fence:
        return None
    files = msgspec.json.decode(runs[0][2], type=list[AssignedFile])
    payload, renamed = _renamed({**msgspec.json.decode(rows[0][6]), "seed": rows[0][2]}, files)
    submitter = rows[0][9]
    return Assignment(
        job_id, fence, rows[0][1], payload, files, renamed,
        submitter=actor_names(connection, [submitter])[submitter],
        own=submitter == f"server:{runs[0][0]}",
    )  # fmt: skip


@dataclass(frozen=True)
class RunningJob:
    """A job that a server works on, as it is stored."""

    job_id: str
    server_id: str
    fence: int
    runner_id: str


def running_jobs(connection: Connection, ids: Sequence[str] | None = None) -> list[RunningJob]:
    """All jobs under way, or those of ``ids``."""
    query = (
        sa.select(jobs.c.job_id, jobs.c.server_id, jobs.c.fence, job_runs.c.runner_id)
        .select_from(
            sa.join(
                jobs,
                job_runs,
                sa.and_(job_runs.c.job_id == jobs.c.job_id, job_runs.c.fence == jobs.c.fence),
            )
        )
        .where(jobs.c.state == "processing")
    )
    found = (RunningJob(*row) for row in connection.execute(query))
    return [job for job in found if ids is None or job.job_id in ids]


# --- given back, lost, failed -----------------------------------------------------------------------------


def current_run(connection: Connection, job_id: str, fence: int, server_id: str) -> Run:
    """Return the run. Raises StaleRunError when its claim does not count any more."""
    rows = _run_rows(connection, job_id, fence)
    if not rows or rows[0][0] != server_id or rows[0][4] != "processing" or rows[0][5] != fence:
        raise StaleRunError
    files = msgspec.json.decode(rows[0][2], type=list[AssignedFile])
    return Run(job_id, fence, server_id, rows[0][1], files)


def _run_rows(connection: Connection, job_id: str, fence: int) -> Sequence[Any]:
    return _RUN.all(connection, {"job_id": job_id, "fence": fence})


def return_unstarted(
    connection: Connection,
    run: Run,
    *,
    code: str,
    text: str,
    sequence: int | None,
    now_ms: int,
) -> None:
    """The server sent it back unstarted: no attempt, and not there again until its inventory changed.

    ``busy`` and ``surroundings`` say nothing of the job: only the server yields, or waits for its owner.
    """
    _requeue(connection, run, "refused", text, now_ms=now_ms, action="job_refused", code=code)
    if code not in ("busy", "surroundings"):
        counted = jobs.update().where(jobs.c.job_id == run.job_id)
        connection.execute(counted.values(refusals=jobs.c.refusals + 1))
        exclude(connection, run.job_id, run.server_id, "refused", text, sequence=sequence, now_ms=now_ms)


def fail_attempt(
    connection: Connection,
    run: Run,
    reason: Exclusion,
    *,
    code: str,
    text: str,
    exclude_server: bool,
    now_ms: int,
    actor: str,
    final: bool = False,
    traceback: str = "",
) -> bool:
    """A run came to nothing: the job waits again, or has failed after ``ATTEMPTS_MAX``, or at once where that
    is ``final``; whether it waits."""
    attempts = 1 + int(connection.scalar(sa.select(jobs.c.attempts).where(jobs.c.job_id == run.job_id)) or 0)
    note_traceback(connection, run, traceback)
    if attempts < ATTEMPTS_MAX and not final:
        action = "job_lost" if reason == "lost" else "job_attempt_failed"
        values = {"attempts": attempts}
        _requeue(
            connection, run, reason, text, now_ms=now_ms, action=action, code=code, actor=actor, values=values
        )
        if exclude_server:
            exclude(connection, run.job_id, run.server_id, reason, text, sequence=None, now_ms=now_ms)
        return True
    change_state(
        connection,
        run.job_id,
        "failed",
        action="job_failed",
        actor=actor,
        now_ms=now_ms,
        server_id=run.server_id,
        details={"code": code, "text": text[:TEXT_KEPT]},
        values={"attempts": attempts, "failure": code, "failure_text": text[:TEXT_KEPT]},
    )
    end_run(connection, run, reason, text=text, now_ms=now_ms)
    return False


def note_traceback(connection: Connection, run: Run, traceback: str) -> None:
    """Keep the WebUI's own traceback with the run."""
    if traceback:
        its = (job_runs.c.job_id == run.job_id, job_runs.c.fence == run.fence)
        text = traceback.replace("\x00", "")[-TRACEBACK_MAX:]
        connection.execute(job_runs.update().where(*its).values(traceback=text))


def _requeue(
    connection: Connection,
    run: Run,
    ended: str,
    text: str,
    *,
    now_ms: int,
    action: str,
    code: str,
    actor: str | None = None,
    values: dict[str, Any] | None = None,
) -> None:
    change_state(
        connection,
        run.job_id,
        "pending",
        action=action,
        actor=actor or f"server:{run.server_id}",
        now_ms=now_ms,
        server_id=run.server_id,
        details={"code": code, "text": text[:TEXT_KEPT]},
        values=values,
    )
    end_run(connection, run, ended, text=text, now_ms=now_ms)


def exclude(
    connection: Connection,
    job_id: str,
    server_id: str,
    reason: Exclusion,
    text: str,
    *,
    sequence: int | None,
    now_ms: int,
) -> None:
    """Keep the server from the job; ``sequence``: until its inventory goes past this."""
    mine = (job_exclusions.c.job_id == job_id, job_exclusions.c.server_id == server_id)
    connection.execute(job_exclusions.delete().where(*mine))
    connection.execute(
        job_exclusions.insert(),
        {
            "job_id": job_id,
            "server_id": server_id,
            "reason": reason,
            "text": text[:TEXT_KEPT],
            "sequence": sequence,
            "at_ms": now_ms,
        },
    )


def _is_over(server_id: str, sequence: int) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return job_exclusions.c.server_id == server_id, is_over(sequence)


def may_readmit(connection: Connection, server_id: str, sequence: int) -> bool:
    """Return whether ``readmit`` would find any."""
    found = sa.select(job_exclusions.c.job_id).where(*_is_over(server_id, sequence)).limit(1)
    return connection.execute(found).first() is not None


def readmit(connection: Connection, server_id: str, sequence: int) -> list[str]:
    """Jobs that the server refused and may get again, now that its inventory changed."""
    over = _is_over(server_id, sequence)
    ids = list(connection.scalars(sa.select(job_exclusions.c.job_id).where(*over)))
    if ids:
        connection.execute(job_exclusions.delete().where(*over))
    return ids


def _failed_before(before_ms: int) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return job_exclusions.c.reason == "failed", job_exclusions.c.at_ms < before_ms


def may_readmit_failed(connection: Connection, before_ms: int) -> bool:
    """Return whether ``readmit_failed`` would find any."""
    found = sa.select(job_exclusions.c.job_id).where(*_failed_before(before_ms)).limit(1)
    return connection.execute(found).first() is not None


def readmit_failed(connection: Connection, before_ms: int) -> list[str]:
    """Jobs that ended in an error on a server before then may go there again."""
    over = _failed_before(before_ms)
    ids = list(connection.scalars(sa.select(job_exclusions.c.job_id).where(*over)))
    connection.execute(job_exclusions.delete().where(*over))
    return ids


def lost_jobs(connection: Connection, before_ms: int) -> list[tuple[str, str]]:
    """(job, server) of waiting jobs that a server lost before then."""
    query = (
        sa.select(job_exclusions.c.job_id, job_exclusions.c.server_id)
        .join(jobs, jobs.c.job_id == job_exclusions.c.job_id)
        .where(
            jobs.c.state == "pending", job_exclusions.c.reason == "lost", job_exclusions.c.at_ms < before_ms
        )
        .order_by(jobs.c.seq)
    )
    return [(job_id, server_id) for job_id, server_id in connection.execute(query)]


def readmit_lost(connection: Connection, job_id: str, server_id: str) -> None:
    """The process that was thought dead lives: it may have the job again."""
    connection.execute(
        job_exclusions.delete().where(
            job_exclusions.c.job_id == job_id,
            job_exclusions.c.server_id == server_id,
            job_exclusions.c.reason == "lost",
        )
    )


# --- ended ------------------------------------------------------------------------------------------------


def end_run(
    connection: Connection,
    run: Run,
    ended: str,
    *,
    text: str = "",
    loaded: Sequence[LoadedFile] = (),
    verdicts: Sequence[msgspec.Struct] = (),
    now_ms: int,
) -> None:
    """Note how a run ended."""
    connection.execute(
        job_runs.update()
        .where(job_runs.c.job_id == run.job_id, job_runs.c.fence == run.fence)
        .values(
            ended=ended,
            ended_ms=now_ms,
            text=text[:TEXT_KEPT],
            loaded_json=_text(list(loaded)),
            verdicts_json=_text(list(verdicts)),
        )
    )
    if ended in ("completed", "failed"):
        add_run(connection, run.job_id, run.fence, made=ended == "completed", now_ms=now_ms)


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()
