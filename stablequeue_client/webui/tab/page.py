"""The tab's views and buttons, from what is known here and what the hub says.

Views may wait about a second (for a hub that does not answer), so they are made in a worker.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from markupsafe import Markup

from stablequeue_client.hub_client.identity import default_alias
from stablequeue_client.hub_client.view_cache import HubAnswer, HubState
from stablequeue_client.index.snapshot import Snapshot
from stablequeue_client.shared.errors import StableQueueError
from stablequeue_client.shared.views import values as v
from stablequeue_client.shared.views import views
from stablequeue_client.shared.views.labels import TROUBLED_STATES, counted
from stablequeue_client.webui.parts.runtime import Runtime
from stablequeue_client.webui.settings.webui_settings import option_key
from stablequeue_client.webui.tab import local_views
from stablequeue_client.webui.tab.this_webui import this_webui, work
from stablequeue_client.webui.views import this_webui_view

PAUSE_S = 3600

Query = Mapping[str, str]


# --- the first line ---------------------------------------------------------------------------------------


def first_line(rt: Runtime) -> Markup:
    """From local values alone; the hub's state is what is known of it."""
    rt.models.refresh()
    snapshot, activity, hub = rt.models.snapshot, rt.models.progress, rt.hub.state()
    problem, action, label, needs = _most_important(rt, snapshot, hub)
    line = this_webui_view.WebuiLine(
        models=len(snapshot.models),
        reading=sum(row.state == "unhashed" for row in snapshot.others),
        eta_s=activity.eta_s if activity else None,
        waits=activity is not None and activity.phase in ("paused", "idle"),
        starting=snapshot.index_id is None,
        hub=hub_line(hub),
        servers=hub.servers,
        connected=hub.connected,
        needs=needs,
        problem=problem,
        action=action,
        action_label=label,
        work=work(rt),
        queue=rt.hub.cached_view("first-line"),
        kept=len(rt.queueing.kept.all()),
    )
    return this_webui_view.first_line(line)


def hub_line(hub: HubState) -> this_webui_view.HubLine:
    problem = v.Problem(hub.message, hub.remedy) if hub.message else None
    return this_webui_view.HubLine(hub.kind, hub.since_ms, hub.url, problem)


def _most_important(rt: Runtime, snapshot: Snapshot, hub: HubState) -> tuple[str, str, str, int]:
    """(sentence, address, label of the button, how many there are) of what needs the owner."""
    needs: list[tuple[str, str, str]] = []
    if rt.models.problem is not None:
        needs.append((rt.models.problem.message, "?view=this", "Show"))
    agent = rt.agent.state()
    if agent.problem or (agent.last_output and not agent.running):
        needs.append((agent.problem or "Reading of the folders has stopped", "?view=this", "Show"))
    own_hub = rt.own_hub.trouble()
    if own_hub:
        needs.append((own_hub, "?view=hub", "Show"))
    if hub.kind in ("old", "refused"):
        needs.append((hub.message, "?view=setup" if hub.kind == "old" else "?view=this", "Show"))
    for root in snapshot.roots:
        if root.health != "healthy":
            needs.append((f"Folder {root.label or root.root_id} is not connected", "?view=this", "Show"))
    troubled = sum(row.state in TROUBLED_STATES for row in snapshot.others)
    if troubled:
        needs.append((f"{counted(troubled, 'file')} with problems", "?view=this", "Show"))
    return (*needs[0], len(needs)) if needs else ("", "", "", 0)


# --- models and servers -----------------------------------------------------------------------------------


def models(rt: Runtime, query: Query) -> Markup:
    """The hub's matrix when it answers, else this WebUI's own list."""
    answer = rt.hub.view("models", "", query)
    if answer is not None:
        return from_hub(rt, views.models(answer.value), answer, "what each server has")
    rt.models.refresh()
    page = local_views.models_page(rt.models.snapshot, local_views.filters_of(query), alias(rt))
    return _from_here(rt, views.models(page) if rt.models.version else this_webui_view.not_yet())


def model(rt: Runtime, ident: str) -> Markup:
    """Everything known of one model: the hub's word when it answers, else what lies here.

    ``ident`` is a hash (from here, and from the WebUI's cards) or the hub's row id.
    """
    try:
        answer = rt.hub.view("model", ident)
    except StableQueueError:
        answer = None  # what the hub does not know may still lie here
    if answer is not None:
        return from_hub(rt, views.model(answer.value), answer, "this model")
    rt.models.refresh()
    try:
        details = local_views.model_details(
            rt.models.snapshot, ident, alias(rt), metadata_of=rt.models.metadata_of
        )
    except StableQueueError as error:
        return views.problem(v.Problem(error.message, error.remedy))
    return _from_here(rt, views.model(details))


