"""Free text in addresses: what no database stores is refused, the same on each of them."""

from __future__ import annotations

from typing import Any

from fastapi.routing import APIRoute

from stablequeue_hub.app import ROUTERS

ON_BOTH_DATABASES = True


def _text_parameters() -> list[tuple[str, str]]:
    """(path, name) of all query parameters of reading routes that take text."""
    return [
        (route.path, parameter.alias)
        for module in ROUTERS
        for route in module.router.routes
        if isinstance(route, APIRoute) and "GET" in route.methods and route.path.startswith("/api/")
        for parameter in route.dependant.query_params
        if "str" in str(parameter.field_info.annotation)
    ]


def test_a_nul_in_any_text_of_the_address_is_refused(hub: Any) -> None:
    wanted = _text_parameters()
    assert {("/api/v1/jobs", "text"), ("/api/v1/jobs", "batch"), ("/api/v1/models", "search")} <= {*wanted}
    for path, name in wanted:
        for value in ("%00", "a%00b"):
            answer = hub.request("GET", f"{path}?{name}={value}", key=hub.admin)
            assert answer.status_code == 400, (path, name, answer.text)


def test_a_nul_in_a_path_finds_nothing(hub: Any) -> None:
    for module in ROUTERS:
        for route in module.router.routes:
            if not isinstance(route, APIRoute) or not route.path.startswith("/api/") or "{" not in route.path:
                continue
            path = route.path
            for parameter in route.dependant.path_params:
                path = path.replace("{" + parameter.name + "}", "a%00b")
            method = sorted(route.methods)[0]
            answer = hub.request(method, path, key=hub.admin, content=b"{}")
            assert answer.status_code < 500, (method, path, answer.text)
