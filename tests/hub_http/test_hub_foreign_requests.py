"""S4: other origins, other names of this machine, and what every answer carries."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from stablequeue_hub.app import create_app
from stablequeue_hub.http import middleware
from stablequeue_hub.http.middleware import AllowedHosts
from stablequeue_hub.settings import HubSettings

OWN = "127.0.0.1:8383"
GOOD_HOSTS = (OWN, "localhost:8383", "[::1]:8383", "127.0.0.1", "LOCALHOST:9")
BAD_HOSTS = (
    "evil.example",
    "evil.example:8383",
    "127.0.0.1.evil.example",
    "localhost.evil.example:8383",
    "192.168.1.5:8383",
    "0.0.0.0:8383",
    "[::2]:8383",
    "127.0.0.1@evil.example",
    "evil.example#127.0.0.1",
    "",
)
BAD_ORIGINS = (
    "http://evil.example",
    "https://evil.example:8383",
    "http://127.0.0.1:7860",
    "http://127.0.0.1",
    "http://localhost:8383",
    "http://127.0.0.1:8383.evil.example",
    "null",
    "file://",
    "",
)
UNSAFE = ("POST", "PUT", "PATCH", "DELETE")
PATHS = {
    "POST": "/api/v1/keys",
    "PUT": "/api/v1/models/%s/metadata" % ("0" * 64),
    "PATCH": "/api/v1/servers/nobody",
    "DELETE": "/api/v1/keys/nobody",
    "GET": "/api/v1/servers",
}
BAD_SITES = ("cross-site", "same-site", "")


def signed_in(hub: Any) -> dict[str, str]:
    code = hub.request("POST", "/api/v1/session-codes", key=hub.admin).json()["code"]
    return {"Cookie": hub.request("GET", f"/login?code={code}").headers["set-cookie"].split(";")[0]}


def bad_combinations() -> list[tuple[str, dict[str, str]]]:
    found: list[tuple[str, dict[str, str]]] = []
    for method, host in itertools.product(("GET", *UNSAFE), BAD_HOSTS):
        found.append((method, {"Host": host}))
        found.append((method, {"Host": host, "Origin": f"http://{host}"}))
    for method, host, origin in itertools.product(UNSAFE, (OWN,), BAD_ORIGINS):
        found.append((method, {"Host": host, "Origin": origin}))
    for method, site in itertools.product(UNSAFE, BAD_SITES):
        found.append((method, {"Host": OWN, "Sec-Fetch-Site": site}))
        found.append((method, {"Host": OWN, "Origin": f"http://{OWN}", "Sec-Fetch-Site": site}))
    return found


def refused_of(hub: Any, credentials: dict[str, str]) -> int:
    statuses = [
        hub.request(method, PATHS[method], headers={**headers, **credentials}, json={"scope": "admin"})
        for method, headers in bad_combinations()
    ]
    return sum(s.status_code == 403 and s.json()["error"]["code"] == "foreign_request" for s in statuses)


@pytest.mark.fault
def test_no_bad_combination_of_host_origin_and_method_is_accepted(hub: Any) -> None:
    assert len(bad_combinations()) >= 100
    before = len(hub.request("GET", "/api/v1/keys", key=hub.admin).json()["keys"])
    for credentials in (signed_in(hub), {"Authorization": f"Bearer {hub.admin}"}):
        assert refused_of(hub, credentials) == len(bad_combinations())
    assert len(hub.request("GET", "/api/v1/keys", key=hub.admin).json()["keys"]) == before


@pytest.mark.fault
def test_without_the_guard_the_bad_combinations_are_accepted(
    settings: HubSettings, store: Any, clock: Any, hub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broken variant, so that the test above is known to see something."""
    monkeypatch.setattr(middleware, "_origin_problem", lambda *_, **__: None)
    monkeypatch.setattr(AllowedHosts, "allows", lambda *_: True)
    assert refused_of(hub, signed_in(hub)) == 0


def test_a_session_that_does_not_say_where_it_comes_from_cannot_write(hub: Any) -> None:
    me = signed_in(hub)
    assert hub.request("POST", "/api/v1/keys", headers=me, json={"scope": "view"}).status_code == 403
    for origin in ({"Origin": f"http://{OWN}"}, {"Sec-Fetch-Site": "same-origin"}):
        assert (
            hub.request("POST", "/api/v1/keys", headers={**me, **origin}, json={"scope": "view"}).status_code
            == 201
        )


