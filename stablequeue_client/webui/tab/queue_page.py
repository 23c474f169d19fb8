"""The queue in the tab: the hub's values rendered here, after what waits in this WebUI alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from markupsafe import Markup

from stablequeue_client.hub_client.view_cache import HubAnswer
from stablequeue_client.shared.errors import NotFoundError, StableQueueError
from stablequeue_client.shared.views import job_values as jv
from stablequeue_client.shared.views import job_views, views
from stablequeue_client.shared.views import values as v
from stablequeue_client.webui.parts.runtime import Runtime
from stablequeue_client.webui.tab.local_infotext import local_text
from stablequeue_client.webui.tab.local_names import local_renamings
from stablequeue_client.webui.tab.local_queue import local_queue
from stablequeue_client.webui.tab.page import from_hub, hub_line
from stablequeue_client.webui.views import local_queue_view

Query = Mapping[str, str]


def queue(rt: Runtime, query: Query) -> Markup:
    """Return what runs, what waits and for what, what came of it."""
    found = _asked(rt, "queue", "", query, job_views.queue, "the jobs of all servers")
    return local_queue_view.queue(local_queue(rt), found, hub_line(rt.hub.state()))


def job(rt: Runtime, ident: str) -> Markup:
    """One job in full."""
    return _asked(rt, "job", ident, {}, lambda value: _job(rt, value), "everything about this job")


def new(rt: Runtime, query: Query) -> Markup:
    """The form for a new job, empty or from a job."""
    answer = _answer(rt, "new", "", query)
    return answer if isinstance(answer, Markup) else job_views.new_job(answer.value)


def pick(rt: Runtime, query: Query) -> Markup:
    """Models to choose from."""
    answer = _answer(rt, "pick", "", query)
    return answer if isinstance(answer, Markup) else job_views.pick_list(answer.value)


VIEWS: dict[str, Callable[[Runtime, str, Query], Markup]] = {
    "queue": lambda rt, _ident, query: queue(rt, query),
    "job": lambda rt, ident, _query: job(rt, ident),
    "new": lambda rt, _ident, query: new(rt, query),
    "pick": lambda rt, _ident, query: pick(rt, query),
}


def _job(rt: Runtime, details: jv.JobDetails) -> Markup:
    renamings = local_renamings(details.models, rt.models.by_sha256)
    samplers = rt.host.sampler_names()
    texts = {one.number: local_text(one.infotext, renamings, samplers) for one in details.pictures}
    return job_views.job(details, texts_here=texts)


def _asked(
    rt: Runtime, name: str, ident: str, query: Query, render: Callable[..., Markup], what: str
) -> Markup:
    answer = _answer(rt, name, ident, query)
    return answer if isinstance(answer, Markup) else from_hub(rt, render(answer.value), answer, what)


def _answer(rt: Runtime, name: str, ident: str, query: Query) -> HubAnswer | Markup:
    """The hub's value; or, in its place, the view that says why there is none."""
    try:
        answer = rt.hub.view(name, ident, query)
    except NotFoundError as error:
        if name in ("job", "new") and _has_queue(rt):
            return _problem(error)
        return local_queue_view.too_old(rt.hub.state().url)
    except StableQueueError as error:
        return _problem(error)
    return local_queue_view.without_hub(hub_line(rt.hub.state())) if answer is None else answer


def _has_queue(rt: Runtime) -> bool:
    """The hub gives its queue to a WebUI: then what it does not know is a job."""
    try:
        return rt.hub.view("queue") is not None
    except StableQueueError:
        return False


def _problem(error: StableQueueError) -> Markup:
    return views.problem(v.Problem(error.message, error.remedy))
