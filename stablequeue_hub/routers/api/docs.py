"""The API's description: ``/openapi.json``, and ``/docs`` as a plain page without any script."""

from __future__ import annotations

from html import escape
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from stablequeue_hub.http.openapi import described, schema_of
from stablequeue_hub.http.responses import json_answer

router = APIRouter(include_in_schema=False)


@router.get("/openapi.json", **described("read"))
async def openapi(request: Request) -> Response:
    """The OpenAPI document."""
    return json_answer(schema_of(request.app))


@router.get("/docs", **described("read", media_type="text/html"))
async def docs(request: Request) -> Response:
    """Every operation and every type, for people."""
    return HTMLResponse(_page(schema_of(request.app)))


def _page(document: dict[str, Any]) -> str:
    operations = "".join(
        _operation(method, path, operation)
        for path, methods in sorted(document["paths"].items())
        for method, operation in methods.items()
    )
    schemas = "".join(
        _schema(name, schema) for name, schema in sorted(document["components"]["schemas"].items())
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>StableQueue API</title>'
        '<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="./static/style.css">'
        '<link rel="icon" href="./static/icon.svg" type="image/svg+xml">'
        '</head><body><main class="sq-docs"><h1>StableQueue API</h1>'
        f"<p>{escape(document['info']['description'])} "
        'For programs: <a href="./openapi.json">openapi.json</a>.</p>'
        f"{operations}<h2>Types</h2>{schemas}</main></body></html>"
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    lines = [escape(line) for line in operation.get("description", "").split("\n\n") if line]
    parameters = [
        f"<li><code>{escape(p['name'])}</code> ({escape(p['in'])}) {escape(_type(p['schema']))}</li>"
        for p in operation.get("parameters", ())
    ]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    if body is not None:
        parameters.append(f"<li>body: {_type_link(body)}</li>")
    answers = [
        f"<li>{escape(status)}: {escape(answer['description'])} {_type_link(_answer_schema(answer))}</li>"
        for status, answer in operation["responses"].items()
    ]
    return (
        f"<h2><code>{method.upper()} {escape(path)}</code></h2>"
        + "".join(f"<p>{line}</p>" for line in lines)
        + f"<ul>{''.join(parameters)}</ul><ul>{''.join(answers)}</ul>"
    )


def _answer_schema(answer: dict[str, Any]) -> dict[str, Any]:
    for content in answer.get("content", {}).values():
        schema: dict[str, Any] = content.get("schema", {})
        return schema
    return {}


def _schema(name: str, schema: dict[str, Any]) -> str:
    fields = "".join(
        f"<li><code>{escape(field)}</code>: {_type_link(form)}</li>"
        for field, form in schema.get("properties", {}).items()
    )
    about = escape(schema.get("description", ""))
    return f'<h3 id="{escape(name)}">{escape(name)}</h3><p>{about}</p><ul>{fields}</ul>'


def _type_link(schema: dict[str, Any]) -> str:
    """The type's name, as a link to it where it has a section."""
    name = schema.get(
        "$ref", schema.get("items", {}).get("$ref", "") if isinstance(schema.get("items"), dict) else ""
    )
    name = name.rpartition("/")[2]
    return f'<a href="#{escape(name)}">{escape(_type(schema))}</a>' if name else escape(_type(schema))


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        return " | ".join(str(value) for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_type(form) for form in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items') or {})}"
    return str(schema.get("type", ""))
