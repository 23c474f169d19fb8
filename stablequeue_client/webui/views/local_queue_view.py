"""What of the queue is in this WebUI alone, and the tab's words where the hub's queue cannot be shown."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from stablequeue_client.shared.views import values as v
from stablequeue_client.shared.views.views import render
from stablequeue_client.webui.views.this_webui_view import HubLine


@dataclass(frozen=True)
class OutboxRow:
    """A job that was queued here and that the hub does not have. ``refused``: why it does not take it; ""
    while the job waits."""

    key: str
    title: str
    made_ms: int
    count: int = 1
    refused: str = ""


@dataclass(frozen=True)
class KeptPictures:
    """Pictures of a run that did not get to the hub: why, and the folder in which they lie."""

    reason: str
    folder: str


@dataclass(frozen=True)
class LocalQueue:
    """``waiting`` and ``refused``: the first of the kept jobs of either kind, out of ``waiting_total`` and
    ``refused_total``. ``results``: finished jobs whose pictures the hub does not have yet. ``kept_pictures``:
    the last of those that it will not get, out of ``kept_pictures_total``."""

    waiting: tuple[OutboxRow, ...] = ()
    waiting_total: int = 0
    refused: tuple[OutboxRow, ...] = ()
    refused_total: int = 0
    results: int = 0
    kept_pictures: tuple[KeptPictures, ...] = ()
    kept_pictures_total: int = 0


def queue(here: LocalQueue, fragment: Markup, hub: HubLine) -> Markup:
    """The queue's view: what waits here, then the hub's ``fragment``."""
    return render("webui_queue.html", here=here, fragment=fragment, hub=hub)


def without_hub(hub: HubLine) -> Markup:
    """In the place of the hub's queue while it is not known: why, and what to do."""
    return render("webui_no_queue.html", hub=hub)


def too_old(url: str) -> Markup:
    """The hub does not give this view to a WebUI."""
    problem = v.Problem(f"The hub at {url} is too old to show its queue here.", "Update the hub.")
    return render("problem.html", problem=problem)
