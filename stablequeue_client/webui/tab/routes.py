"""The extension's routes below ``/stablequeue/v1/``, documented in docs/extension-api.md.

One ASGI application answers all of them, whatever the method, so that without the token nothing can be told
from a WebUI that has no such routes. Nothing here blocks: what takes time runs in threads of our own.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from stablequeue_client import __version__
from stablequeue_client.shared.errors import (
    InvalidValueError,
    NotFoundError,
    StableQueueError,
    TooLargeError,
    UsageError,
)
from stablequeue_client.shared.model_files.model_file import KINDS
from stablequeue_client.shared.views import values as v
from stablequeue_client.shared.views import views
from stablequeue_client.shared.wire.runner import PICTURE_MAX_BYTES
from stablequeue_client.webui.host import updated
from stablequeue_client.webui.parts.runtime import Runtime
from stablequeue_client.webui.tab import fragments, pictures, queue_actions
from stablequeue_client.webui.tab.local_answers import inventory, status
from stablequeue_client.webui.tab.request_guard import RequestGuard

PREFIX = "/stablequeue/v1/"
FORM_MAX_BYTES = 16 * 1024
CHECK_MAX_BYTES = 512 * 1024
BODY_TIMEOUT_S = 10.0
PICTURE_TIMEOUT_S = 60.0
PAGE_DEFAULT, PAGE_MAX = 1000, 5000
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-StableQueue-Version": __version__,
}
NAV_HEADER = "X-StableQueue-Nav"
GO_HEADER = "X-StableQueue-Go"
"""Tells the script which place to show then."""
SEE_DOCS = "See docs/extension-api.md."
log = logging.getLogger("stablequeue")


@dataclass(frozen=True)
class RouteRequest:
    """A request that may be answered, and its path as the route's pattern read it."""

    rt: Runtime
    request: Request
    match: re.Match[str]


Handler = Callable[[RouteRequest], Awaitable[Response]]


def add(rt: Runtime, app: Any) -> None:
    """Hang our routes into a (new) FastAPI or Starlette app; a second call for the same app does nothing."""
    path = PREFIX + "{rest:path}"
    if all(getattr(route, "path", None) != path for route in app.router.routes):
        app.add_route(path, Routes(rt), include_in_schema=False)


