"""Daily sums of uses, waits and run times, kept when jobs are deleted."""

from __future__ import annotations

import math
from typing import Any

import pytest

from stablequeue_hub.background.tasks import fail_overdue_jobs
from stablequeue_hub.history.daily_sums import DAY_MS

from ..fake_runner import sha256_of

ON_BOTH_DATABASES = True
BASE = ("checkpoint", "base.safetensors", "base")
INK = ("lora", "ink.safetensors", "ink")
PAYLOAD = {
    "prompt": "a secret cat <lora:ink:1> <lora:ink:0.5>",
    "steps": 20,
    "width": 1000,
    "height": 500,
    "override_settings": {"sd_model_checkpoint": "base.safetensors"},
}


def submit(hub: Any, payload: dict[str, Any] | None = None, **body: Any) -> str:
    body = {"payload": payload or PAYLOAD, **body}
    answer = hub.request("POST", "/api/v1/jobs", key=hub.admin, json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["job_ids"][0])


def rows(hub: Any, table: str) -> list[dict[str, Any]]:
    with hub.hub.store.read() as connection:
        found = connection.exec_driver_sql(f"SELECT * FROM {table} ORDER BY 1, 2, 3")
        return [dict(row) for row in found.mappings()]


def test_a_run_counts_for_its_day_its_models_and_its_family(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE, INK)
    for _ in range(2):
        submit(hub)
        hub.clock.advance(30)
        taken = runner.next()
        assert runner.work(taken, between=lambda: hub.clock.advance(8)).json()["outcome"] == "confirmed"
    day = hub.clock.now_ms() // DAY_MS
    (runs,) = rows(hub, "run_days")
    per_step = 8_000 / (1000 * 500 * 20 / 1e6)
    assert runs.pop("log_sum") == pytest.approx(2 * math.log(per_step))
    assert runs.pop("log_square_sum") == pytest.approx(2 * math.log(per_step) ** 2)
    whole = {"day": day, "server_id": runner.server.server_id}
    assert runs == {
        **whole, "family": "", "runs": 2, "failed": 0, "wait_ms": 60_000, "run_ms": 16_000, "measured": 2,
    }  # fmt: skip
    assert rows(hub, "model_days") == sorted(
        (
            {**whole, "sha256": sha256_of(content), "uses": 2, "unserved": 0, "wait_ms": 60_000}
            for content in ("base", "ink")
        ),
        key=lambda row: str(row["sha256"]),
    )


def test_the_sums_outlive_the_jobs_and_say_nothing_of_them(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE, INK)
    job_id = submit(hub, name="my name for it")
    runner.work(runner.next())
    before = rows(hub, "run_days"), rows(hub, "model_days")
    assert hub.request("DELETE", f"/api/v1/jobs/{job_id}", key=hub.admin).status_code in (200, 204)
    assert (rows(hub, "run_days"), rows(hub, "model_days")) == before
    for word in ("secret", "my name", "key:", job_id, "base.safetensors", "ink.safetensors"):
        assert word not in str(before)


def test_a_failed_run_is_no_use_of_a_model(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE, INK)
    submit(hub)
    taken = runner.next()
    runner.finish(taken, [], outcome="failed", text="CUDA out of memory")
    (runs,) = rows(hub, "run_days")
    assert (runs["runs"], runs["failed"], runs["wait_ms"]) == (0, 1, 0)
    assert rows(hub, "model_days") == []


def test_a_job_whose_deadline_passed_counts_as_unserved(hub: Any, hosts: Any) -> None:
    elsewhere = hosts.add("attic", INK)
    hosts.add("forge", BASE)
    job_id = submit(hub, targets=[elsewhere.server.server_id])
    ends = {"deadline_ms": hub.clock.now_ms() + 600_000}
    assert hub.request("PATCH", f"/api/v1/jobs/{job_id}", key=hub.admin, json=ends).status_code == 200
    hub.clock.advance(601)
    hub.run(fail_overdue_jobs(hub.hub))
    found = {row["sha256"]: row for row in rows(hub, "model_days")}
    ink = found[sha256_of("ink")]
    assert (ink["server_id"], ink["unserved"], ink["uses"], ink["wait_ms"]) == ("", 1, 0, 601_000)
    assert rows(hub, "run_days") == []


def test_the_next_day_has_rows_of_its_own(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE, INK)
    for _ in range(2):
        submit(hub)
        runner.work(runner.next())
        hub.clock.advance(86_400)
        hosts.tell(runner)
    assert [(row["runs"]) for row in rows(hub, "run_days")] == [1, 1]
    assert len({row["day"] for row in rows(hub, "model_days")}) == 2


@pytest.mark.parametrize("wrong", ["20", -1, 0, None, 2.5])
def test_a_size_that_is_none_is_not_measured(hub: Any, hosts: Any, wrong: Any) -> None:
    runner = hosts.add("forge", BASE, INK)
    values = {name: value for name, value in PAYLOAD.items() if name != "steps"}
    job_id = submit(hub, values)
    with hub.hub.store.write() as connection:
        for payload in connection.exec_driver_sql("SELECT id FROM job_payloads").all():
            text = '{"prompt": "x", "width": 64, "height": 64, "steps": %s}'
            shown = "null" if wrong is None else f'"{wrong}"' if isinstance(wrong, str) else str(wrong)
            mark = "?" if hub.hub.store.is_sqlite else "%s"
            connection.exec_driver_sql(
                f"UPDATE job_payloads SET brief_json = {mark} WHERE id = {payload[0]}", (text % shown,)
            )
    assert job_id
    runner.work(runner.next())
    (runs,) = rows(hub, "run_days")
    assert (runs["runs"], runs["measured"]) == (1, 0)
