"""Gate 3: a run ended. Were its pictures made with the files that were confirmed before?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.generation.infotext import parse_infotext
from stablequeue_client.shared.generation.picture_verification import (
    AssignedModel,
    LoadedModel,
    Outcome,
    Verdict,
    judge_picture,
    overall,
)
from stablequeue_client.shared.generation.requirements import Requirement
from stablequeue_client.shared.model_files.model_file import names_in_webui
from stablequeue_client.shared.model_files.roles import KINDS_OF, Role
from stablequeue_client.shared.wire.runner import AssignedFile, FinishAnswer, FinishRequest, PictureVerdict
from stablequeue_hub.dispatch.runs import (
    TEXT_KEPT,
    Run,
    end_run,
    fail_attempt,
    note_traceback,
    return_unstarted,
)
from stablequeue_hub.jobs.picture_files import StagedPicture
from stablequeue_hub.jobs.rows import change_state
from stablequeue_hub.matching.host_lookup import written_name
from stablequeue_hub.matching.named_files import FilesByName
from stablequeue_hub.matching.resolve import decides_by_hash
from stablequeue_hub.models.unloadable import forget_unloadable, loadable_elsewhere, note_unloadable
from stablequeue_hub.servers.capabilities import stored_capabilities
from stablequeue_hub.store.bulk import insert_rows
from stablequeue_hub.store.prepared import Prepared, in_list
from stablequeue_hub.store.tables import (
    job_payloads,
    job_pictures,
    job_requirements,
    job_runs,
    jobs,
    models,
    servers,
)

NAME_SHOWN = 80
_RANK: dict[str, int] = {"confirmed": 0, "not_provable": 1, "wrong": 2}
_PICTURE_COLUMNS = (
    "job_id", "number", "file", "bytes", "width", "height", "sha256", "infotext", "created_ms",
)  # fmt: skip
_DIGESTS = Prepared(
    sa.select(models.c.hash_sha256, models.c.hash_autov1, models.c.hash_autov3, models.c.metadata_json).where(
        in_list(models.c.hash_sha256, "contents")
    )
)


def finish_run(
    connection: Connection,
    run: Run,
    message: FinishRequest,
    pictures: Sequence[StagedPicture],
    *,
    exclude_server: bool,
    now_ms: int,
) -> FinishAnswer:
    """The job is completed, failed, or waits again. ``exclude_server``: after an error not on this server."""
    if message.outcome != "done" or not pictures:
        return _end_in_error(connection, run, message, exclude_server=exclude_server, now_ms=now_ms)
    verdicts = judge_run(connection, run, message, pictures)
    message = _with_checkpoint_in_use(connection, run, message, pictures)
    forget_unloadable(connection, run.server_id, _loaded_contents(run, message))
    # Of a job that names no model nothing can be confirmed.
    outcome = _overall(verdicts) if verdicts else "not_provable"
    _store_pictures(connection, run, pictures, now_ms)
    _end_job(connection, run, outcome, verdicts, message.text, now_ms)
    ended = "failed" if outcome == "wrong" else "completed"
    end_run(
        connection, run, ended, text=message.text, loaded=message.loaded, verdicts=verdicts, now_ms=now_ms
    )
    return FinishAnswer(ended, outcome, verdicts)


def former_answer(connection: Connection, server_id: str, message: FinishRequest) -> FinishAnswer | None:
    """Return what the end of this run was answered; None where no ``finish`` ended it. A runner that lost the
    answer asks again, and its job is over."""
    row = connection.execute(
        sa.select(
            job_runs.c.ended,
            job_runs.c.verdicts_json,
            sa.and_(jobs.c.fence == job_runs.c.fence, jobs.c.ended_ms == job_runs.c.ended_ms).label("final"),
        )
        .join_from(job_runs, jobs, jobs.c.job_id == job_runs.c.job_id)
        .where(
            job_runs.c.job_id == message.job_id,
            job_runs.c.fence == message.fence,
            job_runs.c.server_id == server_id,
        )
    ).first()
    if row is None or row.ended not in ("completed", "failed", "refused"):
        return None
    if row.ended == "refused":  # by `refuse`, or by a `finish` that was the surroundings' fault
        is_finish = message.outcome == "failed" and message.fault == "surroundings"
        return FinishAnswer("pending") if is_finish else None
    verdicts = msgspec.json.decode(row.verdicts_json, type=list[PictureVerdict])
    if verdicts or row.ended == "completed":
        return FinishAnswer(row.ended, _overall(verdicts) if verdicts else "not_provable", verdicts)
    return FinishAnswer("failed" if row.final else "pending")


def kept_picture(
    connection: Connection, server_id: str, job_id: str, fence: int, number: int
) -> StagedPicture | None:
    """Return a picture that this run ended with."""
    row = connection.execute(
        sa.select(job_pictures)
        .join_from(
            job_pictures,
            job_runs,
            sa.and_(
                job_runs.c.job_id == job_pictures.c.job_id, job_runs.c.ended_ms == job_pictures.c.created_ms
            ),
        )
        .where(
            job_pictures.c.job_id == job_id,
            job_pictures.c.number == number,
            job_runs.c.fence == fence,
            job_runs.c.server_id == server_id,
        )
    ).first()
    if row is None:
        return None
    return StagedPicture(row.number, row.file, row.sha256, row.bytes, row.width, row.height, row.infotext)


def _end_in_error(
    connection: Connection, run: Run, message: FinishRequest, *, exclude_server: bool, now_ms: int
) -> FinishAnswer:
    """What follows is decided by whose fault it is."""
    code = "webui_error" if message.outcome != "interrupted" else "interrupted"
    text = message.text or (
        "The WebUI made no picture." if message.outcome == "done" else "The WebUI failed."
    )
    fault = message.fault if message.outcome == "failed" else ""
    if fault == "surroundings":
        note_traceback(connection, run, message.traceback)
        return_unstarted(connection, run, code=fault, text=text, sequence=None, now_ms=now_ms)
        return FinishAnswer("pending")
    final = fault == "job"
    content = _content(run, message.requirement) if fault == "file" else None
    if content is not None:
        code, exclude_server = "model_unloadable", False  # its content is kept from there, for every job
        note_unloadable(connection, run.server_id, content, text, now_ms=now_ms)
        final = not loadable_elsewhere(connection, run.server_id, content, _targets(connection, run))
    elif fault in ("job", "file"):
        code, final = "job_error", True
    waits = fail_attempt(
        connection,
        run,
        "failed",
        code=code,
        text=text,
        exclude_server=exclude_server,
        now_ms=now_ms,
        actor=f"server:{run.server_id}",
        final=final,
        traceback=message.traceback,
    )
    return FinishAnswer("pending" if waits else "failed")


def _with_checkpoint_in_use(
    connection: Connection, run: Run, message: FinishRequest, pictures: Sequence[StagedPicture]
) -> FinishRequest:
    """``message`` with a word on the checkpoint of a job that names none: its server's own was used."""
    of_job = sa.join(jobs, job_requirements, job_requirements.c.payload_id == jobs.c.payload_id)
    its = sa.select(job_requirements.c.place).select_from(of_job)
    its = its.where(jobs.c.job_id == run.job_id, job_requirements.c.role == "checkpoint")
    if connection.execute(its.limit(1)).first() is not None:
        return message
    used = parse_infotext(pictures[0].infotext).settings.get("Model", "")[:NAME_SHOWN]
    text = "The job names no checkpoint; " + (
        f"“{used}” was in use there." if used else "the one in use there made it."
    )
    return msgspec.structs.replace(message, text=f"{message.text} {text}".strip())


