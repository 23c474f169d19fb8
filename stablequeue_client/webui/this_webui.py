"""Everything of this WebUI, gathered as the value of its view."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Literal

from stablequeue_client import local_page
from stablequeue_client.claims import Contradiction, check_claims
from stablequeue_client.local_models import Snapshot
from stablequeue_client.ui import this_webui_view as view
from stablequeue_client.webui import old_extension
from stablequeue_client.webui.options import LABELS
from stablequeue_client.webui.runtime import Runtime
from stablequeue_client.webui.webui_settings import WebuiSettings

NOTES_SHOWN = 20


def this_webui(rt: Runtime, alias: str, hub: view.HubLine) -> view.ThisWebui:
    """The value, from what is known now."""
    snapshot, settings = rt.models.snapshot, rt.settings()
    unread = [row for row in snapshot.others if local_page.is_unread(row)]
    notes = _notes(snapshot)
    copies = old_extension.other_copies(rt.host.extension_dirs(), rt.places.extension_dir)
    return view.ThisWebui(
        alias=alias,
        reading=_reading(rt, snapshot),
        hub=hub,
        progress=local_page.progress_value(rt.models.progress),
        waiting=len(unread),
        waiting_bytes=sum(row.size for row in unread),
        when=settings.hashing,
        folders=local_page.folders(snapshot),
        missing=tuple(
            (root.root_id, root.missing, root.reason)
            for root in snapshot.roots
            if root.health != "healthy" and root.missing
        ),
        troubled=local_page.troubled_files(snapshot, snapshot.others, alias),
        unread=local_page.unread_files(snapshot, snapshot.others, alias),
        notes=tuple(notes[:NOTES_SHOWN]),
        notes_total=len(notes),
        private=settings.private,
        problem=rt.models.problem,
        mistakes=settings.mistakes,
        outside=_outside(settings),
        old_copies=tuple(str(path) for path in copies),
    )


def _reading(rt: Runtime, snapshot: Snapshot) -> view.Reading:
    """How the process is that reads."""
    agent = rt.agent.state()
    state: Literal["starting", "running", "ended"] = "running"
    if agent.running and snapshot.index_id is None:
        state = "starting"
    elif not agent.running:
        state = "ended" if agent.last_words else "starting"
    words = agent.problem or ("" if agent.running else agent.last_words)
    return view.Reading(state, int(agent.since * 1000) or None, words)


def _notes(snapshot: Snapshot) -> list[view.FileNote]:
    """What sidecars, headers and the WebUI's cache say of files, and their content contradicts."""
    labels = {root.root_id: root.label for root in snapshot.roots}
    return [
        view.FileNote(labels.get(row.root_id) or row.root_id, row.path, _says(found))
        for row in snapshot.rows
        if row.claims_json and row.sha256
        for found in check_claims(row.claims, row.digests)
    ]


def _says(found: Contradiction) -> str:
    said, digest = local_page.SOURCES[found.claim.source], local_page.DIGESTS[found.claim.digest]
    return f"{said} gives the {digest} {found.claim.value[:12]}; the content has {found.computed[:12]}."


def _outside(settings: WebuiSettings) -> tuple[view.OutsideSetting, ...]:
    """What the environment or stablequeue.toml fixes, in the order and words of the settings page."""
    return tuple(
        view.OutsideSetting(LABELS.get(item.name, item.name), _shown(getattr(settings, item.name)))
        for item in fields(settings)
        if item.name in settings.given_outside
    )


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(" ".join(item) if isinstance(item, tuple) else str(item) for item in value)
    return str(value)
