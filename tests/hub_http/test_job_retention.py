"""Ended jobs and their pictures are kept for a time and up to a size; nothing that counts goes."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stablequeue_client.shared.errors import DataFolderError
from stablequeue_hub.background import job_retention, tasks
from stablequeue_hub.background.job_retention import sweep_pictures
from stablequeue_hub.background.tasks import enforce_job_retention, sweep_pictures_once

ON_BOTH_DATABASES = True
BASE = ("checkpoint", "base.safetensors", "base checkpoint")
DAY_S = 86_400
STRAYS_S = job_retention.ORPHAN_AGE_S


def submit(hub: Any, count: int = 1, **body: Any) -> list[str]:
    payload = {"prompt": "a cat", "override_settings": {"sd_model_checkpoint": "base.safetensors"}}
    body = {"payload": payload, "count": count, **body}
    answer = hub.request("POST", "/api/v1/jobs", key=hub.admin, json=body)
    assert answer.status_code == 202, answer.text
    ids: list[str] = answer.json()["job_ids"]
    return ids


def worked(hub: Any, runner: Any, count: int = 1) -> list[str]:
    """Jobs that the runner completed; each later than the one before."""
    ids = submit(hub, count)
    while (taken := runner.next()) is not None:
        hub.clock.advance(1)
        assert runner.work(taken).json()["state"] == "completed"
    return ids


def keep(hub: Any, *, days: int = 0, gb: int = 0) -> None:
    hub.hub.settings = replace(hub.hub.settings, jobs_days=days, pictures_gb=gb)
    hub.run(enforce_job_retention(hub.hub))


def left(hub: Any, ids: list[str]) -> list[str]:
    return [
        job_id
        for job_id in ids
        if hub.request("GET", f"/api/v1/jobs/{job_id}", key=hub.admin).status_code == 200
    ]


def with_pictures(hub: Any, ids: list[str]) -> list[str]:
    return [job_id for job_id in ids if list((hub.hub.pictures.folder / job_id).glob("*.png"))]


def count(hub: Any, table: str) -> int:
    with hub.hub.store.read() as connection:
        return int(connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one())


def aged(path: Path, hub: Any, seconds: float) -> Path:
    """The file, last written so long ago."""
    then = hub.clock.now_ms() / 1000 - seconds
    os.utime(path, (then, then))
    return path


def test_ended_jobs_go_after_their_days_and_starred_and_waiting_ones_stay(
    hub: Any, hosts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_retention, "BATCH", 2)
    runner = hosts.add("forge", BASE)
    ids = worked(hub, runner, 6)
    idle = hub.join("asks for nothing").server_id
    waits = submit(hub, targets=[idle], idempotency_key="k")[0]
    hub.request("POST", f"/api/v1/jobs/{ids[1]}/star", key=hub.admin)
    hub.clock.advance(29 * DAY_S)
    hosts.tell(runner)
    recent = worked(hub, runner)[0]
    hub.clock.advance(2 * DAY_S)
    keep(hub)
    assert left(hub, ids) == ids
    keep(hub, days=30)
    assert left(hub, [*ids, recent, waits]) == [ids[1], recent, waits]
    assert with_pictures(hub, [*ids, recent]) == [ids[1], recent]
    assert [count(hub, table) for table in ("job_pictures", "job_runs", "job_payloads")] == [2, 2, 3]
    events = hub.request("GET", "/api/v1/events?limit=1000", key=hub.admin).json()["events"]
    assert not {event["job_id"] for event in events} & (set(ids) - {ids[1]})
    retired = [event for event in events if event["action"] == "jobs_retired"]
    assert (sum(event["details"]["jobs"] for event in retired), retired[0]["actor"]) == (5, "hub")
    # The submission of a job that waits is still answered and not queued again.
    assert submit(hub, targets=[idle], idempotency_key="k") == [waits]


def test_the_oldest_pictures_go_until_the_rest_is_small_enough(
    hub: Any, hosts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = worked(hub, hosts.add("forge", BASE), 5)
    hub.request("POST", f"/api/v1/jobs/{ids[0]}/star", key=hub.admin)
    failed = submit(hub, targets=[hub.join("asks for nothing").alias])[0]
    hub.request("POST", f"/api/v1/jobs/{failed}/cancel", key=hub.admin)
    with hub.hub.store.read() as connection:
        sizes = dict(connection.exec_driver_sql("SELECT job_id, bytes FROM job_pictures").all())
    monkeypatch.setattr(tasks, "GB", sum(sizes[job_id] for job_id in ids[3:]))
    keep(hub, gb=0)
    assert left(hub, ids) == ids
    keep(hub, gb=1)
    assert left(hub, [*ids, failed]) == [ids[0], *ids[3:], failed]
    assert with_pictures(hub, ids) == [ids[0], *ids[3:]]
    keep(hub, gb=1)
    assert left(hub, ids) == [ids[0], *ids[3:]]


def test_nothing_of_a_deleted_job_stays_on_the_disk_for_longer_than_a_minute(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE)
    payload = {"prompt": "UNSPEAKABLE", "override_settings": {"sd_model_checkpoint": "base.safetensors"}}
    made = submit(hub, payload=payload, name="UNSPEAKABLE too", idempotency_key="UNSPEAKABLE as well")
    runner.step()
    waits = submit(hub, payload={"prompt": "UNSPEAKABLE", "negative_prompt": "x" * 50_000})
    for job_id in (*made, *waits):
        assert hub.request("DELETE", f"/api/v1/jobs/{job_id}", key=hub.admin).status_code == 204
    hub.run(tasks.expire(hub.hub))
    folder = hub.hub.settings.data_dir
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert [path.name for path in files if b"UNSPEAKABLE" in path.read_bytes()] == []
    if hub.hub.store.is_sqlite:
        assert folder / "hub.sqlite-wal" in files


def test_only_files_that_no_row_names_are_swept_away(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE)
    done = worked(hub, runner)[0]
    running = submit(hub)[0]
    taken = runner.next()
    runner.send(taken, 0, runner.webui.generate(taken["payload"]))
    folder = hub.hub.pictures.folder
    stale = folder / done / "7-0.png"
    gone = folder / "00000000-0000-0000-0000-000000000000" / "1-0.png"
    fresh = folder / done / "8-0.part"
    for path in (stale, gone, fresh):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    for path in folder.rglob("*.p*"):
        aged(path, hub, 60 if path == fresh else 2 * STRAYS_S)
    hub.run(sweep_pictures_once(hub.hub))
    assert not stale.exists()
    assert not gone.parent.exists()
    assert fresh.exists()
    assert with_pictures(hub, [done, running]) == [done, running]
    assert runner.work(taken).json()["state"] == "completed"


def test_a_crash_between_the_rows_and_the_files_leaves_what_the_next_start_sweeps(
    hub: Any, hosts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = worked(hub, hosts.add("forge", BASE), 2)

    def crash(_job_ids: Any) -> None:
        raise SystemExit

    monkeypatch.setattr(type(hub.hub.pictures), "remove_jobs", lambda _self, ids: crash(ids))
    hub.clock.advance(40 * DAY_S)
    hub.request("POST", f"/api/v1/jobs/{ids[1]}/star", key=hub.admin)
    with pytest.raises(SystemExit):
        keep(hub, days=30)
    assert left(hub, ids) == [ids[1]]
    assert with_pictures(hub, ids) == ids
    hub.run(sweep_pictures_once(hub.hub))
    assert with_pictures(hub, ids) == [ids[1]]


def test_a_hub_over_another_database_leaves_the_pictures_alone(hub: Any, hosts: Any) -> None:
    ids = worked(hub, hosts.add("forge", BASE))
    now_s = hub.clock.now_ms() / 1000 + 10 * STRAYS_S
    folder = hub.hub.pictures.folder
    assert sweep_pictures(hub.hub.store, folder, hub.hub.hub_id, now_s=now_s) == 0
    with hub.hub.store.write() as connection:
        connection.exec_driver_sql("DELETE FROM jobs")  # as in a database that never had them
    with pytest.raises(DataFolderError):
        sweep_pictures(hub.hub.store, folder, "another hub", now_s=now_s)
    assert with_pictures(hub, ids) == ids
    assert sweep_pictures(hub.hub.store, folder, hub.hub.hub_id, now_s=now_s) == 1
