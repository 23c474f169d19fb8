"""Signing in to the page: one-time codes, the login form, the cookie."""

from __future__ import annotations

from urllib.parse import parse_qs

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from stablequeue_client.shared.errors import AuthenticationError, StableQueueError
from stablequeue_hub.access.keys import Principal, parse_key
from stablequeue_hub.access.sessions import CODE_TTL_S, IDLE_MS, cookie_name
from stablequeue_hub.actions.access import close_session, open_session
from stablequeue_hub.errors import CodeError
from stablequeue_hub.http.authorisation import check_key, check_throttle, client_address, session_of
from stablequeue_hub.http.login_form import login_form
from stablequeue_hub.http.openapi import described
from stablequeue_hub.http.request_bodies import read_body
from stablequeue_hub.http.request_context import hub_of, page_base
from stablequeue_hub.http.responses import json_answer
from stablequeue_hub.hub import Hub
from stablequeue_hub.page.sample import is_sample

router = APIRouter(tags=["page"])
FORM_MAX_BYTES = 4096
_KEY_REMEDY = (
    "Give the whole key, from sq_ on. `stablequeue keys create` on the hub's computer makes another one; "
    "`stablequeue up` opens the page signed in."
)


class SessionCode(msgspec.Struct, frozen=True):
    """Open ``/login?code=...`` within ``expires_in_s`` seconds; it works once."""

    code: str
    expires_in_s: int = int(CODE_TTL_S)


@router.post("/api/v1/session-codes", **described("admin", answer=SessionCode, status=201))
async def session_code(request: Request) -> Response:
    """A one-time code that signs a browser in."""
    return json_answer(SessionCode(hub_of(request).codes.create()), 201)


@router.get("/login", **described("public", media_type="text/html"))
async def login_page(request: Request, code: str | None = None) -> Response:
    """The form, or the page for who is signed in already; with ``code``, the exchange of a one-time code
    for the page's session."""
    hub = hub_of(request)
    if code is None:
        signed_in = await session_of(request) is not None
        return RedirectResponse(f"{page_base(request)}/", 303) if signed_in else _form(request)
    try:
        _use_code(hub, request, code)
        return await _signed_in(request, None)
    except StableQueueError as error:
        return _form(request, error)


@router.post("/login", **described("public", status=303, media_type="text/html"))
async def login(request: Request) -> Response:
    """Sign in with a key (or a one-time code) from the form's field ``key``."""
    hub = hub_of(request)
    body = await read_body(request, FORM_MAX_BYTES)
    given = parse_qs(body.decode("utf-8", "replace")).get("key", [""])[0].strip()
    try:
        credentials = parse_key(given)
        opener: Principal | None = None
        if credentials is None:
            _use_code(hub, request, given)
        else:
            opener = await check_key(hub, request, credentials)
        return await _signed_in(request, opener)
    except CodeError:  # what a person types is a key; codes come in links
        return _form(request, AuthenticationError("This is not a valid key.", remedy=_KEY_REMEDY))
    except StableQueueError as error:
        return _form(request, error)


@router.post("/logout", **described("public", status=303, media_type="text/html"))
async def logout(request: Request) -> Response:
    """End the page's session."""
    hub = hub_of(request)
    name = cookie_name(hub.settings.port)
    token = request.cookies.get(name)
    if token:
        await close_session(hub, token)
    answer = RedirectResponse(f"{page_base(request)}/login", 303)
    answer.delete_cookie(name, path=None, httponly=True, samesite="strict")  # type: ignore[arg-type]
    return answer


def _form(request: Request, error: StableQueueError | None = None) -> Response:
    sample = is_sample(hub_of(request).settings.data_dir)
    html = login_form(error, sample=sample, base=page_base(request))
    return HTMLResponse(html, error.http_status if error else 200)


def _use_code(hub: Hub, request: Request, code: str) -> None:
    try:
        hub.codes.use(code)
    except CodeError:
        check_throttle(hub, request)
        hub.login_throttle.record_failure(client_address(request))
        raise


async def _signed_in(request: Request, opener: Principal | None) -> Response:
    """The session's cookie has no path of its own, so that it is for what lies beside ``login``: below a path
    of a shared address nobody else there gets it."""
    hub = hub_of(request)
    token = await open_session(hub, opener)
    answer = RedirectResponse(f"{page_base(request)}/", 303)
    answer.set_cookie(
        cookie_name(hub.settings.port),
        token,
        max_age=IDLE_MS // 1000,
        path=None,
        httponly=True,
        samesite="strict",
    )
    return answer
