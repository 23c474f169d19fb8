"""What is too large, too slow, too much or not JSON, and what a failure tells a stranger."""

from __future__ import annotations

import asyncio
import gzip
import logging
import threading
from dataclasses import replace
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from stablequeue_client.shared.errors import BusyError
from stablequeue_hub.app import create_app
from stablequeue_hub.inventory.sync_limiter import SyncLimit
from stablequeue_hub.process.log import SafeFormatter


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_a_gzip_bomb_is_refused_without_being_unpacked(hub: Any) -> None:
    box = hub.join("box")
    bomb = gzip.compress(b" " * (80 * 1024 * 1024), 9)
    assert len(bomb) < 100_000
    assert code_of(hub.sync(box, bomb)) == (413, "too_large")


@pytest.mark.parametrize(
    "body", [b"", b"\x1f\x8b", b"no gzip", gzip.compress(b"x", mtime=0)[:-4], gzip.compress(b"{", mtime=0)]
)
def test_a_damaged_sync_is_refused(hub: Any, body: bytes) -> None:
    box = hub.join("box")
    assert code_of(hub.sync(box, body)) == (400, "invalid_value")


def test_a_sync_compressed_in_another_way_is_refused(hub: Any) -> None:
    box = hub.join("box")
    path = f"/api/v1/servers/{box.server_id}/models/sync"
    answer = hub.request("POST", path, key=box.key, content=b"x", headers={"Content-Encoding": "br"})
    assert answer.status_code == 400


def test_a_body_above_the_limit_is_refused_also_when_its_length_is_not_said(hub: Any) -> None:
    async def chunks() -> Any:
        for _ in range(300):
            yield b" " * 1024

    said = hub.request("POST", "/api/v1/availability", key=hub.admin, content=b" " * 300_000)
    unsaid = hub.request("POST", "/api/v1/availability", key=hub.admin, content=chunks())
    assert code_of(said) == code_of(unsaid) == (413, "too_large")


def test_a_body_that_does_not_arrive_is_given_up(settings: Any, store: Any, clock: Any, hub: Any) -> None:
    app = create_app(replace(settings, body_timeout_s=0.05), store, clock=clock)

    async def never() -> Any:
        yield b"{"
        await asyncio.sleep(30)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8383") as client:
            headers = {"Authorization": f"Bearer {hub.admin}"}
            return await client.post("/api/v1/keys", headers=headers, content=never())

    assert code_of(hub.run(ask())) == (408, "request_too_slow")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"\xff\xfe", b'{"scope": 1}', b'{"scope": "root"}', b"[" * 100_000]
)
def test_a_body_that_is_not_what_is_expected_is_refused_in_words(hub: Any, body: bytes) -> None:
    answer = hub.request("POST", "/api/v1/keys", key=hub.admin, content=body)
    assert code_of(answer) == (400, "invalid_value")
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=x", "page=-1", "kind=exe", "sort=;drop", "state=1", "search=" + "x" * 201]
)
def test_a_bad_value_in_the_address_is_named(hub: Any, query: str) -> None:
    answer = hub.request("GET", f"/api/v1/models?{query}", key=hub.admin)
    assert code_of(answer) == (400, "invalid_value")
    assert query.split("=")[0] in answer.json()["error"]["message"]


def test_unknown_addresses_and_methods_are_answered_in_the_same_form(hub: Any) -> None:
    assert code_of(hub.request("GET", "/nope", key=hub.admin)) == (404, "not_found")
    wrong = hub.request("PUT", "/healthz")
    assert code_of(wrong) == (405, "method_not_allowed")
    assert wrong.headers["allow"] == "GET, HEAD"


def test_an_unexpected_failure_shows_an_id_that_the_log_explains(hub: Any, caplog: Any) -> None:
    @hub.app.get("/broken")
    async def broken(request: Request) -> None:
        raise RuntimeError("the secret inner reason")

    with caplog.at_level(logging.ERROR):
        answer = hub.request("GET", "/broken")
    assert code_of(answer) == (500, "internal")
    assert "secret inner reason" not in answer.text
    assert answer.json()["error"]["details"]["id"] in caplog.text
    assert "secret inner reason" in caplog.text


def test_the_log_hides_secrets_and_control_characters() -> None:
    formatter = SafeFormatter("%(message)s")
    secret = "0123456789abcdef" * 4
    text = (
        f"key sq_abc_{secret} GET /login?code=AbC-123 postgresql://me:hunter2@db/x "
        f"Authorization: Bearer {secret}\x1b[31m\r\u202e"
    )
    shown = formatter.format(logging.LogRecord("x", logging.ERROR, "f", 1, text, (), None))
    for hidden in (secret, "AbC-123", "hunter2", "\x1b", "\r", "\u202e"):
        assert hidden not in shown
    assert "sq_abc_***" in shown


# --- sync limits ------------------------------------------------------------------------------------------


class Work:
    """Runs until it is told to end; counts how many run at once."""

    def __init__(self) -> None:
        self.running = self.most = 0
        self.end = threading.Event()

    def __call__(self) -> str:
        self.running += 1
        self.most = max(self.most, self.running)
        assert self.end.wait(60)
        self.running -= 1
        return "done"


def test_large_syncs_are_worked_on_one_at_a_time(hub: Any) -> None:
    limit, work = SyncLimit("test", at_once=1, wait_s=60), Work()

    async def all_at_once() -> list[str]:
        tasks = [asyncio.ensure_future(limit.run(work)) for _ in range(5)]
        while not work.running:
            await asyncio.sleep(0.01)
        work.end.set()
        return await asyncio.gather(*tasks)

    assert hub.run(all_at_once()) == ["done"] * 5
    assert work.most == 1
    limit.close()


def test_a_large_sync_for_which_no_place_comes_free_is_sent_away_in_time(hub: Any) -> None:
    limit, work = SyncLimit("test", at_once=1, wait_s=0.05), Work()

    async def one_holds_the_place() -> tuple[str, list[Any]]:
        first = asyncio.ensure_future(limit.run(work))
        while not work.running:
            await asyncio.sleep(0.01)
        others = await asyncio.gather(*(limit.run(work) for _ in range(3)), return_exceptions=True)
        work.end.set()
        return await first, others

    first, others = hub.run(one_holds_the_place())
    assert first == "done"
    assert work.most == 1
    assert all(isinstance(error, BusyError) for error in others)
    assert all(2 <= error.details["retry_after_s"] <= 8 for error in others)
    limit.close()


def test_a_second_sync_of_one_server_is_sent_away_with_retry_after(hub: Any, inventory: Any) -> None:
    box = hub.join("box")
    hub.hub.presence.known(box.server_id).syncing = True
    answer = hub.sync(box, inventory(["a"]))
    assert code_of(answer) == (429, "busy")
    assert int(answer.headers["retry-after"]) >= 1
