"""The routes of a running WebUI, in both families, over HTTP."""

from __future__ import annotations

import http.client
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from ..hosts.running_host import FakeHost, StartHost
from ..slowness import slowness
from .conftest import ROUTES, RT, ask, token_of, wait_for_models

ALL = [
    "status",
    "inventory",
    "rescan",
    "sync",
    "check",
    "marks",
    "views/models",
    "views/model/1",
    "views/queue",
    "views/jobs/actions",
    "views/new/queue",
    f"jobs/{'0' * 8}-0000-0000-0000-{'0' * 12}/pictures/0",
    "views/x",
    "",
]
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"]
POSTS = {"rescan", "sync", "check", "views/jobs/actions", "views/new/queue"}


def shape(answer: requests.Response) -> tuple[int, bytes, list[str]]:
    """What an onlooker can tell: status, body, and which headers there are."""
    return answer.status_code, answer.content, sorted(name.lower() for name in answer.headers)


def test_without_its_token_no_route_can_be_told_from_one_that_is_not_there(host: FakeHost) -> None:
    wrong = []
    for method in METHODS:
        if method == "OPTIONS":  # the host's own CORS layer answers before any route
            continue
        nothing = shape(requests.request(method, f"{host.url}/no-such-extension/v1/status", timeout=10))
        if method in ("GET", "POST"):
            assert nothing[0] == 404
        for route in ALL:
            for headers in ({}, {"X-StableQueue-Token": "guess"}, {"Cookie": "X-StableQueue-Token=guess"}):
                seen = requests.request(method, host.url + ROUTES + route, headers=headers, timeout=10)
                if shape(seen) != nothing:
                    wrong.append((method, route, headers, shape(seen), nothing))
    assert wrong == []


def test_with_its_token_every_route_answers_and_nothing_may_be_kept_or_guessed_at(host: FakeHost) -> None:
    for route in ["status", "inventory", "views/first-line", "views/models", "views/nothing", "nothing"]:
        answer = ask(host, route)
        assert answer.headers["Cache-Control"] == "no-store", route
        assert answer.headers["X-Content-Type-Options"] == "nosniff", route
        assert "Access-Control-Allow-Origin" not in answer.headers, route
    assert ask(host, "status").status_code == 200
    assert ask(host, "views/models").headers["Content-Type"].startswith("text/html")
    missing = ask(host, "nothing")
    assert missing.status_code == 404
    assert set(missing.json()["error"]) >= {"code", "message", "remedy"}
    view = ask(host, "views/nothing")
    assert view.status_code == 404
    assert "There is no such view" in view.text
    method = ask(host, "status", "POST")
    assert method.status_code == 405
    assert method.json()["error"]["code"] == "wrong_method"


def test_the_token_lies_neither_in_the_page_nor_in_gradios_description_of_it(host: FakeHost) -> None:
    token = token_of(host)
    for path in ("/", "/config", "/config/", "/info", "/openapi.json", "/theme.css"):
        assert token not in requests.get(host.url + path, timeout=20).text, path


def test_the_inventory_comes_in_pages_that_fit_together(host: FakeHost) -> None:
    wait_for_models(host, 5)
    whole = ask(host, "inventory").json()
    assert whole["next"] is None
    assert whole["total"] == len(whole["files"]) >= 5
    pages, offset = [], 0
    while offset is not None:
        page = ask(host, f"inventory?offset={offset}&limit=2").json()
        pages += page["files"]
        offset = page["next"]
    assert pages == whole["files"]
    one = next(file for file in pages if file["path"] == "alpha.safetensors")
    assert one["kind"] == "checkpoint"
    assert len(one["sha256"]) == 64
    assert one["autov2"] == one["sha256"][:10]
    for bad in ("limit=0", "limit=-1", "limit=100000", "limit=x", "offset=1e3", "offset=99999999999"):
        answer = ask(host, f"inventory?{bad}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_value"), bad


def test_an_order_is_taken_over_and_a_new_file_is_found(host: FakeHost) -> None:
    wait_for_models(host, 5)
    before = ask(host, "inventory").json()["total"]
    source = host.data / "models" / "Lora" / "detail.safetensors"
    (source.parent / "newcomer.safetensors").write_bytes(source.read_bytes()[:-1] + b"!")
    answer = ask(host, "rescan", "POST")
    assert answer.json() == {"asked": "rescan"}
    deadline = time.monotonic() + 90
    while ask(host, "inventory").json()["total"] == before:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert ask(host, "sync", "POST").status_code == 200


