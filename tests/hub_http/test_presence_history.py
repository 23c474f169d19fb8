"""When servers were silent, on and accepting jobs; what the hub did not see is unknown."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest

from stablequeue_hub.background.presence_recorder import PresenceRecorder
from stablequeue_hub.history.presence_spans import MERGED_GAP_MS, StateNow, record_states, spans_of

ON_BOTH_DATABASES = True
MINUTE_MS = 60_000


class Watch:
    """The recorder of a hub, and time that goes by while servers are heard."""

    def __init__(self, hub: Any) -> None:
        self.hub, self.recorder, self.begun_ms = hub, PresenceRecorder(), hub.clock.now_ms()

    def pass_time(self, seconds: int, *heard: Any) -> None:
        for _ in range(seconds // 10):
            self.hub.clock.advance(10)
            for runner in heard:
                self.hub.hub.presence.mark_contact(runner.server.server_id)
                runner.next()
            self.hub.run(self.recorder.look(self.hub.hub))

    def restart(self, off_s: int) -> None:
        self.hub.clock.advance(off_s)
        self.recorder = PresenceRecorder()

    def spans(self, server_id: str) -> list[tuple[str, int]]:
        """(state, seconds) since the beginning."""
        answer = self.hub.request("GET", f"/api/v1/servers/{server_id}/presence", key=self.hub.admin)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert all(one["to_ms"] == other["from_ms"] for one, other in pairwise(found))
        assert found[-1]["to_ms"] == self.hub.clock.now_ms()
        return [
            (one["state"], (one["to_ms"] - max(one["from_ms"], self.begun_ms)) // 1000)
            for one in found
            if one["to_ms"] > self.begun_ms
        ]


@pytest.fixture
def watch(hub: Any) -> Watch:
    return Watch(hub)


def test_a_server_is_accepting_on_and_silent_in_turn(hub: Any, hosts: Any, watch: Watch) -> None:
    runner = hosts.add("forge", ("checkpoint", "base.safetensors", "base"))
    watch.pass_time(600, runner)
    hub.request("POST", f"/api/v1/queue/servers/{runner.server.server_id}/pause", key=hub.admin)
    watch.pass_time(300, runner)
    watch.pass_time(600)
    accepting, on, silent = watch.spans(runner.server.server_id)[1:]
    assert accepting == ("accepting", 600)
    # Silent from 35 s after it was heard last, not from the look that noticed it.
    assert on == ("on", 300 - 10 + 35)
    assert silent == ("silent", 600 - 35)


def test_who_works_for_nobody_else_is_on_and_not_accepting(hub: Any, hosts: Any, watch: Watch) -> None:
    runner = hosts.add("forge", ("checkpoint", "base.safetensors", "base"), works="never")
    watch.pass_time(120, runner)
    assert [state for state, _ in watch.spans(runner.server.server_id)] == ["unknown", "on"]


def test_a_hub_that_was_off_makes_no_server_silent(hub: Any, hosts: Any, watch: Watch) -> None:
    runner = hosts.add("forge", ("checkpoint", "base.safetensors", "base"))
    watch.pass_time(600, runner)
    watch.restart(86_400)
    watch.pass_time(600, runner)
    states = watch.spans(runner.server.server_id)
    assert [state for state, _ in states] == ["unknown", "accepting", "unknown", "accepting"]
    assert 86_400 <= states[2][1] <= 86_400 + 10 + 60  # a minute may not be written yet


def test_a_short_restart_is_no_gap(hub: Any, hosts: Any, watch: Watch) -> None:
    runner = hosts.add("forge", ("checkpoint", "base.safetensors", "base"))
    watch.pass_time(600, runner)
    watch.restart(30)
    watch.pass_time(600, runner)
    assert [state for state, _ in watch.spans(runner.server.server_id)] == ["unknown", "accepting"]


@pytest.mark.parametrize("jump_s", [-7_200, 7_200])
def test_a_clock_that_jumps_makes_unknown_time_and_no_state(
    hub: Any, hosts: Any, watch: Watch, jump_s: int
) -> None:
    runner = hosts.add("forge", ("checkpoint", "base.safetensors", "base"))
    watch.pass_time(3_600 * 3, runner)
    hub.clock.ms += jump_s * 1000
    watch.pass_time(600, runner)
    states = [state for state, _ in watch.spans(runner.server.server_id)]
    assert "silent" not in states
    if jump_s > 0:
        assert states == ["unknown", "accepting", "unknown", "accepting"]


def test_quiet_minutes_write_one_row_for_all_servers(hub: Any, hosts: Any, watch: Watch) -> None:
    runners = [hosts.add(f"forge-{number}", ("lora", "a.safetensors", "a")) for number in range(3)]
    watch.pass_time(3_600, *runners)
    with hub.hub.store.read() as connection:
        counts = [
            connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()
            for table in ("hub_spans", "presence_spans")
        ]
    assert counts == [1, 3]


def test_a_forgotten_server_leaves_no_span_and_renaming_changes_none(
    hub: Any, hosts: Any, watch: Watch
) -> None:
    runner = hosts.add("forge", ("lora", "a.safetensors", "a"))
    watch.pass_time(60, runner)
    before = watch.spans(runner.server.server_id)
    path = f"/api/v1/servers/{runner.server.server_id}"
    assert hub.request("PATCH", path, key=hub.admin, json={"alias": "studio"}).status_code == 200
    assert watch.spans("studio") == before
    assert hub.request("DELETE", path, key=hub.admin).status_code in (200, 204)
    watch.pass_time(60)
    with hub.hub.store.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM presence_spans").scalar_one() == 0
    assert hub.request("GET", f"{path}/presence", key=hub.admin).status_code == 404


@pytest.mark.parametrize("seed", range(5))
def test_whatever_happens_the_spans_say_what_was_recorded(hub: Any, seed: int) -> None:
    """Against a list of what was told at each moment."""
    chance = random.Random(seed)
    server_id = hub.join("box").server_id
    now_ms = begun_ms = hub.clock.now_ms()
    told: list[tuple[int, str]] = []
    gaps: list[tuple[int, int]] = []
    for _ in range(80):
        step_ms = chance.choice([10_000, 60_000, MERGED_GAP_MS, MERGED_GAP_MS + 1, 3_600_000])
        if told and step_ms > MERGED_GAP_MS:
            gaps.append((now_ms, now_ms + step_ms))
        now_ms += step_ms
        state: Any = chance.choice(["silent", "on", "accepting"])
        with hub.hub.store.write() as connection:
            record_states(connection, {server_id: StateNow(state)}, now_ms)
        told.append((now_ms, state))
    with hub.hub.store.read() as connection:
        spans = spans_of(connection, server_id, begun_ms, now_ms)
    assert spans[0].from_ms == begun_ms
    assert spans[-1].to_ms == now_ms
    assert all(one.to_ms == other.from_ms for one, other in pairwise(spans))

    def state_at(at_ms: int) -> str:
        return next(one.state for one in spans if one.from_ms <= at_ms < one.to_ms)

    for (at_ms, state), (next_ms, _) in pairwise(told):
        if next_ms - at_ms <= MERGED_GAP_MS:
            assert state_at(at_ms) == state
    for from_ms, to_ms in gaps:
        assert state_at(from_ms) == state_at(to_ms - 1) == "unknown"
