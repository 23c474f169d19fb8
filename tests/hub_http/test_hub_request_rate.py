"""F16: a good key that asks in a loop is told to wait; everybody who works normally never meets the limit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from stablequeue_hub.access.request_limit import BURST_S, CLIENTS_MAX, RateLimiter
from stablequeue_hub.settings import HubSettings

PER_S = HubSettings.requests_per_s


@pytest.fixture
def settings(settings: HubSettings) -> HubSettings:
    return replace(settings, requests_per_s=PER_S)


def use_up(hub: Any, **asking: Any) -> Any:
    """The first answer that is no 200, and how many were answered before."""
    for number in range(int(PER_S * BURST_S) + 50):
        answer = hub.request("GET", "/api/v1/network", **asking)
        if answer.status_code != 200:
            return answer, number
    raise AssertionError("never told to wait")


def test_a_key_that_asks_in_a_loop_is_told_how_long_to_wait_and_then_taken_again(hub: Any) -> None:
    key = hub.make_key("view")
    refused, before = use_up(hub, key=key)
    assert before == PER_S * BURST_S
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "too_many_requests"
    assert refused.headers["retry-after"] == "1"
    assert 0 < refused.json()["error"]["details"]["retry_after_s"] <= 1 / PER_S
    assert hub.request("GET", "/api/v1/network", key=hub.admin).status_code == 200, "another key"
    hub.clock.advance(1)
    answers = [hub.request("GET", "/api/v1/network", key=key).status_code for _ in range(int(PER_S) + 1)]
    assert answers == [200] * int(PER_S) + [429]


def test_a_browser_has_a_limit_of_its_own_and_the_page_stays_reachable_for_others(hub: Any) -> None:
    def signed_in() -> dict[str, str]:
        code = hub.request("POST", "/api/v1/session-codes", key=hub.admin).json()["code"]
        cookie = hub.request("GET", f"/login?code={code}").headers["set-cookie"].split(";")[0]
        return {"Cookie": cookie}

    one, other = signed_in(), signed_in()
    assert use_up(hub, headers=one)[0].status_code == 429
    assert hub.request("GET", "/", headers=one).status_code == 429
    assert hub.request("GET", "/", headers=other).status_code == 200


def test_a_wrong_secret_of_a_known_key_uses_up_nothing_of_it(hub: Any) -> None:
    key = hub.make_key("view")
    wrong = key[:-4] + ("0000" if key[-4:] != "0000" else "1111")
    for _ in range(30):
        hub.request("GET", "/api/v1/network", key=wrong, client=("10.0.0.9", 1))
    assert use_up(hub, key=key)[1] == PER_S * BURST_S


def test_a_server_with_five_browsers_before_it_never_meets_the_limit(
    clock: Any,
) -> None:
    """The server's key: a heartbeat in ten seconds, a sync a minute, and every two seconds four requests
    (line, view, marks, check) of each of five tabs."""
    rate = RateLimiter(PER_S, clock)
    for second in range(3600):
        asks = 20 * (second % 2 == 0) + (second % 10 == 0) + (second % 60 == 0)
        for _ in range(asks):
            rate.acquire("server")
        clock.advance(1)


def test_a_limit_of_nothing_is_no_limit_and_memory_is_bounded(clock: Any) -> None:
    free = RateLimiter(0, clock)
    for _ in range(5_000):
        free.acquire("one")
    rate = RateLimiter(1, clock)
    for number in range(CLIENTS_MAX + 10):
        rate.acquire(str(number))
    assert len(rate._buckets) == CLIENTS_MAX