def _content(run: Run, requirement: int | None) -> str | None:
    return next((file.sha256 for file in run.files if file.requirement == requirement), None)


def _targets(connection: Connection, run: Run) -> list[str] | None:
    stored = connection.scalar(sa.select(jobs.c.targets_json).where(jobs.c.job_id == run.job_id))
    return None if stored is None else msgspec.json.decode(stored, type=list[str])


def _loaded_contents(run: Run, message: FinishRequest) -> set[str]:
    loaded = {one.requirement for one in message.loaded if one.state == "loaded"}
    return {file.sha256 for file in run.files if file.requirement in loaded and file.sha256}


def judge_run(
    connection: Connection, run: Run, message: FinishRequest, pictures: Sequence[StagedPicture]
) -> list[PictureVerdict]:
    """For each model of the job the worst that any of the pictures says."""
    assigned = _assigned_models(connection, run.files)
    loaded = [
        LoadedModel(one.requirement, one.state, one.sha256, one.detail, one.applied) for one in message.loaded
    ]
    family = _family(connection, run.server_id)
    worst: dict[int, Verdict] = {}
    for picture in pictures:
        settings = parse_infotext(picture.infotext).settings
        for verdict in judge_picture(assigned, loaded, settings, family=family):
            before = worst.get(verdict.requirement)
            if before is None or _RANK[verdict.outcome] > _RANK[before.outcome]:
                worst[verdict.requirement] = verdict
    found = [PictureVerdict(one.requirement, one.outcome, one.reason, one.text) for one in worst.values()]
    unread = [
        PictureVerdict(
            file.requirement, "not_provable", "unread", f"“{file.name}” was not read when the job ran."
        )
        for file in run.files
        if file.sha256 is None and (file.used or file.script)
    ]
    told = {one.requirement for one in message.loaded if one.state != "unknown"}
    found = [one if one.requirement in told else _without_evidence(one) for one in found]
    moved = _moved_names(connection, run)
    found = [moved.get(one.requirement, one) if one.outcome == "confirmed" else one for one in found]
    unproved = [*unread, *_unconfirmed_models(connection, run)]
    return sorted([*found, *unproved], key=lambda one: one.requirement)


