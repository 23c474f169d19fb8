"""Large requests: few at once of each kind, and none costs the others their turn."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import httpx
import pytest

from stablequeue_hub.access import body_lanes
from stablequeue_hub.access.body_lanes import AT_ONCE, BodyLanes
from stablequeue_hub.http import request_bodies
from stablequeue_hub.matching.check import PROMPT_MAX, PROMPTS


def submission(size: int) -> bytes:
    return json.dumps({"payload": {"prompt": "a cat", "init_images": ["A" * size]}}).encode()


async def ask(hub: Any, method: str, path: str, body: bytes) -> httpx.Response:
    transport = httpx.ASGITransport(hub.app, client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8383", timeout=60) as asking:
        return await asking.request(
            method, path, content=body, headers={"Authorization": f"Bearer {hub.admin}"}
        )


class Counted:
    """How many large bodies are read at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.most = 0
        read = request_bodies._receive

        async def receive(request: Any, limit: int) -> bytes:
            body = await read(request, limit)
            if len(body) > 1_000_000:
                self.now += 1
                self.most = max(self.most, self.now)
                await asyncio.sleep(0.05)
                self.now -= 1
            return body

        monkeypatch.setattr(request_bodies, "_receive", receive)


def test_of_many_large_jobs_few_are_read_at_once_and_all_are_queued(
    hub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted, body = Counted(monkeypatch), submission(2_000_000)

    async def all_of_them() -> list[httpx.Response]:
        return await asyncio.gather(*(ask(hub, "POST", "/api/v1/jobs", body) for _ in range(8)))

    assert [answer.status_code for answer in hub.run(all_of_them())] == [202] * 8
    assert counted.most == AT_ONCE["job"]


def test_a_large_request_that_gets_no_place_is_asked_to_come_again_and_small_ones_pass(
    hub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.hub.body_lanes = BodyLanes(wait_s=0.05)
    places: list[Any] = []
    scope: dict[str, Any] = {body_lanes.LEAVE_KEY: places}

    async def fill() -> None:
        for _ in range(AT_ONCE["job"]):
            await hub.hub.body_lanes.enter("job", scope)

    hub.run(fill())
    refused = hub.run(ask(hub, "POST", "/api/v1/jobs", submission(2_000_000)))
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "busy")
    assert int(refused.headers["retry-after"]) >= 1
    assert hub.run(ask(hub, "POST", "/api/v1/jobs", submission(1000))).status_code == 202
    places.pop()()
    for _ in range(3):  # a place is free again after each answer, also one that refuses
        assert hub.run(ask(hub, "POST", "/api/v1/jobs", submission(2_000_000))).status_code == 202
        assert hub.run(ask(hub, "POST", "/api/v1/jobs", b"[" * 2_000_000)).status_code == 400


@pytest.mark.parametrize("name", PROMPTS)
@pytest.mark.parametrize("path", ["/api/v1/jobs", "/api/v1/jobs/check"])
def test_a_prompt_that_nobody_wrote_is_refused_with_its_name_at_once(hub: Any, path: str, name: str) -> None:
    payload = {"prompt": "a cat", name: "<lora:x:1>" * 2_000_000}
    started = time.monotonic()
    refused = hub.request("POST", path, key=hub.admin, json={"payload": payload})
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "too_large")
    assert f"`{name}`" in refused.json()["error"]["message"]
    assert time.monotonic() - started < 10
    fits = {"prompt": "a cat", name: "a" * PROMPT_MAX}
    assert hub.request("POST", path, key=hub.admin, json={"payload": fits}).status_code in (200, 202)


def test_a_job_does_not_grow_such_a_prompt_by_an_edit(hub: Any) -> None:
    made = hub.request("POST", "/api/v1/jobs", key=hub.admin, json={"payload": {"prompt": "a cat"}}).json()
    path, long = f"/api/v1/jobs/{made['job_id']}", "a" * (PROMPT_MAX + 1)
    for edit in ({"prompt": long}, {"payload": {"prompt": long}}):
        assert hub.request("PATCH", path, key=hub.admin, json=edit).status_code == 413
