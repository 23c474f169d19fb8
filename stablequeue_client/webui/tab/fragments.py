"""What the tab shows and does, by name: the one place that knows which part makes which view.

What may wait for the hub runs in a thread of its own, so that a hub that hangs delays nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from markupsafe import Markup

from stablequeue_client.shared.errors import NotFoundError
from stablequeue_client.shared.views.job_form import Fields
from stablequeue_client.webui.parts.runtime import Runtime
from stablequeue_client.webui.tab import page, queue_actions, queue_page, setup
from stablequeue_client.webui.tab.queue_actions import ActionAnswer

T = TypeVar("T")
LOCAL_VIEWS = frozenset({"first-line", "this"})
"""Made from this process's own values, never from the hub."""
LOCAL_ACTIONS = "this/"
_hub_lane = ThreadPoolExecutor(max_workers=1, thread_name_prefix="stablequeue-hub")
_call_lane = ThreadPoolExecutor(max_workers=2, thread_name_prefix="stablequeue-calls")
"""For what a person asks of the hub, which may take its time: views are not held up by it."""

View = Callable[[Runtime, str, Mapping[str, str]], Markup]
VIEWS: dict[str, View] = {
    **page.VIEWS,
    **queue_page.VIEWS,
    "setup": lambda rt, _ident, _query: setup.setup_view(rt),
    "hub": lambda rt, _ident, _query: setup.hub_view(rt),
}
ACTIONS = {**page.ACTIONS, **setup.ACTIONS}
FORMS = {"new/text": queue_actions.from_text, "new/check": queue_actions.check}
"""What answers a form with a view instead of what was done."""


async def view(rt: Runtime, name: str, ident: str, query: Mapping[str, str]) -> Markup:
    """A view as HTML. Raises NotFoundError, and what its maker raises."""
    if name not in VIEWS:
        raise NotFoundError("There is no such view.", remedy="Start from the models.")
    make = VIEWS[name]
    return await _run(rt, name in LOCAL_VIEWS, lambda: make(rt, ident, query))


async def act(rt: Runtime, name: str, form: Mapping[str, str]) -> Markup:
    """Do what a button says; the answer is a fragment. Raises NotFoundError, and what the doing raises."""
    if name not in ACTIONS:
        raise NotFoundError("There is no such action.", remedy="Reload the page.")
    do = ACTIONS[name]
    return await _run(rt, name.startswith(LOCAL_ACTIONS), lambda: do(rt, form))


async def act_on_queue(rt: Runtime, action: str, fields: Fields) -> ActionAnswer:
    """Do at the hub what a button or a form of the queue says. Raises what ``queue_actions`` raises."""
    if action in FORMS:
        make = FORMS[action]
        return await _call(lambda: ActionAnswer(make(rt, fields)))
    if action.startswith(queue_actions.KEPT):
        return await rt.in_worker(lambda: queue_actions.act(rt, action, fields))
    return await _call(lambda: queue_actions.act(rt, action, fields))


async def form_of_picture(rt: Runtime, data: bytes) -> Markup:
    """The form for a new job, filled from a picture. Raises what ``queue_actions`` raises."""
    return await _call(lambda: queue_actions.from_picture(rt, data))


async def nav(rt: Runtime) -> tuple[str, ...]:
    """The ways that the tab shows now."""
    own = await rt.in_worker(rt.own_hub.status)
    # "Set up" stays: it shows how far the making of a hub is, and is where a WebUI leaves its hub.
    has_hub = own.has_data or own.phase != "none"
    return ("models", "queue", "this", "servers", "setup", *(("hub",) if has_hub else ()))


async def _call(call: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(_call_lane, call)


async def _run(rt: Runtime, local: bool, call: Callable[[], T]) -> T:
    if local:
        return await rt.in_worker(call)
    return await asyncio.get_running_loop().run_in_executor(_hub_lane, call)
