"""Answers as JSON by msgspec, and every failure as ``{error: {code, message, remedy, details}}``."""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from stablequeue_client.shared.errors import (
    AuthenticationError,
    BusyError,
    InvalidValueError,
    NotFoundError,
    StableQueueError,
    UsageError,
)
from stablequeue_hub.errors import InternalError, MethodNotAllowedError

DEFAULT_RETRY_AFTER_S = 5
_log = logging.getLogger("stablequeue_hub")
_encoder = msgspec.json.Encoder()


def json_answer(value: Any, status: int = 200) -> Response:
    """``value``: plain values, msgspec Structs or dataclasses."""
    return Response(_encoder.encode(value), status, media_type="application/json")


def unchanged_answer(request: Request, headers: Mapping[str, str]) -> Response | None:
    """304 where the caller has what the ``ETag`` of ``headers`` names (a proxy may mark it as weak); None
    where it needs the content."""
    asked = [one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")]
    known = headers["ETag"] in asked or asked == ["*"]
    return Response(status_code=304, headers=headers) if known else None


def wants_value(request: Request) -> bool:
    """A WebUI asks for a view's value, to render it itself; a browser for its HTML."""
    accepted = request.headers.get("accept", "").lower()
    return "application/json" in accepted and "text/html" not in accepted


def view_answer(request: Request, value: Any, render: Callable[[Any], str]) -> Response:
    """A view's value as who asks wants it."""
    return json_answer(value) if wants_value(request) else HTMLResponse(render(value))


def error_answer(error: StableQueueError, body: Any = None) -> Response:
    """The error as the wire has it (or ``body``), with the headers that belong to its status."""
    answer = json_answer(body if body is not None else {"error": error.as_wire()}, error.http_status)
    if isinstance(error, BusyError) or error.http_status == 503:
        wait_s = error.details.get("retry_after_s", DEFAULT_RETRY_AFTER_S)
        answer.headers["Retry-After"] = str(max(1, math.ceil(wait_s)))
    if isinstance(error, AuthenticationError):
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


def old_and_new_body(error: StableQueueError) -> dict[str, Any]:
    """The error as the wire has it, and beside it what clients of the old contract read."""
    return {"error": error.as_wire(), "success": False, "message": str(error)}


def _is_api(request: Request) -> bool:
    return str(request.scope["path"]).startswith("/api/")


def unexpected_answer(exc: Exception) -> Response:
    """500 with an id that also stands in the log; what went wrong stands there only."""
    error_id = secrets.token_hex(6)
    _log.error("Failure %s while answering", error_id, exc_info=exc)
    return error_answer(InternalError(f"The hub failed to answer (id {error_id}).", details={"id": error_id}))


def install_error_answers(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Whatever goes wrong in one of the routes, or finds none, is answered from here."""

    async def known(_request: Request, exc: Exception) -> Response:
        assert isinstance(exc, StableQueueError)
        if exc.http_status >= 500:
            _log.warning("%s: %s", exc.code, exc)
        return error_answer(exc)

    async def invalid(_request: Request, exc: Exception) -> Response:
        assert isinstance(exc, RequestValidationError)
        return error_answer(invalid_parameters(exc))

    async def http(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, HTTPException)
        error = _http_error(exc)
        answer = error_answer(error, old_and_new_body(error) if _is_api(request) else None)
        answer.headers.update(exc.headers or {})
        if exc.status_code == 405:
            answer.headers["Allow"] = ", ".join(_allowed_methods(routes, request.scope["path"]))
        return answer

    async def gone(_request: Request, _exc: Exception) -> Response:
        return Response(status_code=499)  # nobody is there to read it

    app.add_exception_handler(StableQueueError, known)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(ClientDisconnect, gone)


def _allowed_methods(routes: Sequence[BaseRoute], path: str) -> list[str]:
    """Every method that the address supports: several routes may share it."""
    found: set[str] = set()
    for route in routes:
        if isinstance(route, Route) and route.path_regex.match(path):
            found |= route.methods or set()
    return sorted(found | ({"HEAD"} if "GET" in found else set()))


def invalid_parameters(exc: RequestValidationError) -> StableQueueError:
    """Names the parameters and the rule each breaks; repeats no value."""
    faults = [f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in exc.errors()]
    return InvalidValueError(f"A value in the address is not valid: {'; '.join(faults)}.")


def _http_error(exc: HTTPException) -> StableQueueError:
    if exc.status_code == 404:
        return NotFoundError("There is nothing at this address.", remedy="/docs lists what there is.")
    if exc.status_code == 405:
        return MethodNotAllowedError()
    if exc.status_code < 500:
        error = UsageError(str(exc.detail))
        error.http_status = exc.status_code  # type: ignore[misc]
        return error
    return InternalError()