def test_a_view_is_sent_again_only_when_it_changed(host: FakeHost) -> None:
    first = ask(host, "views/servers")
    again = ask(host, "views/servers", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    line = ask(host, "views/first-line")
    assert line.headers["X-StableQueue-Nav"].startswith("models,queue,this,servers")


def test_a_request_that_is_too_large_or_no_json_is_refused_in_words(host: FakeHost) -> None:
    large = ask(host, "check", "POST", data=b"{" + b" " * 600_000 + b"}")
    assert large.status_code == 413
    assert large.json()["error"]["code"] == "too_large"

    def pieces():  # type: ignore[no-untyped-def] - a generator makes requests send chunks
        for _ in range(700):
            yield b" " * 1024

    assert ask(host, "check", "POST", data=pieces()).status_code == 413
    for body in (b"", b"[]", b"nonsense", b"\xff\xfe", b"[" * 100_000, b"null"):
        answer = ask(host, "check", "POST", data=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_value"), body[:10]
    many = "&".join(f"a{number}=1" for number in range(100))
    assert ask(host, "views/this/rescan", "POST", data=many).status_code == 400
    assert ask(host, "views/this/no-such", "POST", data="a=1").status_code == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example:7860"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Host": "192.168.7.7:7860", "Origin": "http://192.168.7.7:7860"}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
def test_a_foreign_page_is_refused_even_with_the_token(
    host: FakeHost, headers: dict[str, str], status: int
) -> None:
    answer = ask(host, "sync", "POST", headers=headers)
    assert answer.status_code == status, answer.text
    if status == 403:
        assert answer.json()["error"]["code"] == "foreign_request"


def test_the_first_requests_of_a_rebound_name_get_no_token_from_gradio(host: FakeHost) -> None:
    """The load event of the tab, asked as a page under a foreign name would ask it."""
    assert token_of(host) in host.tab()
    foreign = host.tab({"Host": "evil.example"})
    assert token_of(host) not in foreign
    assert "does not know this name" in foreign


def test_reload_ui_hangs_the_routes_in_once_and_keeps_the_token(
    family: str, start_host: StartHost, tmp_path: Path
) -> None:
    host = start_host(family, tmp_path / "webui", "--bare")
    token = token_of(host)
    for _ in range(3):
        counts = host.reload()
    assert len([route for route in counts["routes"] if "stablequeue" in route]) == 1
    assert token_of(host) == token
    assert ask(host, "status").status_code == 200
    again = "from modules import shared\nfrom stablequeue_client.webui.tab import routes\n"
    host.run(RT + again + "routes.add(rt, shared.app)")
    assert len([route for route in host.counts()["routes"] if "stablequeue" in route]) == 1


def test_under_every_flag_of_the_host_nothing_answers_without_the_token(
    family: str, start_host: StartHost, tmp_path: Path
) -> None:
    flags = ("--bare", "--listen", "--gradio-auth", "me:secret", "--api", "--api-auth", "a:b")
    host = start_host(family, tmp_path / "webui", *flags)
    for route in ALL:
        method = "POST" if route in POSTS else "GET"
        for auth in (None, ("a", "b")):
            answer = requests.request(method, host.url + ROUTES + route, auth=auth, timeout=10)
            assert (answer.status_code, "stablequeue" in answer.text.lower()) == (404, False), route
    assert token_of(host) not in requests.get(host.url + "/config", timeout=10).text
    assert ask(host, "status").status_code == 200


class HangingHub(BaseHTTPRequestHandler):
    """Takes every request and never answers."""

    def do_GET(self) -> None:
        self.server.released.wait(60)  # type: ignore[attr-defined]

    do_POST = do_PUT = do_GET  # noqa: N815 - the base class names them

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hanging_hub():  # type: ignore[no-untyped-def]
    server = ThreadingHTTPServer(("127.0.0.1", 0), HangingHub)
    server.daemon_threads = True
    server.released = threading.Event()  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.released.set()  # type: ignore[attr-defined]
    server.shutdown()


def test_a_hub_that_hangs_does_not_hold_up_what_is_known_here(
    family: str, start_host: StartHost, tmp_path: Path, hanging_hub: str
) -> None:
    host = start_host(family, tmp_path / "webui")
    identity = f"""
import msgspec
from stablequeue_client.hub_client.identity import new_identity, store_identity
rt.places.server_dir.mkdir(parents=True, exist_ok=True)
made = msgspec.structs.replace(new_identity("this", {hanging_hub!r}), hub_id="c" * 32)
store_identity(rt.places.server_dir, made)
"""
    host.run(RT + identity)
    token = token_of(host)
    headers = {"X-StableQueue-Token": token}

    def view(number: int) -> int:
        address = f"{host.url}{ROUTES}views/{('models', 'servers')[number % 2]}?page={number}"
        return requests.get(address, headers=headers, timeout=60).status_code

    with ThreadPoolExecutor(20) as pool:
        views = [pool.submit(view, number) for number in range(20)]
        slowest = 0.0
        for _ in range(8):
            begun = time.monotonic()
            assert requests.get(f"{host.url}{ROUTES}status", headers=headers, timeout=30).status_code == 200
            line = requests.get(f"{host.url}{ROUTES}views/first-line", headers=headers, timeout=30)
            assert line.status_code == 200
            slowest = max(slowest, time.monotonic() - begun)
            time.sleep(0.1)
        assert slowest < 1.0 * slowness(time.perf_counter)
        assert {done.result() for done in views} == {200}


def test_a_client_that_goes_away_while_it_sends_leaves_the_host_alone(host: FakeHost) -> None:
    for _ in range(5):
        parts = urlsplit(host.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
        connection.putrequest("POST", ROUTES + "check")
        connection.putheader("X-StableQueue-Token", token_of(host))
        connection.putheader("Content-Length", "1000")
        connection.endheaders()
        connection.send(b"{")
        connection.close()
    assert ask(host, "status").status_code == 200
    assert "Traceback" not in host.log.partition("ready ")[2]
