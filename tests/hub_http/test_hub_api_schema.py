"""S2: what the API says of itself is true, for requests of every kind (schemathesis).

CI scale: EXAMPLES requests for each operation; STABLEQUEUE_TEST_API_EXAMPLES=200 is the long run.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from stablequeue_hub.app import ROUTERS
from stablequeue_hub.http.openapi import access_of, schema_of

EXAMPLES = int(os.environ.get("STABLEQUEUE_TEST_API_EXAMPLES", "12"))
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


def document_of(hub: Any) -> dict[str, Any]:
    answer = hub.request("GET", "/openapi.json", key=hub.admin)
    assert answer.status_code == 200
    document: dict[str, Any] = answer.json()
    return document


def operations(hub: Any) -> list[tuple[str, str, Any]]:
    schema = schemathesis.openapi.from_dict(document_of(hub))
    return [(o.ok().method.upper(), o.ok().path, o.ok()) for o in schema.get_all_operations()]


def ask(hub: Any, case: Any, key: str | None) -> tuple[Any, Any]:
    """The case sent to the application; the answer as schemathesis and as httpx see it."""
    arguments = case.as_transport_kwargs(base_url="http://127.0.0.1:8383")
    headers = {
        k: v
        for k, v in dict(arguments.get("headers") or {}).items()
        if k.lower() not in ("host", "authorization")
    }
    options = {k: arguments[k] for k in ("params", "json", "data", "content") if arguments.get(k) is not None}
    if isinstance(options.get("data"), bytes):
        options["content"] = options.pop("data")
    answer = hub.request(arguments["method"], arguments["url"], key=key, headers=headers, **options)
    return schemathesis.Response.from_httpx(answer, verify=False), answer


def test_the_document_describes_every_route_that_is_not_a_page(hub: Any) -> None:
    document = document_of(hub)
    described = {(m.upper(), path) for path, methods in document["paths"].items() for m in methods}
    real = {
        (method, route.path)
        for module in ROUTERS
        for route in module.router.routes
        if route.include_in_schema
        for method in route.methods
    }
    assert described == real
    for methods in document["paths"].values():
        for operation in methods.values():
            assert operation["description"]
            assert any(status.startswith("2") or status == "303" for status in operation["responses"])
    assert "x-type" not in str(document)


def test_every_operation_needs_a_key_but_the_public_ones(hub: Any) -> None:
    document = document_of(hub)
    for module in ROUTERS:
        for route in module.router.routes:
            if route.include_in_schema:
                for method in route.methods:
                    operation = document["paths"][route.path][method.lower()]
                    assert bool(operation["security"]) == (access_of(route) != "public")


@pytest.mark.timeout(200)
def test_requests_of_every_kind_get_the_answers_that_are_described(hub: Any, inventory: Any) -> None:
    box = hub.join("box")
    assert hub.sync(box, inventory(["one", "two", "three"])).status_code == 200
    counts: dict[str, int] = {}

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def try_operation(data: Any) -> None:
        case = data.draw(strategy)
        key = box.key if access == "server" else hub.admin
        if "server_id" in (case.path_parameters or {}) and data.draw(st.booleans()):
            case.path_parameters["server_id"] = box.server_id
        if method == "DELETE" and path.startswith("/api/v1/keys"):
            key = hub.make_key("admin")
        answer, raw = ask(hub, case, key)
        case.validate_response(answer, checks=CHECKS)
        assert access == "public" or raw.status_code not in (401, 429), raw.text
        counts[path] = counts.get(path, 0) + 1
        if not hub.hub.presence.find(box.server_id):
            hub.joined(box)

    for method, path, operation in operations(hub):
        access = operation.definition.raw["x-access"]
        modes = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]
        for mode in modes:
            try:
                strategy = operation.as_strategy(generation_mode=mode)
            except Exception as exc:
                pytest.fail(f"{method} {path}: {exc}")
            if mode == schemathesis.GenerationMode.NEGATIVE and not _has_input(operation):
                continue
            hub.clock.advance(3600)  # wrong codes of the operation before are forgotten
            try_operation()
    assert len(counts) >= 15


def _has_input(operation: Any) -> bool:
    return bool(operation.body) or bool(list(operation.iter_parameters()))


def test_the_document_is_the_same_each_time(hub: Any) -> None:
    assert document_of(hub) == document_of(hub)
    assert schema_of(hub.app) is schema_of(hub.app)


def test_the_docs_page_names_every_operation_and_links_only_to_what_it_shows(hub: Any) -> None:
    page = hub.request("GET", "/docs", key=hub.admin).text
    for path in document_of(hub)["paths"]:
        assert f" {path}</code>" in page
    assert "<script" not in page
    assert Path(__file__).exists()


def test_a_description_that_is_not_true_is_found_by_these_checks(hub: Any) -> None:
    """The broken variant: the same request and checks against a document that promises something else."""
    document = document_of(hub)
    promised = document["paths"]["/api/v1/servers"]["get"]["responses"]["200"]
    promised["content"]["application/json"]["schema"] = {"type": "object"}
    operation = schemathesis.openapi.from_dict(document)["/api/v1/servers"]["GET"]
    case = operation.Case()
    answer, raw = ask(hub, case, hub.admin)
    assert raw.json() == []
    with pytest.raises(FailureGroup):
        case.validate_response(answer, checks=CHECKS)