class Routes:
    """The ASGI application behind the prefix."""

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt
        self._guard = RequestGuard(rt.token, lambda: rt.settings().allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        if not self._guard.knows(headers):
            raise HTTPException(404)  # the host's own answer to what is not there
        try:
            self._guard.check(request.method, headers)
            answer = await self._answer(request)
        except ClientDisconnect:
            return
        except StableQueueError as error:
            answer = _error(error)
        except Exception:
            log.exception("StableQueue: a route failed.")
            answer = _error(StableQueueError(remedy="The WebUI's log has more; reload the page."))
        answer.headers.update(HEADERS)
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        rest = request.path_params["rest"]
        method = "GET" if request.method == "HEAD" else request.method
        known = False
        for wanted, pattern, handler in _ROUTES:
            match = pattern.fullmatch(rest)
            known = known or match is not None
            if match and wanted == method:
                return await handler(RouteRequest(self._rt, request, match))
        if known:
            raise WrongMethodError()
        raise NotFoundError("There is no such route.", remedy=SEE_DOCS)


class WrongMethodError(UsageError):
    """This route does not take that method."""

    code = "wrong_method"
    http_status = 405
    remedy_text = SEE_DOCS


# --- what the routes do -----------------------------------------------------------------------------------


async def _status(asked: RouteRequest) -> Response:
    return _json(await asked.rt.in_worker(lambda: status(asked.rt)))


async def _inventory(asked: RouteRequest) -> Response:
    rt, request = asked.rt, asked.request
    offset = _number(request, "offset", 0, 0, 10**9)
    limit = _number(request, "limit", PAGE_DEFAULT, 1, PAGE_MAX)
    return _json(await rt.in_worker(lambda: inventory(rt, offset, limit)))


async def _rescan(asked: RouteRequest) -> Response:
    await asked.rt.in_worker(lambda: asked.rt.models.order("rescan"))
    return _json({"asked": "rescan"})


async def _sync(asked: RouteRequest) -> Response:
    await asked.rt.in_worker(lambda: asked.rt.models.order("sync"))
    return _json({"asked": "sync"})


async def _check(asked: RouteRequest) -> Response:
    asked.rt.runner.note_use()  # somebody writes a prompt
    values = await _values(asked.request, CHECK_MAX_BYTES)
    return _json(await asked.rt.in_worker(lambda: asked.rt.prompt_check.check(values)))


async def _marks(asked: RouteRequest) -> Response:
    wanted = asked.request.query_params.get("kind", "")
    kind = next((kind for kind in KINDS if kind == wanted), None)
    if kind is None:
        raise InvalidValueError("There is no such kind of model.", remedy=f"Use one of {', '.join(KINDS)}.")
    content = await asked.rt.in_worker(lambda: asked.rt.card_marks.marks(kind))
    return _tagged(asked.request, content, "application/json")


async def _view(asked: RouteRequest) -> Response:
    name, query = asked.match["name"], dict(asked.request.query_params)
    try:
        html = await fragments.view(asked.rt, name, asked.match["ident"] or "", query)
    except StableQueueError as error:
        return _problem(error)
    except Exception:
        if updated.changed():  # then its templates may be gone, also that for problems
            return Response(updated.sentences(), 500, media_type="text/html")
        log.exception("StableQueue: the view %s could not be made.", name)
        return _problem(StableQueueError("This view could not be made.", remedy="The WebUI's log says why."))
    answer = _tagged(asked.request, html.encode(), "text/html")
    if name == "first-line":
        answer.headers[NAV_HEADER] = ",".join(await fragments.nav(asked.rt))
    return answer


async def _picture(asked: RouteRequest) -> Response:
    data = await pictures.picture(asked.rt, asked.match["job"], int(asked.match["number"]))
    # A PNG is compressed already, and the host would do it again in its event loop.
    return Response(data, headers={"Content-Encoding": "identity"}, media_type=pictures.MEDIA_TYPE)


async def _queue_answer(asked: RouteRequest) -> Response:
    rt, query = asked.rt, asked.request.query_params
    if asked.match["what"] == "choices":
        return _json(await rt.in_worker(rt.queue_line.choices))
    tab, press = query.get("tab", ""), query.get("press", "")
    return _json(await rt.in_worker(lambda: rt.queue_line.line(tab, press)))


async def _queue_change(asked: RouteRequest) -> Response:
    rt, what, values = asked.rt, asked.match["what"], await _values(asked.request, FORM_MAX_BYTES)
    if what == "press":
        rt.runner.note_use()
        return _json(await rt.in_worker(lambda: rt.queue_line.announce(values)))
    return _json(await rt.in_worker(lambda: rt.queue_line.change(what, values)))


async def _act(asked: RouteRequest) -> Response:
    fields = await _form(asked.request, FORM_MAX_BYTES, 32)
    html = await fragments.act(asked.rt, asked.match["action"], dict(fields))
    return Response(html, media_type="text/html")


async def _act_on_queue(asked: RouteRequest) -> Response:
    fields = await _form(asked.request, queue_actions.FORM_MAX_BYTES, queue_actions.FIELDS_MAX)
    asked.rt.runner.note_use()
    done = await fragments.act_on_queue(asked.rt, asked.match["action"], fields)
    headers = {GO_HEADER: done.go} if done.go else {}
    return Response(done.html, headers=headers, media_type="text/html")


async def _form_of_picture(asked: RouteRequest) -> Response:
    data = await _body(asked.request, PICTURE_MAX_BYTES, PICTURE_TIMEOUT_S)
    return Response(await fragments.form_of_picture(asked.rt, data), media_type="text/html")


_ROUTES: tuple[tuple[str, re.Pattern[str], Handler], ...] = tuple(
    (method, re.compile(pattern), handler)
    for method, pattern, handler in (
        ("GET", r"status", _status),
        ("GET", r"inventory", _inventory),
        ("POST", r"rescan", _rescan),
        ("POST", r"sync", _sync),
        ("POST", r"check", _check),
        ("GET", r"marks", _marks),
        ("GET", r"queue/(?P<what>choices|line)", _queue_answer),
        ("POST", r"queue/(?P<what>press|again|throw-away)", _queue_change),
        ("GET", r"jobs/(?P<job>[0-9a-f-]{36})/pictures/(?P<number>[0-9]{1,4})", _picture),
        ("GET", r"views/(?P<name>[a-z-]{1,40})(?:/(?P<ident>[^/]{1,200}))?", _view),
        ("POST", r"views/new/picture", _form_of_picture),
        ("POST", r"views/(?P<action>(?:jobs|queue|new)/[a-z0-9/-]{1,120})", _act_on_queue),
        ("POST", r"views/(?P<action>[a-z/-]{1,80})", _act),
    )
)


# --- bodies and answers -----------------------------------------------------------------------------------


async def _values(request: Request, limit: int) -> dict[str, Any]:
    """The body as a JSON object. Raises InvalidValueError, and what ``_body`` raises."""
    body = await _body(request, limit)
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidValueError("The body is nott a JSON object.", remedy=SEE_DOCS) from error


async def _form(request: Request, limit: int, most_fields: int) -> list[tuple[str, str]]:
    """The fields of a form, in order. Raises InvalidValueError, and what ``_body`` raises."""
    body = await _body(request, limit)
    try:
        return parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=most_fields)
    except ValueError as error:
        raise InvalidValueError("The form has too many fields.", remedy="Reload the page.") from error


async def _body(request: Request, limit: int, timeout_s: float = BODY_TIMEOUT_S) -> bytes:
    """The body. Raises TooLargeError beyond ``limit`` bytes, UsageError when it does not come."""
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > limit:
        raise TooLargeError("The request is larger than this route accepts.", remedy="Send less at once.")
    try:
        return await asyncio.wait_for(_read(request, limit), timeout_s)
    except asyncio.TimeoutError as error:
        raise UsageError("The request body did not arrive.", remedy="Send it again.") from error


async def _read(request: Request, limit: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise TooLargeError("The request is larger than this route accepts.", remedy="Send less at once.")
    return bytes(body)


def _number(request: Request, name: str, default: int, lowest: int, highest: int) -> int:
    text = request.query_params.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,10}", text) or not lowest <= int(text) <= highest:
        raise InvalidValueError(f"{name} is not a number from {lowest} to {highest}.", remedy="Leave it out.")
    return int(text)


def _json(value: Any, http_status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), http_status, media_type="application/json")


def _error(error: StableQueueError) -> Response:
    return _json({"error": error.as_wire()}, error.http_status)


def _problem(error: StableQueueError) -> Response:
    """The error as a view: shown where the view would stand."""
    html = views.problem(v.Problem(error.message, error.remedy))
    return Response(html, error.http_status, media_type="text/html")


def _tagged(request: Request, content: bytes, media_type: str) -> Response:
    headers: Mapping[str, str] = {"ETag": views.etag(content)}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=dict(headers))
    return Response(content, headers=dict(headers), media_type=media_type)
