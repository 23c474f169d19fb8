"""What the hub does by itself: flush, expiry, retention; a failing task is tried again."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any

import pytest

from stablequeue_hub.access.keys import revoke_key
from stablequeue_hub.background import retention, tasks
from stablequeue_hub.events.events import append

ON_BOTH_DATABASES = True


def count(hub: Any, table: str) -> int:
    with hub.hub.store.read() as connection:
        return int(connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar())


def test_expired_orders_sessions_and_codes_are_dropped(hub: Any) -> None:
    box = hub.join("box")
    hub.request("POST", f"/api/v1/servers/{box.server_id}/orders", key=hub.admin, json={"kind": "sync"})
    code = hub.request("POST", "/api/v1/session-codes", key=hub.admin).json()["code"]
    hub.request("GET", f"/login?code={code}")
    hub.run(tasks.expire(hub.hub))
    assert (count(hub, "orders"), count(hub, "page_sessions")) == (1, 1)
    hub.clock.advance(601)
    hub.run(tasks.expire(hub.hub))
    assert (count(hub, "orders"), count(hub, "page_sessions")) == (0, 1)
    hub.clock.advance(31 * 86_400)
    hub.run(tasks.expire(hub.hub))
    assert count(hub, "page_sessions") == 0


def happened(hub: Any, *days_ago: float) -> None:
    with hub.hub.store.write() as connection:
        for days in days_ago:
            append(connection, "old", "hub", now_ms=hub.clock.now_ms() - int(days * retention.DAY_MS))


def test_events_are_kept_for_a_year_and_used_join_codes_for_a_month(hub: Any) -> None:
    happened(hub, 366, 365.1, 364.9)
    hub.request("POST", "/api/v1/keys/join-code", key=hub.admin)
    before = count(hub, "events"), count(hub, "keys")
    hub.run(tasks.drop_old_history(hub.hub))
    assert (count(hub, "events"), count(hub, "keys")) == (before[0] - 2, before[1])
    hub.clock.advance(32 * 86_400)
    hub.run(tasks.drop_old_history(hub.hub))
    assert count(hub, "keys") == before[1] - 1


@pytest.mark.parametrize(("days", "left"), [(0, 3), (30, 1)])
def test_the_owner_says_how_long_events_are_kept(hub: Any, days: int, left: int) -> None:
    happened(hub, 4000, 40, 20)
    before = count(hub, "events") - 3
    hub.hub.settings = replace(hub.hub.settings, events_days=days)
    hub.run(tasks.drop_old_history(hub.hub))
    assert count(hub, "events") == before + left


def test_many_old_events_are_dropped_in_batches(hub: Any) -> None:
    with hub.hub.store.write() as connection:
        connection.exec_driver_sql("DELETE FROM events")
    happened(hub, *[400] * 7, 10, *[5] * 20)
    a_year_ago = hub.clock.now_ms() - 365 * retention.DAY_MS
    assert retention.drop_old_events(hub.hub.store, a_year_ago, batch=3) == 7
    assert count(hub, "events") == 21
    assert retention.drop_old_events(hub.hub.store, a_year_ago, batch=3) == 0


def test_orders_that_were_taken_over_leave_the_database_with_the_flush(hub: Any) -> None:
    box = hub.join("box")
    order = hub.request(
        "POST", f"/api/v1/servers/{box.server_id}/orders", key=hub.admin, json={"kind": "sync"}
    ).json()
    hub.beat(box, "b", 1, orders_seen=order["id"])
    hub.run(hub.hub.flush())
    assert count(hub, "orders") == 0


def test_a_failed_flush_is_made_up_for(hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    box = hub.join("box")
    hub.beat(box, "b", 1)
    store, hub.hub.store = hub.hub.store, None
    with pytest.raises(AttributeError):
        hub.run(hub.hub.flush())
    hub.hub.store = store
    hub.run(hub.hub.flush())
    with store.read() as connection:
        assert connection.exec_driver_sql("SELECT boot_counter FROM servers").scalar() == 1


def test_a_failing_task_says_so_once_and_is_tried_again(hub: Any, caplog: Any) -> None:
    turns = 0

    async def step(_hub: Any) -> None:
        nonlocal turns
        turns += 1
        if turns < 4:
            raise RuntimeError("not now")

    async def some_turns() -> None:
        task = asyncio.create_task(tasks._repeat("test", 0.001, step, hub.hub))
        while turns < 6:
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    with caplog.at_level(logging.WARNING):
        hub.run(some_turns())
    assert caplog.text.count("not now") == 1


def test_keys_are_read_again_before_they_are_stale_and_revoked_ones_dropped(hub: Any) -> None:
    box = hub.join("box")
    key_id = box.server_id
    hub.beat(box, "b", 1)
    hub.clock.advance(3.9)
    hub.run(tasks.refresh_keys(hub.hub))
    hub.clock.advance(3.9)
    assert hub.hub.keys.is_fresh(key_id)
    with hub.hub.store.write() as connection:  # as another process does
        revoke_key(connection, key_id, actor="test", now_ms=hub.clock.now_ms())
    hub.run(tasks.refresh_keys(hub.hub))
    assert not hub.hub.keys.is_known(key_id)


def test_the_tasks_run_while_the_application_does(hub: Any) -> None:
    async def begin_and_end() -> set[str]:
        before = asyncio.all_tasks()
        async with tasks.run_background(hub.hub):
            names = {t.get_coro().__qualname__ for t in asyncio.all_tasks() - before}
        assert asyncio.all_tasks() == before
        return names

    assert hub.run(begin_and_end()) == {"_repeat", "sweep_pictures_once"}
