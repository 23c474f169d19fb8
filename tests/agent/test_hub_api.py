"""What the hub client makes of every answer, over real HTTP."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from stablequeue_client.hub_client import connection as connection_module
from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.hub_client.connection import RETRY_AFTER, Timeouts, checked_base_url, retry_after_s
from stablequeue_client.shared.errors import (
    AuthenticationError,
    BusyError,
    GatewayError,
    HubUnreachableError,
    InvalidValueError,
    NotAHubError,
    OldStableQueueError,
    ProtocolMismatchError,
    ServerFrozenError,
    StableQueueError,
    SyncOutOfStepError,
)
from stablequeue_client.shared.wire import inventory
from stablequeue_client.shared.wire.orders import Order

from .scripted_hub import HEALTH, Asked, Say, ScriptedHub, say_error, say_json

KEY = "sq_0123456789abcdef_" + "5" * 64
BEAT = inventory.Heartbeat("b" * 16, 1, "i" * 32, 7, "0" * 64)
HTML = {"Content-Type": "text/html; charset=utf-8"}


def fails(answer: Say, error: type[StableQueueError]) -> StableQueueError:
    with ScriptedHub(lambda asked: answer) as hub, pytest.raises(error) as raised:
        HubApi(hub.url, KEY).heartbeat("s1", BEAT)
    assert type(raised.value) is error
    return raised.value


def test_a_heartbeat_goes_to_its_server_with_the_key_and_its_answer_is_typed() -> None:
    order = {"id": 3, "kind": "put_back", "root": "aa", "path": "x.safetensors.corrupted"}
    with ScriptedHub(lambda asked: say_json({"want": "delta", "orders": [order]})) as hub:
        answer = HubApi(hub.url, KEY).heartbeat("s/1", BEAT)
    assert answer.want == "delta"
    assert answer.orders == [Order(3, "put_back", root="aa", path="x.safetensors.corrupted")]
    (asked,) = hub.asked
    assert (asked.method, asked.path) == ("POST", "/api/v1/servers/s%2F1/heartbeat")
    assert asked.headers["Authorization"] == f"Bearer {KEY}"
    assert json.loads(asked.body)["boot_counter"] == 1


def test_a_sync_is_gzipped() -> None:
    request = inventory.SyncRequest(1, "i" * 32, "full", 0, 5, "0" * 64)
    with ScriptedHub(lambda asked: say_json({"sequence": 5, "digest": "0" * 64})) as hub:
        assert HubApi(hub.url, KEY).sync("s1", request).sequence == 5
    assert hub.asked[0].headers["Content-Encoding"] == "gzip"
    assert json.loads(gzip.decompress(hub.asked[0].body))["mode"] == "full"


def test_the_hubs_own_errors_come_back_as_their_class_with_message_remedy_and_details() -> None:
    here = {"index_id": "x", "sequence": 4}
    error = fails(say_error("sync_out_of_step", 409, here), SyncOutOfStepError)
    assert (error.message, error.remedy, error.details) == ("sync_out_of_step.", "Mend it.", here)
    fails(say_error("server_frozen", 409), ServerFrozenError)
    fails(say_error("authentication_required", 401), AuthenticationError)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(status, NotAHubError) for status in (200, 400, 401, 403, 404, 405, 413)]
    + [(status, GatewayError) for status in (408, 425, 429, 500, 502, 503, 504, 522)],
)
def test_a_page_instead_of_json_is_told_with_status_type_and_first_words(
    status: int, kind: type[StableQueueError]
) -> None:
    page = b"<html>\x1b[31m<h1>Welcome\r\nto the hotel</h1>" + b"x" * 500
    error = fails(Say(status, page, HTML), kind)
    assert str(status) in error.message
    assert "text/html" in error.message
    assert "Welcome to the hotel" in error.message
    assert "\x1b" not in error.message
    assert len(error.message) < 260


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b'{"want": 3}', b'{"want": "delta"', b"\xff\xfe\x00", b"[" * 100_000]
)
def test_an_answer_that_is_not_ours_is_no_hub(body: bytes) -> None:
    fails(Say(200, body), NotAHubError)


def test_an_answer_that_ends_too_early_is_a_hub_that_does_not_answer() -> None:
    fails(Say(200, b'{"want": "delta"}', length=500), HubUnreachableError)


def test_a_huge_answer_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "ANSWER_MAX_BYTES", 1 << 20)
    bomb = gzip.compress(b" " * (64 << 20))
    error = fails(Say(200, bomb, {"Content-Encoding": "gzip"}), HubUnreachableError)
    assert "larger than" in error.message


def test_the_key_never_follows_a_redirect() -> None:
    with ScriptedHub(lambda asked: say_json({})) as stranger:
        for status in (301, 302, 303, 307, 308):
            answer = Say(status, b"", {"Location": f"{stranger.url}/api/v1/servers/s1/heartbeat"})
            assert stranger.url in fails(answer, NotAHubError).message
    assert stranger.asked == []


def test_neither_netrc_nor_a_proxy_of_the_environment_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with ScriptedHub(lambda asked: say_json({})) as proxy, ScriptedHub(lambda asked: say_json({})) as hub:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("no_proxy", "")
        HubApi(hub.url, KEY).heartbeat("s1", BEAT)
    assert proxy.asked == []
    assert hub.asked[0].headers["Authorization"] == f"Bearer {KEY}"


def test_who_answers_is_asked_without_the_key() -> None:
    with ScriptedHub(lambda asked: say_json(HEALTH)) as hub:
        assert HubApi(hub.url, KEY).health().hub_id == HEALTH["hub_id"]
    assert "Authorization" not in hub.asked[0].headers


def test_another_service_and_another_protocol_are_told_apart_from_a_hub() -> None:
    other = {**HEALTH, "service": "grafana"}
    newer = {**HEALTH, "protocol": {"min": 7, "max": 9}}
    with ScriptedHub(lambda asked: say_json(other)) as hub, pytest.raises(NotAHubError, match="grafana"):
        HubApi(hub.url).health()
    with (
        ScriptedHub(lambda asked: say_json(newer)) as hub,
        pytest.raises(ProtocolMismatchError, match="7 to 9"),
    ):
        HubApi(hub.url).health()


def test_the_old_stablequeue_is_named() -> None:
    def old(asked: Asked) -> Say:
        if asked.path == "/status":
            return Say(200, b"MobileSD Server is running", HTML)
        return Say(200, b"<!doctype html><div id=root></div>", HTML)

    with ScriptedHub(old) as hub, pytest.raises(OldStableQueueError):
        HubApi(hub.url).health()
    assert {asked.method for asked in hub.asked} == {"GET"}


def test_nobody_there_is_told_at_once_with_cause_and_remedy() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(HubUnreachableError) as raised:
            HubApi(url).health()
    assert url in raised.value.message
    assert "refused" in raised.value.message
    assert raised.value.remedy


def test_a_wrong_certificate_is_never_accepted(tls_url: str) -> None:
    with pytest.raises(HubUnreachableError, match="certificate"):
        HubApi(tls_url, KEY).heartbeat("s1", BEAT)


@pytest.fixture
def black_hole() -> Iterator[str]:
    """Accepts every connection and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_hub_that_accepts_and_never_answers_holds_nobody_up(black_hole: str) -> None:
    api = HubApi(black_hole, KEY, timeouts=Timeouts(connect=0.3, read=0.3, sync=0.3, total=1.0))
    before = time.monotonic()
    for _ in range(5):
        with pytest.raises(HubUnreachableError, match="time limit"):
            api.heartbeat("s1", BEAT)
    assert time.monotonic() - before < 5 * 6


