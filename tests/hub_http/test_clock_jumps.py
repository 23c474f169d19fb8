"""A wall clock that jumps ends no job and removes nothing by age; time that goes by does."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

import pytest

from stablequeue_hub.background import tasks

ON_BOTH_DATABASES = True
DAY_S = 86_400


def submit(hub: Any, **fields: Any) -> list[str]:
    answer = hub.request("POST", "/api/v1/jobs", key=hub.admin, json={"payload": {"prompt": "x"}, **fields})
    assert answer.status_code == 202, answer.text
    return list(answer.json()["job_ids"])


def tick(hub: Any) -> Counter[str]:
    """One turn of the background, and the states of all jobs after it."""
    hub.run(tasks.expire(hub.hub))
    hub.run(tasks.drop_old_history(hub.hub))
    hub.run(tasks.enforce_job_retention(hub.hub))
    listed = hub.request("GET", "/api/v1/jobs", key=hub.admin).json()["jobs"]
    return Counter(job["state"] for job in listed)


def test_a_clock_that_jumps_and_is_put_right_costs_nothing(
    hub: Any, caplog: pytest.LogCaptureFixture
) -> None:
    ids = submit(hub, count=3, idempotency_key="k")
    done = submit(hub)[0]
    assert hub.request("POST", f"/api/v1/jobs/{done}/cancel", key=hub.admin).status_code == 200
    before = Counter(pending=3, cancelled=1)
    hub.clock.ms += 40 * DAY_S * 1000
    with caplog.at_level(logging.WARNING, "stablequeue_hub"):
        for _ in range(30):
            assert tick(hub) == before
            hub.clock.advance(60)
    jumps = [one for one in caplog.records if getattr(one, "action", "") == "clock_jumped"]
    assert len(jumps) == 1
    hub.clock.ms -= 40 * DAY_S * 1000
    for _ in range(70):
        assert tick(hub) == before
        hub.clock.advance(60)
    assert submit(hub, count=3, idempotency_key="k") == ids


def test_a_jump_that_stays_is_believed_after_an_hour(hub: Any) -> None:
    submit(hub, count=2)
    hub.clock.ms += 40 * DAY_S * 1000
    tick(hub)
    hub.clock.advance(3599)
    assert tick(hub) == Counter(pending=2)
    hub.clock.advance(2)
    assert tick(hub) == Counter(failed=2)


def test_time_that_goes_by_is_no_jump(hub: Any) -> None:
    submit(hub)
    hub.clock.advance(13.9 * DAY_S)
    assert tick(hub) == Counter(pending=1)
    hub.clock.ms += 1_800_000  # a small correction
    hub.clock.advance(0.2 * DAY_S)
    assert tick(hub) == Counter(failed=1)
