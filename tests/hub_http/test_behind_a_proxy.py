"""The page and the API behind proxies: other names and ports, a path before ours, health checks, HEAD."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from urllib.parse import urljoin

import pytest

from stablequeue_client.shared.errors import UsageError
from stablequeue_client.shared.host_names import FurtherNames, checked_names
from stablequeue_hub.app import ROUTERS, create_app
from stablequeue_hub.http.middleware import AllowedHosts
from stablequeue_hub.settings import HubSettings

OWN = "http://127.0.0.1:8383"
PREFIXES: list[dict[str, str]] = [{}, {"X-Forwarded-Prefix": "/sq"}, {"X-Forwarded-Prefix": "/sq/"}]


@pytest.fixture
def allowing(settings: HubSettings, store: Any, clock: Any, hub: Any) -> Any:
    """The hub, called by further names too."""
    names = ("hub.example", "*.lan.example", "proxy.example:8443")
    hub.app = create_app(replace(settings, allowed_hosts=names), store, clock=clock)
    hub.hub = hub.app.state.hub
    return hub


def cookie(hub: Any, **headers: str) -> tuple[str, str]:
    """A session's cookie, and its attributes."""
    code = hub.request("POST", "/api/v1/session-codes", key=hub.admin).json()["code"]
    value, _, more = (
        hub.request("GET", f"/login?code={code}", headers=headers).headers["set-cookie"].partition(";")
    )
    return value, more


# --- below a path -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("told", PREFIXES, ids=str)
@pytest.mark.parametrize("path", ["/", "/login", "/docs"])
def test_no_link_of_a_page_leads_out_of_its_path(hub: Any, told: dict[str, str], path: str) -> None:
    me = {"Cookie": cookie(hub)[0]} if path != "/login" else {}
    page = hub.request("GET", path, headers={**me, **told}).text
    links = re.findall(r'(?:href|src|action|data-sq-base)="([^"#?]*)', page)
    assert len(links) >= 2
    for link in links:
        reached = urljoin(f"https://example.org/sq{path}", link)
        assert reached.startswith("https://example.org/sq"), link
        if "/static/" in link:
            there = reached.removeprefix("https://example.org/sq")
            assert hub.request("GET", there).status_code == 200, link


@pytest.mark.parametrize("told", PREFIXES, ids=str)
@pytest.mark.parametrize(
    ("method", "path", "leads_to"),
    [
        ("GET", "/", "/sq/login"),
        ("POST", "/logout", "/sq/login"),
        ("GET", "/queue", "/sq/?view=queue"),
        ("GET", "/new", "/sq/?view=new"),
        ("GET", "/jobs/0f3a", "/sq/?view=job&id=0f3a"),
    ],
)
def test_what_sends_on_stays_below_the_path(
    hub: Any, told: dict[str, str], method: str, path: str, leads_to: str
) -> None:
    answer = hub.request(method, path, headers={**told, "Origin": OWN})
    assert answer.status_code == 303
    assert (
        urljoin(f"https://example.org/sq{path}", answer.headers["location"])
        == f"https://example.org{leads_to}"
    )


def test_a_proxy_that_leaves_its_path_on_is_understood_when_it_says_so(hub: Any) -> None:
    told = {"X-Forwarded-Prefix": "/sq"}
    for path in ("/sq/healthz", "/healthz"):
        assert hub.request("GET", path, headers=told).status_code == 200
    assert hub.request("GET", "/sq/healthz").status_code == 404
    assert hub.request("GET", "/sqx/healthz", headers=told).status_code == 404
    assert hub.request("GET", "/sq", headers=told).headers["location"] == "/sq/login"


@pytest.mark.parametrize(
    "prefix",
    ["//evil.example", "https://evil.example", '/"><script>', "/..", "/a/../b", "sq", "/a b", "/" * 9],
)
def test_a_prefix_that_is_no_plain_path_counts_as_none(hub: Any, prefix: str) -> None:
    answer = hub.request("GET", "/", headers={"X-Forwarded-Prefix": prefix})
    assert answer.headers["location"] == "./login"


def test_the_session_belongs_to_the_path_of_the_page(hub: Any) -> None:
    _, attributes = cookie(hub)
    assert "path" not in attributes.lower(), "the browser takes the path of the form"
    assert "HttpOnly" in attributes
    assert "samesite=strict" in attributes.lower()


