"""Everything of this WebUI, gathered as the value of its view."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, Literal

from stablequeue_client.files.claimed_hashes import ContradictedClaim, check_claims
from stablequeue_client.index.agent_report import AgentReport, ReportedFile
from stablequeue_client.index.snapshot import Snapshot
from stablequeue_client.shared.views import values as v
from stablequeue_client.shared.views.labels import DIGEST_LABELS
from stablequeue_client.webui.parts.runtime import Runtime
from stablequeue_client.webui.settings import old_extension
from stablequeue_client.webui.settings.options import LABELS, OPTIONS
from stablequeue_client.webui.settings.webui_settings import WebuiSettings
from stablequeue_client.webui.tab import local_views
from stablequeue_client.webui.views import this_webui_view as view

NOTES_SHOWN = 20
SHORT = 12


def this_webui(rt: Runtime, alias: str, hub: view.HubLine) -> view.ThisWebui:
    """The value, from what is known now."""
    snapshot, settings, report = rt.models.snapshot, rt.settings(), rt.models.report
    unread = [row for row in snapshot.others if local_views.is_unread(row)]
    copies = old_extension.other_copies(rt.host.extension_dirs(), rt.places.extension_dir)
    value = view.ThisWebui(
        alias=alias,
        reading=_reading(rt, snapshot),
        hub=hub,
        progress=local_views.progress_value(rt.models.progress),
        waiting=len(unread),
        waiting_bytes=sum(row.size for row in unread),
        folders=_folders(snapshot),
        doubts=_doubts(snapshot),
        troubled=local_views.troubled_files(snapshot, snapshot.others, alias),
        unread=local_views.unread_files(snapshot, snapshot.others, alias),
        disbelieved=_disbelieved(snapshot, report),
        private=settings.private,
        problem=rt.models.problem,
        mistakes=settings.mistakes,
        outside=_outside(settings, rt.hub.state().alias),
        old_copies=tuple(str(path) for path in copies),
        work=work(rt),
    )
    return _with_report(value, snapshot, report) if report else value


def work(rt: Runtime) -> view.RunnerActivity:
    """The hub's jobs in this WebUI, from what is known now."""
    state = rt.runner.state()
    told = tuple(view.RunnerNote(one.at_ms, one.text) for one in reversed(state.told))
    found = view.RunnerActivity(
        works_for_others=state.works_for_others,
        not_now_until_ms=state.not_now_until_ms,
        results=state.results,
        told=told,
        can_choose="works_for_others" not in rt.settings().given_outside,
    )
    job = state.working
    if job is None:
        return found
    return replace(
        found,
        working=True,
        job_name=job.name,
        whose=job.submitter,
        own=job.own,
        since_ms=job.since_ms,
        progress=job.progress,
    )


def _with_report(value: view.ThisWebui, snapshot: Snapshot, report: AgentReport) -> view.ThisWebui:
    """With what the reading process says of itself."""
    problem = report.hub_problem
    hub = value.hub
    if problem is not None and hub.kind == "connected":
        # The hub answers us and yet does not take what it is told: frozen, out of step, full.
        told = v.Problem(problem.message, problem.remedy)
        hub = view.HubLine("refused", problem.since_ms, hub.url, told)
    return replace(
        value,
        hub=hub,
        last_sync_ms=report.last_sync_ms or None,
        waits_for=report.waits_for,
        paused_until_ms=report.paused_until_ms or None,
        watch_problems=tuple(report.watch_problems),
        skipped=view.NoteList(_notes(snapshot, report.skipped_files), report.skipped),
        rejected=view.NoteList(_notes(snapshot, report.rejected_files), report.rejected),
    )


def _folders(snapshot: Snapshot) -> tuple[v.Folder, ...]:
    """The folders with their whole paths: several may end in the same name."""
    paths = {root.root_id: root.path for root in snapshot.roots}
    return tuple(replace(folder, label=paths[folder.root_id]) for folder in local_views.folders(snapshot))


def _doubts(snapshot: Snapshot) -> tuple[view.SuspectFolder, ...]:
    return tuple(
        view.SuspectFolder(root.path, root.root_id, root.missing, root.reason, root.missing_since_ms or None)
        for root in snapshot.roots
        if root.missing
    )


def _reading(rt: Runtime, snapshot: Snapshot) -> view.AgentStatus:
    """Return how the process is that reads."""
    agent = rt.agent.state()
    state: Literal["starting", "running", "ended"] = "running"
    if agent.running and snapshot.index_id is None:
        state = "starting"
    elif not agent.running:
        state = "ended" if agent.last_output else "starting"
    words = agent.problem or ("" if agent.running else agent.last_output)
    return view.AgentStatus(state, int(agent.since * 1000) or None, words)


def _disbelieved(snapshot: Snapshot, report: AgentReport | None) -> view.NoteList:
    """Return what sidecars, headers and the WebUI's cache say: poison, and what the content contradicts."""
    labels = _labels(snapshot)
    contradicted = [
        view.FileNote(labels[row.root_id], row.path, _says(found))
        for row in snapshot.rows
        if row.claims_json and row.sha256
        for found in check_claims(row.claims, row.digests)
    ]
    refused = _notes(snapshot, report.refused_claims) if report else ()
    total = len(contradicted) + (report.refused if report else 0)
    return view.NoteList((*contradicted, *refused)[:NOTES_SHOWN], total)


def _notes(snapshot: Snapshot, notes: Sequence[ReportedFile]) -> tuple[view.FileNote, ...]:
    labels = _labels(snapshot)
    return tuple(view.FileNote(labels[note.root], note.path, note.reason) for note in notes[:NOTES_SHOWN])


def _labels(snapshot: Snapshot) -> dict[str, str]:
    """Root id -> what the folder is called."""
    known = {root.root_id: root.label or root.root_id for root in snapshot.roots}
    return defaultdict(lambda: "a folder that is not used any more", known)


def _says(found: ContradictedClaim) -> str:
    said, digest = local_views.SOURCES[found.claim.source], DIGEST_LABELS[found.claim.digest]
    return f"{said} gives the {digest} {_short(found.claim.value)}, its content has {_short(found.computed)}"


def _short(digest: str) -> str:
    return digest if len(digest) <= SHORT else f"{digest[:SHORT]}…"


def _outside(settings: WebuiSettings, alias_at_hub: str) -> tuple[view.OutsideSetting, ...]:
    """Return what the environment or stablequeue.toml fixes, in the order and words of the settings page."""
    return tuple(
        view.OutsideSetting(
            LABELS.get(item.name, item.name),
            _shown(item.name, getattr(settings, item.name)),
            _renamed(settings.alias, alias_at_hub) if item.name == "alias" else "",
        )
        for item in fields(settings)
        if item.name in settings.given_outside
    )


def _renamed(wished: str | None, alias_at_hub: str) -> str:
    """Names are unique at a hub and its owner's to change there, so a wish counts at joining only."""
    if not alias_at_hub or alias_at_hub == wished:
        return ""
    return (
        f"Counts when it joins. The hub calls it {alias_at_hub}: rename it on the hub's page, under Servers."
    )


def _shown(name: str, value: Any) -> str:
    """A value in the words of the settings page."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(" ".join(item) if isinstance(item, tuple) else str(item) for item in value)
    words = {chosen: label for item in OPTIONS if item.name == name for label, chosen in item.choices}
    return str(words.get(value, value))