def _moved_names(connection: Connection, run: Run) -> dict[int, PictureVerdict]:
    """Where the job was written: models of which the name leads the WebUI there to another content than the
    picture was made with, by place. The name changed its file after the job was queued, or just before, when
    nobody had told yet: the picture is of the right content, but perhaps not of the one that was meant."""
    moved = {
        file.requirement: file
        for file in run.files
        if file.used and file.sha256 and not _has_name(file.role, file.path, file.written)
    }
    if not moved:
        return {}
    rows = connection.execute(
        sa.select(job_requirements.c.place, job_requirements.c.hash)
        .join_from(jobs, job_requirements, job_requirements.c.payload_id == jobs.c.payload_id)
        .join(job_payloads, job_payloads.c.id == jobs.c.payload_id)
        .where(jobs.c.job_id == run.job_id, job_payloads.c.source_server_id == run.server_id)
    )
    asked = {
        place: Requirement(moved[place].role, moved[place].written, hash=stated)
        for place, stated in rows
        if place in moved
    }
    asked = {place: one for place, one in asked.items() if not decides_by_hash(one)}
    files = FilesByName(connection, list(asked.values()))
    found = {}
    for place, one in asked.items():
        contents = {file.sha256 for file in files.chosen_on(one, run.server_id)}
        if contents and moved[place].sha256 not in contents:
            text = f"“{one.name}” now names another file there than the one the picture was made with."
            found[place] = PictureVerdict(place, "not_provable", "name_moved", text)
    return found


def _has_name(role: Role, path: str, written: str) -> bool:
    name = written_name(Requirement(role, written))
    return any(name in names_in_webui(kind, path) for kind in KINDS_OF[role])