# --- names --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "hub.example", "Origin": "https://hub.example"},
        {"Host": "hub.example", "Origin": "https://hub.example:8443"},  # nginx: Host $host
        {"Host": "127.0.0.1:8383", "Origin": "https://hub.example"},  # nginx as it comes, Apache, IIS
        {"Host": "127.0.0.1:8383", "Origin": "http://hub.example:8080"},
        {"Host": "127.0.0.1:8383", "Origin": "https://proxy.example:8443"},
        {"Host": "a.lan.example", "Origin": "https://a.lan.example:444"},
        {
            "Host": "127.0.0.1:8383",
            "X-Forwarded-Host": "b.c.lan.example",
            "Origin": "https://b.c.lan.example",
        },
    ],
    ids=lambda headers: " ".join(headers.values()),
)
def test_the_page_works_with_whatever_name_a_proxy_passes_on(allowing: Any, headers: dict[str, str]) -> None:
    me = {"Cookie": cookie(allowing)[0], "Sec-Fetch-Site": "same-origin", **headers}
    assert allowing.request("GET", "/", headers=me).status_code == 200
    made = allowing.request("POST", "/api/v1/keys", headers=me, json={"scope": "view"})
    assert made.status_code == 201, made.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "127.0.0.1:8383", "Origin": "https://evil.example"},
        {"Host": "127.0.0.1:8383", "Origin": "https://hub.example.evil.example"},
        {"Host": "127.0.0.1:8383", "Origin": "https://evil-hub.example"},
        {"Host": "127.0.0.1:8383", "Origin": "https://sub.hub.example"},
        {"Host": "127.0.0.1:8383", "Origin": "https://hub.example@evil.example"},
        {"Host": "127.0.0.1:8383", "Origin": "ftp://hub.example"},
        {"Host": "127.0.0.1:8383", "Origin": "https://b.lan.example"},  # others may have names there
        {"Host": "a.lan.example", "Origin": "https://b.lan.example"},
        {"Host": "lan.example", "Origin": "https://lan.example"},
        {"Host": "xlan.example", "Origin": "https://xlan.example"},
        {"Host": "127.0.0.1:8383", "Origin": "https://hub.example", "Sec-Fetch-Site": "same-site"},
        {"Host": "evil.example", "X-Forwarded-Host": "hub.example", "Origin": "https://hub.example"},
    ],
    ids=lambda headers: " ".join(headers.values()),
)
def test_other_names_are_refused_as_before(allowing: Any, headers: dict[str, str]) -> None:
    me = {"Cookie": cookie(allowing)[0], **headers}
    refused = allowing.request("POST", "/api/v1/keys", headers=me, json={"scope": "view"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "foreign_request")


def test_a_name_that_is_refused_is_told_with_the_option_that_allows_it(hub: Any) -> None:
    error = hub.request("GET", "/login", headers={"Host": "Hub-Service:8383"}).json()["error"]
    assert error["message"].endswith("hub-service.")
    assert "--allowed-hosts" in error["remedy"]


def test_names_below_a_domain_are_allowed_and_the_domain_itself_is_not() -> None:
    names = FurtherNames.of(["*.Example.ORG", "https://hub.example:8443/sq/", "other.example."])
    for name in ("a.example.org", "a.b.example.org", "hub.example", "other.example"):
        assert name in names, name
    for name in ("example.org", "aexample.org", "a.example.org.evil", "", "*.example.org", ".hub.example"):
        assert name not in names, name
    everywhere = AllowedHosts(lambda: "0.0.0.0", ["*.example.org"])
    assert everywhere.allows("a.example.org:8443", "192.168.1.5")


@pytest.mark.parametrize("name", ["*", "*.", "a.*.example", "**.example", "ex*mple.org", "", "http://"])
def test_a_pattern_that_would_allow_everything_or_nothing_is_refused_at_the_start(name: str) -> None:
    with pytest.raises(UsageError, match="not a name of a host"):
        checked_names([name])


# --- HEAD, Allow, health ------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["evil.example", "10.1.2.3:8383", "hub-service", ""])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_health_check_may_call_the_hub_by_any_name(hub: Any, method: str, host: str) -> None:
    answer = hub.request(method, "/healthz", headers={"Host": host})
    assert answer.status_code == 200
    assert (answer.content == b"") is (method == "HEAD")


def test_every_address_that_answers_get_answers_head_alike_and_without_a_body(hub: Any) -> None:
    paths = {
        route.path
        for module in ROUTERS
        for route in module.router.routes
        if "GET" in route.methods and "{" not in route.path
    }
    assert len(paths) > 15
    for path in sorted(paths):
        shown, head = (hub.request(method, path, key=hub.admin) for method in ("GET", "HEAD"))
        assert (head.status_code, head.content) == (shown.status_code, b""), path
        assert head.headers.get("content-type") == shown.headers.get("content-type"), path
        assert head.headers.get("content-length") == shown.headers.get("content-length"), path


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/api/v1/jobs", "GET, HEAD, POST"),
        ("PUT", "/api/v1/jobs/0f3a", "DELETE, GET, HEAD, PATCH"),
        ("GET", "/logout", "POST"),
        ("DELETE", "/healthz", "GET, HEAD"),
        ("HEAD", "/logout", "POST"),
    ],
)
def test_a_method_that_is_not_supported_is_told_with_those_that_are(
    hub: Any, method: str, path: str, allowed: str
) -> None:
    answer = hub.request(method, path, key=hub.admin)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


def test_events_as_they_happen_are_not_held_back_by_nginx(hub: Any) -> None:
    answer = hub.request("GET", "/api/v1/events/stream", key=hub.admin)
    assert answer.headers["x-accel-buffering"] == "no"
