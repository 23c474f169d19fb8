"""The views of the queue: functions from plain values to HTML, as in ``views``."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from urllib.parse import urlencode

from markupsafe import Markup

from stablequeue_client.shared.views import job_labels
from stablequeue_client.shared.views import job_values as jv
from stablequeue_client.shared.views.views import render

TABS: dict[str, str] = {
    "": "Queue",
    "models": "Need models",
    "completed": "Done",
    "failed": "Failed",
    "all": "All",
}
"""Filter of states -> its word."""


def queue(page: jv.QueuePage) -> Markup:
    """The queue: what runs, what waits and for what, what came of it."""
    return render(
        "queue.html",
        page=page,
        pages=max(1, ceil(page.total / page.page_size)),
        tabs=[(state, word, _count(page, state)) for state, word in TABS.items()],
        states=job_labels.STATES,
        state_of=job_labels.state_of_row,
        needs=job_labels.NEEDS,
        roles=job_labels.ROLES,
        group_words=job_labels.GROUPS,
        at=lambda **changes: queue_query(page.filters, **changes),
    )


def job(details: jv.JobDetails, *, texts_here: Mapping[int, str] | None = None) -> Markup:
    """One job: pictures, models, where it can run, what happened. ``texts_here``, in a WebUI: the generation
    texts of its pictures by number, as the pages of this WebUI read them; the pictures can be sent there."""
    return render(
        "job.html",
        job=details,
        texts_here=texts_here,
        states=job_labels.STATES,
        state_of=job_labels.state_of_row,
        needs=job_labels.NEEDS,
        outcomes=job_labels.OUTCOMES,
        roles=job_labels.ROLES,
    )


def new_job(form: jv.NewJob) -> Markup:
    """The form for a new job."""
    return render("new_job.html", form=form, **_CHECK_WORDS)


def job_check(check: jv.CheckShown) -> Markup:
    """Return what a filled form needs, and who can make it."""
    return render("job_check.html", check=check, **_CHECK_WORDS)


def pick_list(found: jv.PickList) -> Markup:
    """Models to choose from."""
    return render("pick.html", found=found)


_CHECK_WORDS = {"needs": job_labels.NEEDS, "roles": job_labels.ROLES}


def _count(page: jv.QueuePage, state: str) -> int | None:
    if state == "models":
        return None
    if state == "all":
        return sum(number for _, number in page.counts)
    return page.count("pending", "processing") if state == "" else page.count(state)


def queue_query(filters: jv.QueueFilters, **changes: object) -> str:
    """The address of the queue with these filters, e.g. ``?view=queue&state=failed&page=2``."""
    names = jv.QueueFilters.__dataclass_fields__
    chosen = {name: str(changes.get(name, getattr(filters, name))) for name in names}
    if "page" not in changes:
        chosen["page"] = ""
    if chosen["page"] == "1":
        chosen["page"] = ""
    given = {"view": "queue", **{name: value for name, value in chosen.items() if value}}
    return "?" + urlencode(given, errors="replace")