def _without_evidence(verdict: PictureVerdict) -> PictureVerdict:
    """A text's hash alone proves little: hosts print it from a cache that may be older than the file."""
    if verdict.outcome != "confirmed":
        return verdict
    text = "The picture's text matches, but the runner did not report what was loaded."
    return PictureVerdict(verdict.requirement, "not_provable", "no_evidence", text)


def _unconfirmed_models(connection: Connection, run: Run) -> list[PictureVerdict]:
    """Return verdicts for the models that no file was confirmed for, though the job ran."""
    confirmed = {file.requirement for file in run.files}
    rows = connection.execute(
        sa.select(job_requirements.c.place, job_requirements.c.name, job_requirements.c.decision)
        .join_from(jobs, job_requirements, job_requirements.c.payload_id == jobs.c.payload_id)
        .where(jobs.c.job_id == run.job_id)
        .order_by(job_requirements.c.place)
    )
    return [
        PictureVerdict(place, "not_provable", "not_looked_for", f"No file was confirmed for “{name}”.")
        for place, name, decision in rows
        if place not in confirmed and decision != "not_a_model"
    ]


def _overall(verdicts: Sequence[PictureVerdict]) -> Outcome:
    return overall(Verdict(one.requirement, one.outcome, one.reason, one.text) for one in verdicts)


def _assigned_models(connection: Connection, files: Sequence[AssignedFile]) -> list[AssignedModel]:
    wanted = sorted({file.sha256 for file in files if file.sha256 is not None})
    rows = _DIGESTS.all(connection, {"contents": wanted}) if wanted else []
    digests = {row[0]: row[1:] for row in rows}
    found = []
    for file in files:
        if file.sha256 is None or not (file.used or file.script):
            continue
        autov1, autov3, metadata = digests.get(file.sha256, (None, None, None))
        embedded = _metadata(metadata).get("sshs_model_hash")
        found.append(
            AssignedModel(
                file.requirement,
                file.role,
                file.name,
                file.sha256,
                autov1,
                autov3,
                embedded or None,
                by_script=not file.used,
            )
        )
    return found


def _metadata(text: str | None) -> Mapping[str, Any]:
    found = msgspec.json.decode(text) if text else {}
    return found if isinstance(found, dict) else {}


def _family(connection: Connection, server_id: str) -> str:
    stored = connection.scalar(sa.select(servers.c.capabilities_json).where(servers.c.server_id == server_id))
    capabilities = stored_capabilities(stored)
    return capabilities.webui if capabilities else ""


def _store_pictures(connection: Connection, run: Run, pictures: Sequence[StagedPicture], now_ms: int) -> None:
    connection.execute(job_pictures.delete().where(job_pictures.c.job_id == run.job_id))
    rows = [
        (
            run.job_id,
            one.number,
            one.file,
            one.size,
            one.width,
            one.height,
            one.sha256,
            one.infotext,
            now_ms,
        )
        for one in pictures
    ]
    insert_rows(connection, job_pictures, _PICTURE_COLUMNS, rows)


def _end_job(
    connection: Connection,
    run: Run,
    outcome: Outcome,
    verdicts: Sequence[PictureVerdict],
    message: str,
    now_ms: int,
) -> None:
    values: dict[str, Any] = {"outcome": outcome}
    more = {"text": message[:TEXT_KEPT]} if message else {}
    if outcome == "wrong":
        text = next(verdict.text for verdict in verdicts if verdict.outcome == "wrong")
        values |= {"failure": "wrong_picture", "failure_text": text}
    change_state(
        connection,
        run.job_id,
        "failed" if outcome == "wrong" else "completed",
        action="job_failed" if outcome == "wrong" else "job_completed",
        actor=f"server:{run.server_id}",
        now_ms=now_ms,
        server_id=run.server_id,
        details={"outcome": outcome, **more, **({"code": "wrong_picture"} if outcome == "wrong" else {})},
        values=values,
    )