@pytest.mark.parametrize(
    "nothing",
    [
        {"Authorization": "Basic bWU6c2VjcmV0"},
        {"Authorization": "Bearer nothing"},
        {"Authorization": ""},
        {"X-API-Key": "mk_" + "0" * 24},
        {"X-API-Key": "x", "X-API-Secret": "y"},
    ],
)
def test_a_key_that_means_nothing_does_not_stand_for_where_a_session_comes_from(
    hub: Any, nothing: dict[str, str]
) -> None:
    me = {**signed_in(hub), **nothing}
    for path, body in (("/api/v1/keys", {"json": {"scope": "view"}}), ("/logout", {})):
        refused = hub.request("POST", path, headers=me, **body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "foreign_request"), path
    with_key = {**signed_in(hub), "Authorization": f"Bearer {hub.admin}"}
    made = hub.request("POST", "/api/v1/keys", headers=with_key, json={"scope": "view"})
    assert made.status_code == 201


@pytest.mark.parametrize("host", GOOD_HOSTS)
def test_the_hubs_own_names_are_accepted_with_any_port(hub: Any, host: str) -> None:
    headers = {"Host": host, "Origin": f"http://{host}"}
    assert (
        hub.request(
            "POST", "/api/v1/keys", key=hub.admin, headers=headers, json={"scope": "view"}
        ).status_code
        == 201
    )


def test_a_reachable_hub_answers_to_this_computers_names_and_to_the_address_it_was_reached_at() -> None:
    everywhere = AllowedHosts(lambda: "0.0.0.0", ["hub.example"])
    name = next(iter(middleware.machine_names()))
    assert everywhere.allows(f"{name}:8383", "192.168.1.5")
    assert everywhere.allows("192.168.1.5:8383", "192.168.1.5")
    assert everywhere.allows("hub.example", "192.168.1.5")
    assert everywhere.allows("[fe80::1]:8383", "fe80::1%eth0")
    assert not everywhere.allows("192.168.1.6:8383", "192.168.1.5")
    assert not everywhere.allows("evil.example", "evil.example")
    local = AllowedHosts(lambda: "127.0.0.1", [])
    assert not local.allows(f"{name}:8383", "127.0.0.1")


def test_two_host_headers_are_one_too_many(settings: HubSettings, store: Any) -> None:
    app = create_app(settings, store)
    sent: list[dict[str, Any]] = []

    async def ask() -> None:
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/login",
            "query_string": b"",
            "headers": [(b"host", b"127.0.0.1"), (b"host", b"evil.example")],
            "server": ("127.0.0.1", 8383),
        }

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b""}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await app(scope, receive, send)  # type: ignore[arg-type]

    import asyncio

    asyncio.run(ask())
    assert sent[0]["status"] == 403


def test_a_websocket_is_never_opened(hub: Any) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/", "headers": [(b"host", b"127.0.0.1:8383")], "query_string": b""}
    hub.run(hub.app(scope, receive, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]


@pytest.mark.parametrize("path", ["/healthz", "/login", "/nope", "/api/v1/servers", "/docs", "/"])
def test_every_answer_carries_the_security_headers_and_no_cors(hub: Any, path: str) -> None:
    for key in (None, hub.admin):
        headers = hub.request("GET", path, key=key, headers={"Origin": "http://evil.example"}).headers
        policy = headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "same-origin"
        assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/docs", "/login", "/"])
def test_pages_hold_nothing_that_their_policy_forbids(hub: Any, path: str) -> None:
    headers = signed_in(hub) if path != "/login" else {}
    text = hub.request("GET", path, headers=headers).text
    assert "<script>" not in text
    assert "<style" not in text
    assert " style=" not in text
    assert " on" + "click=" not in text
    assert "https://" not in text.replace("https://github.com", "")


def test_api_routes_never_answer_html(hub: Any) -> None:
    for method, path in itertools.product(
        ("GET", "POST", "PUT", "DELETE"), ("/api/v1/servers", "/api/nope", "/api/v1/models/x")
    ):
        for key in (None, hub.admin):
            answer = hub.request(method, path, key=key, headers={"Accept": "text/html"}, content=b"<b>")
            assert answer.headers["content-type"] == "application/json"
