"""The page: its shell, its views as fragments, and what its buttons do.

A fragment carries its ETag; the script asks every two seconds and gets 304 while nothing changed. The views
of ``VIEW_TYPES`` are answered as values (JSON) to who accepts that: a WebUI's tab renders them itself.
Buttons post urlencoded forms and get a fragment that says what happened.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, get_args
from urllib.parse import urlencode

import msgspec
from fastapi import APIRouter
from markupsafe import Markup
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from stablequeue_client import __version__
from stablequeue_client.shared.errors import (
    AuthenticationError,
    ForbiddenError,
    InvalidValueError,
    NotFoundError,
    StableQueueError,
)
from stablequeue_client.shared.views import job_views, transfer_views, views
from stablequeue_client.shared.views import values as v
from stablequeue_client.shared.views.view_types import VIEW_TYPES
from stablequeue_client.shared.wire.orders import HashingOrder, OrderKind
from stablequeue_hub.access.network import network_info
from stablequeue_hub.actions.access import create_join_code, create_key, revoke_key, set_reachable
from stablequeue_hub.actions.servers import forget_server, give_order, rename_server, thaw_server
from stablequeue_hub.http.authorisation import authorise
from stablequeue_hub.http.openapi import described
from stablequeue_hub.http.request_context import hub_of, page_base, principal_of
from stablequeue_hub.http.responses import wants_value
from stablequeue_hub.page import job, keys, model, models, new_job, queue, servers, transfers
from stablequeue_hub.page.forms import fields_of, text_response
from stablequeue_hub.page.sample import is_sample
from stablequeue_hub.servers.orders import OrderRequest

router = APIRouter(include_in_schema=False)
PAUSE_S = 3600
OWNERS_VIEWS = frozenset({"keys", "join"})
SUBMITTERS_VIEWS = frozenset({"new", "pick"})
TITLES = {"job": "Job", "new": "New job"}


# --- looking --------------------------------------------------------------------------------------------


@router.get("/", **described("public", media_type="text/html"))
async def home(request: Request) -> Response:
    """The page; without a session the way to the login form, and nothing else."""
    try:
        request.state.principal = await authorise(request, "read")
    except AuthenticationError:
        return RedirectResponse(f"{page_base(request)}/login", 303)
    view = request.query_params.get("view", "models")
    fragment, status = await _view(request, view, request.query_params.get("id", ""))
    line, _ = await _view(request, "first-line")
    shell = v.Shell(
        title=views.NAV.get(view) or TITLES.get(view, "Model"),
        view=view,
        first_line=line,
        fragment=fragment,
        sample=is_sample(hub_of(request).settings.data_dir),
        version=__version__,
        base=page_base(request),
        nav=tuple(name for name in views.NAV if name not in OWNERS_VIEWS or _may_change(request)),
    )
    return HTMLResponse(views.shell(shell), status)


@router.get("/queue", **described("public", media_type="text/html", status=303))
async def queue_address(request: Request) -> Response:
    """A short way to the queue."""
    return RedirectResponse(f"{page_base(request)}/?view=queue", 303)


@router.get("/jobs/{job_id}", **described("public", media_type="text/html", status=303))
async def job_address(request: Request, job_id: str) -> Response:
    """A short way to a job."""
    return RedirectResponse(
        f"{page_base(request, below='..')}/?{urlencode({'view': 'job', 'id': job_id})}", 303
    )


@router.get("/new", **described("public", media_type="text/html", status=303))
async def new_address(request: Request) -> Response:
    """A short way to the form for a new job."""
    return RedirectResponse(f"{page_base(request)}/?view=new", 303)


@router.get("/views/{view}", **described("read", media_type="text/html"))
async def view_fragment(request: Request, view: str) -> Response:
    """One view as a fragment, or as its value."""
    return await _answer(request, view)


@router.get("/views/{view}/{ident}", **described("read", media_type="text/html"))
async def view_fragment_of(request: Request, view: str, ident: str) -> Response:
    """One view of one thing: a model."""
    return await _answer(request, view, ident)


async def _answer(request: Request, view: str, ident: str = "") -> Response:
    if wants_value(request):
        return _tagged(request, *await _value(request, view, ident), media_type="application/json")
    fragment, status = await _view(request, view, ident)
    return _tagged(request, fragment.encode(), status, media_type="text/html")


def _tagged(request: Request, content: bytes, status: int, *, media_type: str) -> Response:
    headers = {"ETag": views.etag(content), "Vary": "Accept"}
    if status == 200 and request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return Response(content, status, headers, media_type=media_type)


async def _view(request: Request, view: str, ident: str = "") -> tuple[Markup, int]:
    """The fragment and its status; what goes wrong is a view too."""
    try:
        source = _view_source(request, view, ident)
        await _prepare_positions(request, view)
        return await hub_of(request).reading(lambda c: source.render(source.make(c))), 200
    except StableQueueError as error:
        return views.problem(v.Problem(error.message, error.remedy)), error.http_status


async def _value(request: Request, view: str, ident: str) -> tuple[bytes, int]:
    """The view's value as JSON. What goes wrong is raised: programs get errors in the form of the API's."""
    if view not in VIEW_TYPES:
        raise NotFoundError("There is no such view.", remedy=f"As values there are {', '.join(VIEW_TYPES)}.")
    source = _view_source(request, view, ident)
    await _prepare_positions(request, view)
    return await hub_of(request).reading(lambda c: msgspec.json.encode(source.make(c))), 200


async def _prepare_positions(request: Request, view: str) -> None:
    """Load what places in the queue depend on, for the views that show them."""
    if view in ("queue", "job"):
        await hub_of(request).dispatcher.refresh_stocks()


class _ViewSource(NamedTuple):
    """How a view comes from the database, in a worker thread: first its value, then its HTML."""

    make: Callable[[Connection], Any]
    render: Callable[[Any], Markup]


def _view_source(request: Request, view: str, ident: str) -> _ViewSource:
    """Raises NotFoundError, ForbiddenError."""
    hub, may_change = hub_of(request), _may_change(request)
    live, now_ms = hub.presence, hub.clock.now_ms()
    filters = models.filters_of(request.query_params)
    network = network_info(hub.host, hub.settings.port) if view == "join" else None
    dispatch, viewer = hub.dispatcher, queue.Viewer.of(principal_of(request))
    query, own_server = request.query_params, principal_of(request).server_id
    queue_filters = queue.filters_of(query)
    known = {
        "first-line": _ViewSource(lambda c: servers.first_line(c, live, viewer), views.first_line),
        "models": _ViewSource(lambda c: models.models_page(c, filters, live, now_ms=now_ms), views.models),
        "model": _ViewSource(lambda c: model.details_page(c, ident, live, now_ms=now_ms), views.model),
        "servers": _ViewSource(lambda c: servers.servers_page(c, live, may_change=may_change), views.servers),
        "queue": _ViewSource(
            lambda c: queue.queue_page(c, queue_filters, live, dispatch, viewer, now_ms=now_ms),
            job_views.queue,
        ),
        "job": _ViewSource(
            lambda c: job.job_details(c, ident, live, dispatch, viewer, now_ms=now_ms), job_views.job
        ),
        "new": _ViewSource(
            lambda c: new_job.new_job(
                c, query.get("from", "")[:64], "", live, own_server=own_server, now_ms=now_ms
            ),
            job_views.new_job,
        ),
        "pick": _ViewSource(lambda c: new_job.pick_list(c, query, live, now_ms=now_ms), job_views.pick_list),
        "transfers": _ViewSource(
            lambda c: transfers.transfers_page(c, may_change=may_change), transfer_views.transfers
        ),
        "keys": _ViewSource(lambda c: keys.keys_page(c, now_ms=now_ms), views.keys),
        "join": _ViewSource(lambda _: keys.join_page(network) if network else None, views.join),
    }
    if view not in known:
        raise NotFoundError("There is no such view.", remedy="Start from the models.")
    if view in OWNERS_VIEWS and not may_change:
        raise ForbiddenError("Only the owner may see this.", remedy="Sign in with an admin key.")
    if view in SUBMITTERS_VIEWS and not viewer.may_submit:
        raise ForbiddenError("This key is read-only.", remedy="Sign in with a key for jobs.")
    return known[view]


def _may_change(request: Request) -> bool:
    return principal_of(request).scope == "admin"


# --- doing ----------------------------------------------------------------------------------------------


@router.post("/views/servers/{server_id}/orders", **described("admin", media_type="text/html"))
async def order(request: Request, server_id: str) -> Response:
    """Ask a server to do something."""
    wanted = _order(dict(await fields_of(request)))
    await give_order(hub_of(request), principal_of(request).actor, server_id, wanted)
    return text_response("Requested. The server starts within 10 seconds.")


def _order(form: dict[str, str]) -> OrderRequest:
    kind, mode = form.get("kind"), form.get("mode") or None
    if kind not in get_args(OrderKind):
        raise InvalidValueError("There is no such order.", remedy="Reload the page.")
    if mode not in (None, *get_args(HashingOrder)):
        raise InvalidValueError("There is no such mode.", remedy="Reload the page.")
    until_s = PAUSE_S if mode == "pause" else None
    return OrderRequest(kind, form.get("root") or None, form.get("path") or None, mode, until_s)  # type: ignore[arg-type]


@router.post("/views/servers/{server_id}/rename", **described("admin", media_type="text/html"))
async def rename(request: Request, server_id: str) -> Response:
    """Give a server another name."""
    alias = dict(await fields_of(request)).get("alias", "")
    await rename_server(hub_of(request), principal_of(request).actor, server_id, alias)
    return text_response("Renamed.")


@router.post("/views/servers/{server_id}/forget", **described("admin", media_type="text/html"))
async def forget(request: Request, server_id: str) -> Response:
    """Forget a server and what is known of its files."""
    await forget_server(hub_of(request), principal_of(request).actor, server_id)
    return text_response("Forgotten.")


@router.post("/views/servers/{server_id}/thaw", **described("admin", media_type="text/html"))
async def thaw(request: Request, server_id: str) -> Response:
    """End a freeze."""
    await thaw_server(hub_of(request), principal_of(request).actor, server_id)
    return text_response("Resumed.")


@router.post("/views/keys", **described("admin", media_type="text/html"))
async def make_key(request: Request) -> Response:
    """A new key, shown this once."""
    form, actor = dict(await fields_of(request)), principal_of(request).actor
    key = await create_key(hub_of(request), actor, form.get("scope", ""), form.get("name", "").strip())
    return HTMLResponse(views.new_key(v.NewKey(key.key_id, key.scope, key.name, key.key)))


@router.post("/views/keys/{key_id}/revoke", **described("admin", media_type="text/html"))
async def revoke(request: Request, key_id: str) -> Response:
    """Make a key worthless, for good."""
    await revoke_key(hub_of(request), principal_of(request).actor, key_id)
    return text_response("Revoked.")


@router.post("/views/join/network", **described("admin", media_type="text/html"))
async def reach(request: Request) -> Response:
    """Open the hub to the network, or close it again."""
    reachable = dict(await fields_of(request)).get("reachable") == "true"
    await set_reachable(hub_of(request), principal_of(request).actor, reachable)
    return text_response(
        "The hub listens on your network now." if reachable else "Now only this computer can reach the hub."
    )


@router.post("/views/join/code", **described("admin", media_type="text/html"))
async def join_code(request: Request) -> Response:
    """The ways to join one more computer, with a fresh code."""
    hub, form = hub_of(request), dict(await fields_of(request))
    wanted = keys.join_target(
        network_info(hub.host, hub.settings.port),
        address=form.get("address", ""),
        alias=form.get("alias", "").strip(),
        webui=form.get("webui", "").strip(),
    )
    code = await create_join_code(hub, principal_of(request).actor)
    return HTMLResponse(views.join_line(keys.join_line(wanted, code)))
