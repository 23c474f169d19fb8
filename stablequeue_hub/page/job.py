"""One job as the value of its view. Reads only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from stablequeue_client.shared.views import job_values as jv
from stablequeue_client.shared.views import values as v
from stablequeue_client.shared.views.job_form import fields_of_job
from stablequeue_client.shared.wire.jobs import JobWhy
from stablequeue_client.shared.wire.reports import JobReport, ReportEvent, ReportModel, ReportRun, ReportUse
from stablequeue_hub.access.actors import actor_names
from stablequeue_hub.errors import unknown_job
from stablequeue_hub.jobs.queue_rows import find_row
from stablequeue_hub.jobs.report import job_report
from stablequeue_hub.matching.server_facts import DispatchView, ServerFacts, servers_now
from stablequeue_hub.matching.why import load_context_with
from stablequeue_hub.page.queue import Viewer, WaitReasons, shown_rows

if TYPE_CHECKING:
    from stablequeue_hub.servers.presence import Live

_HELD_UP = frozenset({"missing", "ambiguous", "unread", "away"})


def job_details(
    connection: Connection, job_id: str, live: Live, dispatch: DispatchView, viewer: Viewer, *, now_ms: int
) -> jv.JobDetails:
    """Raises NotFoundError."""
    stored = find_row(connection, job_id)
    if stored is None:
        raise unknown_job()
    report = job_report(connection, job_id, live, dispatch, now_ms=now_ms)
    servers = servers_now(connection, live)
    waiting = [stored.as_pending()] if stored.state == "pending" else []
    context = load_context_with(connection, waiting, servers, [stored.payload_id])
    wait_reasons = WaitReasons(context, dispatch)
    aliases = {server_id: server.alias for server_id, server in servers.items()}
    names = actor_names(connection, [stored.submitted_by], aliases)
    (row,) = shown_rows(connection, [stored], wait_reasons, dispatch, viewer, names)
    job = report.job
    return jv.JobDetails(
        row=row,
        fields=fields_of_job(job),
        choices=form_choices(servers, job.targets or ()),
        pictures=_pictures(report),
        models=_models(report, row),
        why=_why(report.why),
        traceback=next((run.traceback for run in reversed(report.runs) if run.traceback), ""),
        timeline=tuple(
            jv.TimelineEntry(event.at_ms, event.text, _by(event), event.reason) for event in report.timeline
        ),
        attempts=job.attempts,
        deadline_ms=job.deadline_ms,
        may_submit=viewer.may_submit,
        may_accept=row.may_change and job.state == "failed" and job.outcome == "wrong",
    )


def _by(event: ReportEvent) -> str:
    """Return who did it, unless the sentence says so already."""
    return "" if event.actor.startswith("server:") and event.text.endswith(event.by) else event.by


def form_choices(servers: Mapping[str, ServerFacts], targets: Sequence[str] = ()) -> jv.FormChoices:
    """Servers, and the samplers and schedulers that any of them has. ``targets``: of the job, which stay its
    targets when a form is saved, also where they were forgotten."""
    reported = [server.capabilities for server in servers.values() if server.capabilities is not None]
    return jv.FormChoices(
        tuple(v.Choice(server_id, server.alias) for server_id, server in servers.items()),
        tuple(sorted({name for one in reported for name in one.samplers})),
        tuple(sorted({name for one in reported for name in one.schedulers})),
        tuple(v.Choice(one, "(a forgotten server)") for one in targets if one not in servers),
    )


def _pictures(report: JobReport) -> tuple[jv.JobPicture, ...]:
    recorded = {picture.number: picture.recorded for picture in report.pictures}
    return tuple(
        jv.JobPicture(
            one.number,
            one.width,
            one.height,
            one.infotext,
            tuple((hash_.role, hash_.name, hash_.hash) for hash_ in recorded.get(one.number, ())),
        )
        for one in report.job.pictures or ()
    )


def _models(report: JobReport, row: jv.JobRow) -> tuple[jv.JobModel, ...]:
    marks = [need.mark for need in row.needs]
    run = report.runs[-1] if report.runs else None
    uses = {use.requirement: use for use in run.uses} if run else {}
    return tuple(
        _model(
            one,
            marks[one.place],
            uses.get(one.place),
            run,
            may_decide=_may_decide(row, one, marks[one.place]),
        )
        for one in report.models
    )


def _may_decide(row: jv.JobRow, one: ReportModel, mark: jv.NeedMark) -> bool:
    """What was decided for one server leaves the others waiting, and that one may be gone."""
    is_open = mark in _HELD_UP or one.decision_server is not None
    return row.may_change and row.state == "pending" and is_open


def _model(
    one: ReportModel, mark: jv.NeedMark, use: ReportUse | None, run: ReportRun | None, *, may_decide: bool
) -> jv.JobModel:
    confirmation = use.confirmation if use else None
    return jv.JobModel(
        place=one.place,
        role=one.role,
        written=one.name,
        mark=mark,
        hash=one.hash or "",
        sha256=one.sha256 or "",
        model=one.model or "",
        file=use.file.path if use else "",
        file_server=run.server if use and run else "",
        translated=(use.translated or "") if use else "",
        outcome=confirmation.outcome if confirmation else "",
        proof=confirmation.text if confirmation and confirmation.outcome != "confirmed" else "",
        decision=_decision(one),
        may_decide=may_decide,
    )


def _decision(one: ReportModel) -> str:
    if one.decision == "not_a_model":
        return "Decided: not a model"
    if one.decision == "run_anyway":
        return f"Decided: runs without it{f' on {one.decision_server}' if one.decision_server else ''}"
    return ""


def _why(why: JobWhy | None) -> tuple[jv.WhyLine, ...]:
    return tuple(
        jv.WhyLine(
            server.server_id,
            server.alias,
            server.ok,
            tuple(reason.text for reason in server.reasons),
            tuple(server.not_checked),
            server.working,
            server.before,
        )
        for server in (why.servers if why else ())
    )
