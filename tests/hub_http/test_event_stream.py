"""Events as they happen, and waiting for a job's end: woken at once, and nothing is held meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import httpx
import pytest

from stablequeue_hub.http import event_stream
from stablequeue_hub.http.event_stream import resume_point, stream_events, stream_start
from stablequeue_hub.jobs.wait import job_when_ended

ON_BOTH_DATABASES = True
LONG = 600.0


def submit(hub: Any, **options: Any) -> str:
    body = {"payload": {"prompt": "x"}, **options}
    job_id: str = hub.request("POST", "/api/v1/jobs", key=hub.admin, json=body).json()["job_id"]
    return job_id


def streamed(hub: Any, query: str = "", **headers: str) -> list[dict[str, Any]]:
    answer = hub.request("GET", f"/api/v1/events/stream{query}", key=hub.admin, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    blocks = answer.text.split("\n\n")
    assert blocks[0] == "retry: 2000"
    return [
        dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks[1:] if "id:" in block
    ]


def listed(hub: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = hub.request("GET", "/api/v1/events", key=hub.admin).json()["events"]
    return found


def test_a_stream_has_every_event_once_with_its_id_and_goes_on_where_it_was(hub: Any) -> None:
    for _ in range(3):
        submit(hub)
    known = listed(hub)
    got = streamed(hub, "?after=0")
    assert [int(message["id"]) for message in got] == [event["id"] for event in known]
    assert [json.loads(message["data"]) for message in got] == known
    assert got[-1]["event"] == "job_submitted"
    half = known[-2]["id"]
    # A browser that reconnects says where it was; the address it was opened with is old.
    for query, headers in (("?after=0", {"Last-Event-ID": str(half)}), (f"?after={half}", {})):
        assert [int(message["id"]) for message in streamed(hub, query, **headers)] == [known[-1]["id"]]
    assert streamed(hub) == []


def test_an_id_of_a_history_that_a_backup_undid_begins_with_what_happens_now(hub: Any) -> None:
    submit(hub)
    newest = listed(hub)[-1]["id"]
    with hub.hub.store.read() as connection:
        begun = [stream_start(connection, first) for first in (None, 0, newest, newest + 1_000)]
    assert begun == [newest, 0, newest, newest]


def test_the_events_of_one_job_alone(hub: Any) -> None:
    mine = submit(hub)
    submit(hub)
    assert [json.loads(message["data"])["job_id"] for message in streamed(hub, f"?after=0&job={mine}")] == [
        mine
    ]
    one = hub.request("GET", f"/api/v1/events?job={mine}", key=hub.admin).json()["events"]
    assert [event["job_id"] for event in one] == [mine]


def test_more_events_than_one_step_reads_all_come(hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "BATCH_MAX", 2)
    for _ in range(4):
        submit(hub)
    assert len(streamed(hub, "?after=0")) == len(listed(hub))


@pytest.mark.parametrize(
    "value", ["x", "-1", "1.5", "9" * 30, "²", "0" * 20 + "9" * 30, "4" * 20, "9" * 5000]
)
def test_a_last_event_id_that_is_no_id_is_refused(hub: Any, value: str) -> None:
    headers = {"Last-Event-ID": value.encode("utf-8")}
    refused = hub.request("GET", "/api/v1/events/stream", key=hub.admin, headers=headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_value")
    assert resume_point("  ", 5) == 5


@pytest.mark.parametrize("path", ["/api/v1/events", "/api/v1/events/stream"])
def test_a_job_that_no_database_can_look_for_is_refused_before_the_stream_begins(hub: Any, path: str) -> None:
    refused = hub.request("GET", f"{path}?job=%00", key=hub.admin)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_value")


async def messages_of(stream: AsyncIterator[bytes], count: int) -> list[bytes]:
    return [await asyncio.wait_for(anext_of(stream), 5) for _ in range(count)]


async def anext_of(stream: AsyncIterator[bytes]) -> bytes:
    return await stream.__anext__()


async def cancel(hub: Any, job_id: str) -> None:
    transport = httpx.ASGITransport(hub.app, client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8383") as asking:
        headers = {"Authorization": f"Bearer {hub.admin}"}
        (await asking.post(f"/api/v1/jobs/{job_id}/cancel", headers=headers)).raise_for_status()


async def yes() -> bool:
    return True


async def no() -> bool:
    return False


def test_an_event_wakes_the_stream_and_no_session_is_held_before(
    hub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "POLL_EVERY_S", LONG)
    job_id = submit(hub)
    last = listed(hub)[-1]["id"]

    async def watch() -> list[bytes]:
        async with aclosing(stream_events(hub.hub, last, job_id, yes, LONG)) as stream:
            await messages_of(stream, 1)
            waiting = asyncio.ensure_future(messages_of(stream, 1))
            await asyncio.sleep(0.1)
            assert not waiting.done()
            assert hub.hub.store._reader.pool.checkedout() == 0
            await cancel(hub, job_id)
            return await waiting

    assert b"event: job_cancelled" in hub.run(watch())[0]


def test_what_rings_no_bell_comes_with_the_next_look(hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "POLL_EVERY_S", 0.05)
    last = max((event["id"] for event in listed(hub)), default=0)

    async def watch() -> list[bytes]:
        async with aclosing(stream_events(hub.hub, last, None, yes, LONG)) as stream:
            await messages_of(stream, 1)
            waiting = asyncio.ensure_future(messages_of(stream, 1))
            await asyncio.to_thread(hub.make_key, "view")
            return await waiting

    assert b"event: key_created" in hub.run(watch())[0]


@pytest.mark.parametrize(("may", "expected"), [(yes, [b": still here\n\n"] * 2), (no, [])])
def test_a_quiet_stream_says_that_it_lives_while_its_key_does(
    hub: Any, monkeypatch: pytest.MonkeyPatch, may: Any, expected: list[bytes]
) -> None:
    monkeypatch.setattr(event_stream, "HEARTBEAT_S", 0.05)
    last = max((event["id"] for event in listed(hub)), default=0)

    async def watch() -> list[bytes]:
        found = []
        async with aclosing(stream_events(hub.hub, last, None, may, LONG)) as stream:
            async for message in stream:
                found.append(message)
                if len(found) == 3:
                    break
        return found[1:]

    assert hub.run(watch()) == expected


def test_a_revoked_key_ends_its_stream(hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "HEARTBEAT_S", 0.05)
    hub.hub.settings = replace(hub.hub.settings, stream_s=LONG)
    key = hub.make_key("view")

    async def watch() -> None:
        transport = httpx.ASGITransport(hub.app, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8383") as asking:
            path = f"/api/v1/keys/{key.split('_')[1]}"
            stream = asking.get("/api/v1/events/stream", headers={"Authorization": f"Bearer {key}"})
            waiting = asyncio.ensure_future(stream)
            await asyncio.sleep(0.2)
            assert not waiting.done()
            await asking.delete(path, headers={"Authorization": f"Bearer {hub.admin}"})
            await asyncio.wait_for(waiting, 5)

    hub.run(watch())


def test_waiting_ends_with_the_job_with_the_time_and_with_the_hub(hub: Any) -> None:
    ended, waits, last = submit(hub), submit(hub), submit(hub)

    async def wait() -> list[str]:
        found = []
        waiting = asyncio.ensure_future(job_when_ended(hub.hub.store, hub.hub.notifier, ended, 30))
        await asyncio.sleep(0.1)
        await cancel(hub, waits)  # another job's end wakes nobody here
        await asyncio.sleep(0.05)
        assert not waiting.done()
        assert hub.hub.store._reader.pool.checkedout() == 0
        await cancel(hub, ended)
        found.append((await asyncio.wait_for(waiting, 5)).state)
        found.append((await job_when_ended(hub.hub.store, hub.hub.notifier, last, 0.05)).state)
        waiting = asyncio.ensure_future(job_when_ended(hub.hub.store, hub.hub.notifier, last, 30))
        await asyncio.sleep(0.05)
        hub.hub.notifier.close()
        found.append((await asyncio.wait_for(waiting, 5)).state)
        return found

    assert hub.run(wait()) == ["cancelled", "pending", "pending"]


def test_a_wait_is_at_most_a_minute_and_ends_at_once_for_what_ended(hub: Any) -> None:
    job_id = submit(hub)
    path = f"/api/v1/jobs/{job_id}"
    assert hub.request("GET", f"{path}?wait=61", key=hub.admin).status_code == 400
    hub.request("POST", f"{path}/cancel", key=hub.admin)
    assert hub.request("GET", f"{path}?wait=60", key=hub.admin).json()["state"] == "cancelled"
    assert hub.request("GET", "/api/v1/jobs/none?wait=60", key=hub.admin).status_code == 404