def servers(rt: Runtime) -> Markup:
    """Return what the hub reports for each server, or this WebUI alone."""
    answer = rt.hub.view("servers")
    if answer is not None:
        return from_hub(rt, views.servers(answer.value), answer, "what it reports for each server")
    rt.models.refresh()
    page = local_views.servers_page(rt.models.snapshot, rt.models.progress, alias(rt))
    return _from_here(rt, views.servers(page))


def alias(rt: Runtime) -> str:
    """Return what this WebUI is called: as the hub has it, as its owner wishes, or as the computer is
    called."""
    return rt.hub.state().alias or rt.settings().alias or default_alias()


def from_hub(rt: Runtime, fragment: Markup, answer: HubAnswer, what: str) -> Markup:
    """The hub's view with the way to its own page, and since when it is known when the hub is silent."""
    hub = rt.hub.state()
    old = answer.stale and hub.kind != "connected"
    sentence = f"From the hub: {what}."
    return this_webui_view.from_hub(fragment, sentence, hub.url, answer.at_ms if old else None)


def _from_here(rt: Runtime, fragment: Markup) -> Markup:
    """This WebUI's own view with a sentence on why it stands alone."""
    hub = rt.hub.state()
    return this_webui_view.from_here(fragment, hub_line(hub))


# --- this WebUI -------------------------------------------------------------------------------------------


def this(rt: Runtime) -> Markup:
    """This WebUI: what is being read, folders, problems, settings."""
    rt.models.refresh()
    return this_webui_view.this_webui(this_webui(rt, alias(rt), hub_line(rt.hub.state())))


VIEWS: dict[str, Callable[[Runtime, str, Query], Markup]] = {
    "first-line": lambda rt, _ident, _query: first_line(rt),
    "models": lambda rt, _ident, query: models(rt, query),
    "model": lambda rt, ident, _query: model(rt, ident),
    "servers": lambda rt, _ident, _query: servers(rt),
    "this": lambda rt, _ident, _query: this(rt),
}
"""View -> (runtime, ident, query) -> fragment."""


# --- buttons ----------------------------------------------------------------------------------------------


def _order(kind: str, said: str, *names: str) -> Callable[[Runtime, Query], Markup]:
    """A button that leaves an order with the form's fields ``names``; a folder must be one of ours."""

    def press(rt: Runtime, form: Query) -> Markup:
        fields = {name: form[name] for name in names if form.get(name)}
        rt.models.refresh()
        root = fields.get("root")
        if root is not None and all(root != known.root_id for known in rt.models.snapshot.roots):
            notice = v.Notice("This WebUI has no such folder any more.", ok=False, remedy="Reload the page.")
            return views.notice(notice)
        return _ordered(rt, kind, said, **fields)

    return press


def _hashing(rt: Runtime, form: Query) -> Markup:
    mode = form.get("mode", "")
    said = {
        "now": "Reading now.",
        "later": "Reading only when asked.",
        "idle": "Reading while this computer is idle.",
        "pause": "Paused for an hour.",
    }
    if mode not in said:
        return views.notice(v.Notice("There is no such choice.", ok=False, remedy="Reload the page."))
    until_s = {"until_s": PAUSE_S} if mode == "pause" else {}
    return _ordered(rt, "hashing", said[mode], mode=mode, **until_s)


def _ordered(rt: Runtime, kind: str, said: str, **fields: object) -> Markup:
    try:
        rt.models.order(kind, **fields)
    except StableQueueError as error:
        return views.notice(v.Notice(error.message, ok=False, remedy=error.remedy))
    if not rt.agent.state().running:
        said = "It is done as soon as reading runs again."
    return views.notice(v.Notice(said))


def _not_now(rt: Runtime, _form: Query) -> Markup:
    rt.runner.not_now()
    return views.notice(v.Notice("No jobs from others for an hour."))


def _help_again(rt: Runtime, _form: Query) -> Markup:
    rt.runner.resume_helping()
    return views.notice(v.Notice("Jobs from others run here again."))


def _never_help(rt: Runtime, _form: Query) -> Markup:
    if not rt.host.set_option(option_key("works_for_others"), "never"):
        notice = v.Notice("The WebUI's settings are frozen.", ok=False, remedy="Start it without that.")
        return views.notice(notice)
    rt.runner.not_now()
    return views.notice(v.Notice("No jobs from others run here from now on."))


ACTIONS: dict[str, Callable[[Runtime, Query], Markup]] = {
    "this/rescan": _order("rescan", "The folders are being checked.", "root"),
    "this/sync": _order("sync", "Syncing with the hub."),
    "this/hashing": _hashing,
    "this/accept-removals": _order("accept_removals", "The missing files count as removed.", "root"),
    "this/not-now": _not_now,
    "this/help-again": _help_again,
    "this/never-help": _never_help,
    "this/put-back": _order(
        "put_back", "It is being checked; it gets its name back if it is whole.", "root", "path"
    ),
}
"""Button -> (runtime, form) -> what happened, as a fragment."""
