"""Who may ask: names, origins and tokens, as a table."""

from __future__ import annotations

import socket

import pytest

from stablequeue_client.shared.host_names import host_name
from stablequeue_client.webui.tab.request_guard import ForeignRequestError, RequestGuard

TOKEN = "t" * 43
FURTHER = ("sd.example.org", "Attic.Example.org:443")
OWN = socket.gethostname().lower()

GOOD_HOSTS = [
    "127.0.0.1:7860",
    "127.0.0.1",
    "localhost:7860",
    "LOCALHOST",
    "localhost.:7860",
    "[::1]:7860",
    "[fe80::1]",
    "192.168.1.20:7860",
    "10.0.0.7",
    "sd.example.org",
    "sd.example.org:8443",
    "attic.example.org",
    OWN,
    f"{OWN}:7860",
    f"{OWN.split('.')[0]}.local:7860",
]
BAD_HOSTS = [
    "",
    "evil.example",
    "evil.example:7860",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "127.0.0.1.nip.io:7860",
    "sd.example.org.evil.example",
    "evil-sd.example.org",
    "example.org",
    "evil.example@127.0.0.1:7860",
    "127.0.0.1:7860@evil.example",
    "evil.example/127.0.0.1",
    "evil.example#localhost",
    "evil.example, localhost",
    "localhost evil.example",
    "localhost:evil",
    "[::1].evil.example",
    "[::1",
    "0x7f.1",
    "127.1",
    "2130706433",
    "%6cocalhost",
    "l\u043ecalhost",
    "localhost\x00.evil.example",
    "xn--lcalhost-1bh",
    "rebind.network:7860",
]
HOST = "127.0.0.1:7860"
BAD_ORIGINS = [
    "null",
    "",
    "https://evil.example",
    "http://evil.example:7860",
    "http://127.0.0.1",
    "http://127.0.0.1:7861",
    "http://127.0.0.1:78600",
    "http://localhost:7860",
    "http://[::1]:7860",
    "http://127.0.0.1:7860.evil.example",
    "http://127.0.0.1:7860@evil.example",
    "http://evil.example/127.0.0.1:7860",
    "file://",
    "chrome-extension://abcdef",
    "ftp://127.0.0.1:7860",
    "ws://127.0.0.1:7860",
    "javascript://127.0.0.1:7860",
    "http://127.0.0.1:7860, http://evil.example",
    "http://sub.sd.example.org",
    "http://sd.example.org.evil.example",
    "//sd.example.org",
    "127.0.0.1:7860",
]
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"]


@pytest.fixture
def guard() -> RequestGuard:
    return RequestGuard(TOKEN, lambda: FURTHER)


def refused(guard: RequestGuard, method: str, headers: list[tuple[str, str]]) -> bool:
    try:
        guard.check(method, headers)
    except ForeignRequestError as error:
        return error.http_status == 403 and bool(error.message)
    return False


@pytest.mark.parametrize("host", GOOD_HOSTS)
def test_the_webuis_own_names_and_all_addresses_are_taken(guard: RequestGuard, host: str) -> None:
    for method in METHODS:
        assert not refused(guard, method, [("host", host)])
        assert not refused(guard, method, [("host", host), ("origin", f"http://{host.lower()}")])


def test_no_foreign_host_is_taken_with_any_method() -> None:
    guard = RequestGuard(TOKEN, lambda: FURTHER)
    tried = [(method, host) for method in METHODS for host in BAD_HOSTS]
    assert len(tried) >= 100
    assert [pair for pair in tried if not refused(guard, pair[0], [("host", pair[1])])] == []


def test_no_foreign_origin_is_taken_with_any_method(guard: RequestGuard) -> None:
    tried = [(method, origin) for method in METHODS for origin in BAD_ORIGINS]
    assert len(tried) >= 100
    taken = [p for p in tried if not refused(guard, p[0], [("host", HOST), ("origin", p[1])])]
    assert taken == []


@pytest.mark.parametrize("site", ["cross-site", "same-site", "", "SAME-SITE"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_a_browser_that_says_another_site_is_refused(guard: RequestGuard, site: str, method: str) -> None:
    assert refused(guard, method, [("host", HOST), ("sec-fetch-site", site)])


def test_own_pages_and_programs_without_a_page_are_taken(guard: RequestGuard) -> None:
    own = [("host", HOST), ("origin", f"http://{HOST}"), ("sec-fetch-site", "same-origin")]
    assert not refused(guard, "POST", own)
    assert not refused(guard, "POST", [("host", HOST)])
    # A reverse proxy that calls us by our address, for a browser that called it by its own name.
    assert not refused(guard, "POST", [("host", HOST), ("origin", "https://sd.example.org")])


def test_two_hosts_or_none_are_refused(guard: RequestGuard) -> None:
    assert refused(guard, "GET", [])
    assert refused(guard, "GET", [("host", HOST), ("host", HOST)])


@pytest.mark.parametrize(
    "given",
    [[], [""], ["x"], [TOKEN[:-1]], [TOKEN + "t"], [TOKEN.upper()], [TOKEN, TOKEN], [f" {TOKEN}"], ["\xff"]],
)
def test_only_the_token_itself_once_opens(guard: RequestGuard, given: list[str]) -> None:
    assert not guard.knows([("X-StableQueue-Token", text) for text in given])
    assert not guard.knows([("cookie", f"x-stablequeue-token={TOKEN}"), ("authorization", TOKEN)])
    assert guard.knows([("X-StableQueue-Token", TOKEN)])


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("LocalHost:80", "localhost"),
        ("[::1]:80", "::1"),
        ("::1", "::1"),
        ("a.b.:9", "a.b"),
        ("a:b:c", "a:b:c"),
    ],
)
def test_a_host_header_is_read_as_a_name(host: str, name: str) -> None:
    assert host_name(host) == name