def test_an_answer_that_comes_a_byte_at_a_time_is_given_up() -> None:
    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n"
            )
            for _ in range(300):
                try:
                    connection.sendall(b" ")
                except OSError:
                    return
                time.sleep(0.1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=drip, args=(listener,), daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        api = HubApi(url, KEY, timeouts=Timeouts(connect=1, read=1, sync=1, total=0.5))
        before = time.monotonic()
        with pytest.raises(HubUnreachableError):
            api.heartbeat("s1", BEAT)
        assert time.monotonic() - before < 15, "the whole answer takes 30"


def test_retry_after_is_attached_in_seconds_and_as_a_date() -> None:
    assert fails(say_error("busy", 429, **{"Retry-After": "7"}), BusyError).details[RETRY_AFTER] == 7
    page = Say(503, b"<html>", {**HTML, "Retry-After": "30"})
    assert fails(page, GatewayError).details[RETRY_AFTER] == 30
    now = 1_800_000_000.0
    assert retry_after_s(formatdate(now + 90, usegmt=True), now) == 90
    assert retry_after_s(formatdate(now - 90, usegmt=True), now) == 0
    assert retry_after_s("9" * 40, now) == connection_module.RETRY_AFTER_MAX_S
    assert retry_after_s("soon", now) is None
    assert retry_after_s(None, now) is None


def test_addresses_are_taken_as_people_write_them_and_refused_where_a_key_would_leak() -> None:
    assert checked_base_url("box:8383/") == "http://box:8383"
    assert checked_base_url(" https://hub.example/sq/ ") == "https://hub.example/sq"
    for bad in (
        "",
        "ftp://x",
        "http://",
        "http://me:pw@hub",
        "http://hub?x=1",
        "http://hub:99999",
        "http://[::1",
    ):
        with pytest.raises(InvalidValueError):
            checked_base_url(bad)


def test_a_key_with_a_line_break_is_refused_before_it_becomes_a_header() -> None:
    with pytest.raises(InvalidValueError) as raised:
        HubApi("http://hub", "sq_1_2\r\nX-Evil: 1")
    assert "sq_1" not in str(raised.value)
