"""Many who listen cost one look into the database for each change."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stablequeue_hub.events import event_feed
from stablequeue_hub.events.events import list_events
from stablequeue_hub.http.event_stream import stream_events

from .test_event_stream import LONG, cancel, listed, submit, yes


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """After which events the database was asked for more."""
    asked: list[int] = []

    def counted(connection: Any, **options: Any) -> Any:
        asked.append(options["after_id"])
        return list_events(connection, **options)

    monkeypatch.setattr(event_feed, "list_events", counted)
    return asked


def test_a_change_is_read_once_however_many_listen(hub: Any, looks: list[int]) -> None:
    job_id = submit(hub)
    last = listed(hub)[-1]["id"]

    async def listen(job: str | None) -> bytes:
        async for message in stream_events(hub.hub, last, job, yes, LONG):
            if b"job_cancelled" in message:
                return message
        return b""

    async def all_of_them() -> list[bytes]:
        tasks = [asyncio.create_task(listen(job)) for job in [None, job_id] * 100]
        await asyncio.sleep(0.5)
        looks.clear()
        await cancel(hub, job_id)
        return await asyncio.gather(*tasks)

    got = hub.run(all_of_them())
    assert len(got) == 200
    assert all(b"job_cancelled" in message for message in got)
    assert len(looks) <= 5


def test_every_event_comes_once_and_in_order_whether_kept_or_not(
    hub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_feed, "KEPT_MAX", 5)
    feed = hub.hub.event_feed
    hub.run(feed.after(0, limit=10))
    jobs = [submit(hub) for _ in range(4)]
    for number in range(12):
        jobs.append(submit(hub))
        events = listed(hub)
        for after in (0, events[number // 2]["id"], events[-2]["id"], events[-1]["id"]):
            behind = [event for event in events if event["id"] > after]
            found = hub.run(feed.after(after, limit=100))
            assert [message.id for message in found] == [event["id"] for event in behind]
            mine = hub.run(feed.after(after, limit=100, job_id=jobs[-1]))
            assert [one.id for one in mine] == [e["id"] for e in behind if e["job_id"] == jobs[-1]]


def test_a_feed_that_nobody_read_for_long_begins_anew(hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_feed, "LIST_MAX", 3)
    feed = hub.hub.event_feed
    hub.run(feed.after(0, limit=10))
    for _ in range(5):
        submit(hub)
    events = listed(hub)
    assert [one.id for one in hub.run(feed.after(0, limit=100))] == [event["id"] for event in events]


def test_what_was_deleted_is_sent_to_nobody(hub: Any) -> None:
    feed = hub.hub.event_feed
    hub.run(feed.after(0, limit=10))
    kept, deleted = submit(hub), submit(hub)
    hub.run(feed.after(0, limit=10))
    assert hub.request("DELETE", f"/api/v1/jobs/{deleted}", key=hub.admin).status_code == 204
    assert {message.job_id for message in hub.run(feed.after(0, limit=100))} - {None} == {kept}
