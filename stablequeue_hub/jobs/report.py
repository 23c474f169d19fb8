"""The report of a job: what happened, and for each model how it was confirmed. Reads only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.generation.infotext import infotext_hashes, parse_infotext
from stablequeue_client.shared.wire.jobs import JobInfo
from stablequeue_client.shared.wire.reports import (
    JobReport,
    RecordedHash,
    ReportConfirmation,
    ReportEvent,
    ReportFile,
    ReportModel,
    ReportPicture,
    ReportRun,
    ReportUse,
)
from stablequeue_client.shared.wire.runner import AssignedFile, LoadedFile, PictureVerdict, RenamedModel
from stablequeue_hub.access.actors import actor_names
from stablequeue_hub.jobs.event_text import event_reason, event_text
from stablequeue_hub.jobs.list import job_in_full
from stablequeue_hub.matching.job_requirements import JobRequirement, requirements_of
from stablequeue_hub.matching.sentence import shown_name
from stablequeue_hub.matching.server_facts import DispatchView
from stablequeue_hub.matching.why import why
from stablequeue_hub.store.tables import events, job_runs, jobs, models, server_roots, servers

if TYPE_CHECKING:
    from stablequeue_hub.servers.presence import Live

EVENTS_MAX = 500
_decode_files = msgspec.json.Decoder(list[AssignedFile]).decode
_decode_renamed = msgspec.json.Decoder(list[RenamedModel]).decode
_decode_loaded = msgspec.json.Decoder(list[LoadedFile]).decode
_decode_verdicts = msgspec.json.Decoder(list[PictureVerdict]).decode


def job_report(
    connection: Connection, job_id: str, live: Live, dispatch: DispatchView, *, now_ms: int
) -> JobReport:
    """Everything that is known of a job. Raises NotFoundError."""
    job = job_in_full(connection, job_id)
    payload_id = connection.execute(sa.select(jobs.c.payload_id).where(jobs.c.job_id == job_id)).scalar_one()
    requirements = requirements_of(connection, payload_id)
    aliases = _pairs(connection, sa.select(servers.c.server_id, servers.c.alias))
    names = actor_names(connection, [job.submitted_by])
    return JobReport(
        job=job,
        submitted_by=names[job.submitted_by],
        targets=None if job.targets is None else [_alias(aliases, one) for one in job.targets],
        models=_models(connection, requirements, aliases),
        runs=_runs(connection, job_id, aliases),
        timeline=_timeline(connection, job_id, aliases, [shown_name(one) for one in requirements]),
        pictures=_pictures(job),
        why=why(connection, job_id, live, dispatch, now_ms=now_ms) if job.state == "pending" else None,
    )


def _pairs(connection: Connection, query: sa.Select[Any]) -> dict[str, str]:
    return {row[0]: row[1] for row in connection.execute(query)}


def _alias(aliases: Mapping[str, str], server_id: str | None) -> str:
    return aliases.get(server_id or "", "a removed server") if server_id else ""


def _models(
    connection: Connection, requirements: Sequence[JobRequirement], aliases: Mapping[str, str]
) -> list[ReportModel]:
    contents = sorted({one.sha256 for one in requirements if one.sha256})
    known = sa.select(models.c.hash_sha256, models.c.name).where(models.c.hash_sha256.in_(contents))
    names = _pairs(connection, known) if contents else {}
    return [
        ReportModel(
            place,
            one.role,
            one.name,
            one.hash,
            one.status,
            one.sha256,
            names.get(one.sha256 or ""),
            one.decision,
            _alias(aliases, one.decision_server_id) or None,
        )
        for place, one in enumerate(requirements)
    ]


def _runs(connection: Connection, job_id: str, aliases: Mapping[str, str]) -> list[ReportRun]:
    query = sa.select(job_runs).where(job_runs.c.job_id == job_id).order_by(job_runs.c.fence)
    rows = connection.execute(query).all()
    labels = _labels(connection, {row.server_id for row in rows})
    return [
        ReportRun(
            row.fence,
            row.server_id,
            _alias(aliases, row.server_id),
            row.started_ms,
            row.ended_ms,
            row.ended,
            row.text,
            _uses(row, labels),
            row.traceback,
        )
        for row in rows
    ]


def _labels(connection: Connection, server_ids: set[str]) -> dict[tuple[str, str], str | None]:
    """(server, root) -> its owner's name for it."""
    query = sa.select(server_roots.c.server_id, server_roots.c.root_id, server_roots.c.label)
    rows = connection.execute(query.where(server_roots.c.server_id.in_(server_ids))) if server_ids else ()
    return {(server_id, root): label for server_id, root, label in rows}


def _uses(row: Any, labels: Mapping[tuple[str, str], str | None]) -> list[ReportUse]:
    renamed = {(one.role, one.written): one.name for one in _decode_renamed(row.renamed_json)}
    loaded = {one.requirement: one for one in _decode_loaded(row.loaded_json)}
    verdicts = {one.requirement: one for one in _decode_verdicts(row.verdicts_json)}
    found = []
    for file in _decode_files(row.models_json):
        said, verdict = loaded.get(file.requirement), verdicts.get(file.requirement)
        where = ReportFile(file.root, labels.get((row.server_id, file.root)), file.path, file.name, file.size)
        found.append(
            ReportUse(
                file.requirement,
                where,
                file.sha256,
                renamed.get((file.role, file.written)),
                said.state if said else None,
                said.sha256 if said else None,
                ReportConfirmation(verdict.outcome, verdict.reason, verdict.text) if verdict else None,
            )
        )
    return found


def _timeline(
    connection: Connection, job_id: str, aliases: Mapping[str, str], names: Sequence[str]
) -> list[ReportEvent]:
    query = sa.select(events).where(events.c.job_id == job_id).order_by(events.c.id.desc()).limit(EVENTS_MAX)
    rows = connection.execute(query).all()[::-1]
    actors = actor_names(connection, {row.actor for row in rows})
    found = []
    for row in rows:
        details = json.loads(row.details_json) if row.details_json else {}
        text = event_text(row.action, details, _alias(aliases, row.server_id), names)
        reason = event_reason(details)
        found.append(ReportEvent(row.at_ms, row.action, text, row.actor, actors[row.actor], reason, details))
    return found


def _pictures(job: JobInfo) -> list[ReportPicture]:
    return [
        ReportPicture(
            picture.number,
            [
                RecordedHash(one.role, one.name, one.hash)
                for one in infotext_hashes(parse_infotext(picture.infotext))
            ],
        )
        for picture in job.pictures or []
    ]
