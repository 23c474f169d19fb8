"""The line beside the Queue buttons: what became of the last press and of kept jobs. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from stablequeue_client.shared.views import views
from stablequeue_client.webui.views.prompt_check_view import SIGNS, Tone


@dataclass(frozen=True)
class QueueItem:
    """One thing to say. ``job_id``: a job to look at; ``key``: a refused one, to send again or throw away;
    ``start_hub``: there is none, and it can be started here."""

    tone: Tone
    text: str
    job_id: str = ""
    key: str = ""
    start_hub: bool = False


def queue_line(items: tuple[QueueItem, ...]) -> Markup:
    """The line; empty when there is nothing to say."""
    return views.render("queue_line.html", items=items, signs=SIGNS) if items else Markup("")
