"""OpenAPI of routes that read and write JSON by msgspec: the types are the documentation.

``described`` gives a route its access, its documentation and its dependency in one place; ``schema_of``
completes the document with the types that routes named.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from fastapi import Depends, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.responses import Response

from stablequeue_client import __version__
from stablequeue_client.shared.errors import StableQueueError
from stablequeue_hub.http.authorisation import Access, Require

REF_TEMPLATE = "#/components/schemas/{name}"
_ACCESS_WORDS = {
    "public": "Needs no key.",
    "read": "Needs a key with read access (admin, jobs, view, a server's own) or the page's session.",
    "jobs": "Needs a key that may submit jobs (admin, jobs, a server's own) or the page owner's session.",
    "admin": "Needs an admin key or the session of the page's owner.",
    "join": "Needs a join or admin key.",
    "server": "Needs the server's own key.",
    "old_read": "Needs a key with read access, unless the hub's owner opened the old paths.",
    "old_jobs": "Needs a key that may submit jobs, unless the hub's owner opened the old paths.",
    "owner": "Needs the server's own key, an admin key or the session of the page's owner.",
}


_TYPES: dict[str, Any] = {}
"""Every type a route named, by its repr."""


class ErrorBody(msgspec.Struct, frozen=True):
    """What went wrong. ``code`` is stable; ``remedy`` says what to do."""

    code: str
    message: str
    remedy: str
    details: dict[str, Any]


class ErrorAnswer(msgspec.Struct, frozen=True):
    """Every failure looks like this."""

    error: ErrorBody


def described(
    access: Access,
    *,
    request: Any = None,
    answer: Any = None,
    status: int = 200,
    errors: Sequence[type[StableQueueError]] = (),
    failure: Any = ErrorAnswer,
    media_type: str = "application/json",
    gzip: bool = False,
) -> dict[str, Any]:
    """Keyword arguments for a router's method. ``request``, ``answer`` and ``failure`` are types msgspec
    knows."""
    content: dict[str, Any] = {}
    if status not in (204, 303):
        content = {"content": {media_type: {"schema": _schema(answer) if answer else {}}}}
    responses: dict[int | str, dict[str, Any]] = {status: {"description": "Done.", **content}}
    responses.update(_error_responses(access, errors, failure))
    if media_type == "text/html":
        responses.update(_page_responses(responses))
    extra: dict[str, Any] = {"x-access": access}
    if request is not None:
        extra["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _schema(request)}},
        }
    if gzip:
        extra["requestBody"]["description"] = "May be sent with Content-Encoding: gzip."
    return {
        "status_code": status,
        "responses": responses,
        "openapi_extra": extra,
        "dependencies": [Depends(Require(access))],
        "response_model": None,
        "response_class": Response,  # else FastAPI documents JSON beside what stands here
    }


def _schema(form: Any) -> dict[str, Any]:
    """A stand-in for the type's schema: FastAPI copies it through, ``schema_of`` fills it in."""
    _TYPES[repr(form)] = form
    return {"x-type": repr(form)}


def _error_responses(
    access: Access, errors: Sequence[type[StableQueueError]], failure: Any
) -> dict[int | str, dict[str, Any]]:
    found: dict[int | str, dict[str, Any]] = {"4XX": {"description": "The request is not valid."}}
    if access != "public":
        found[401] = {"description": "No key, or a wrong one."}
        found[403] = {"description": "This key may not do that."}
    for error in errors:
        codes = [e.code for e in errors if e.http_status == error.http_status]
        found[error.http_status] = {"description": "Codes: " + ", ".join(codes) + "."}
    found["5XX"] = {"description": "The hub failed; its log has the details."}
    for response in found.values():
        response["content"] = {"application/json": {"schema": _schema(failure)}}
    return found


def _page_responses(responses: dict[int | str, dict[str, Any]]) -> dict[int | str, dict[str, Any]]:
    """Pages send people on, and show them their failures as pages too."""
    found: dict[int | str, dict[str, Any]] = {303: {"description": "Redirects to another page."}}
    for status, response in responses.items():
        if "application/json" in response.get("content", {}):
            found[status] = {**response, "content": {**response["content"], "text/html": {}}}
    return found


def access_of(route: APIRoute) -> Access | None:
    """Return the access given to ``described``; None for a route that was not described."""
    for dependency in route.dependencies:
        if isinstance(dependency.dependency, Require):
            return dependency.dependency.access
    return None


def schema_of(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document; made once, then remembered at the app."""
    if app.openapi_schema is None:
        document = get_openapi(
            title="StableQueue",
            version=__version__,
            description="Which server has which models. Errors: {error: {code, message, remedy, details}}.",
            routes=app.routes,
        )
        _add_security(document)
        app.openapi_schema = _with_types(document)
    return app.openapi_schema


def _add_security(document: dict[str, Any]) -> None:
    schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
    schemes["key"] = {"type": "http", "scheme": "bearer", "description": "sq_<id>_<secret>"}
    for operations in document["paths"].values():
        for operation in operations.values():
            access = operation.get("x-access", "public")
            operation.setdefault("description", "")
            operation["description"] = f"{operation['description']}\n\n{_ACCESS_WORDS[access]}".strip()
            operation["security"] = [] if access == "public" else [{"key": []}]


def _with_types(document: dict[str, Any]) -> dict[str, Any]:
    """Every ``{"x-type": name}`` replaced by that type's schema, and the named schemas added."""
    names = sorted(_TYPES)
    schemas, components = msgspec.json.schema_components(
        [_TYPES[name] for name in names], ref_template=REF_TEMPLATE
    )
    filled: dict[str, Any] = _replace(document, dict(zip(names, schemas, strict=True)))
    filled["components"].setdefault("schemas", {}).update(components)
    return filled


def _replace(node: Any, schemas: dict[str, Any]) -> Any:
    if isinstance(node, dict):
        if "x-type" in node:
            return schemas[node["x-type"]]
        return {key: _replace(value, schemas) for key, value in node.items()}
    return [_replace(value, schemas) for value in node] if isinstance(node, list) else node
