"""How an agent behaves towards a hub that is away, overloaded, or not what it should be.

The real heartbeat and sync loops in their threads, real HTTP; only the time is ours.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from itertools import pairwise
from pathlib import Path

import pytest

from stablequeue_client.agent.heartbeat import HeartbeatLoop
from stablequeue_client.agent.sync_loop import SyncLoop
from stablequeue_client.files.scanner import Root, RootScan, ScanReport
from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.hub_client.backoff import Backoff
from stablequeue_client.hub_client.link import HubLink
from stablequeue_client.index.index import Index, open_index
from stablequeue_client.shared.wire.inventory import Activity, digest_hex
from stablequeue_client.shared.wire.orders import Order

from .agent_clock import SteppedClock
from .scripted_hub import HEALTH, HUB_ID, Asked, Say, ScriptedHub, say_error, say_json

HTML = {"Content-Type": "text/html"}
TEN_MINUTES = 600.0
KEY = "sq_s1_" + "0" * 64

ANSWERS = {
    "429": say_error("busy", 429),
    "500": say_error("failed", 500),
    "502": Say(502, b"<html>Bad Gateway</html>", HTML),
    "503": Say(503, b"<html>Unavailable</html>", HTML),
    "html": Say(200, b"<html>Log in to the hotel</html>", HTML),
    "garbage": Say(200, b"\x00\xff\x00garbage", {"Content-Type": "application/json"}),
    "truncated": Say(200, b'{"want": "de'),
    "redirect": Say(302, b"", {"Location": "http://127.0.0.1:9/"}),
    "old": Say(200, b"MobileSD Server is running", HTML),
    "401": say_error("authentication_required", 401),
}


class LoopsUnderTest:
    """Heartbeat and sync of one server over an index that has something to say."""

    def __init__(self, url: str, data: Path) -> None:
        self.clock = SteppedClock()
        self.stop = threading.Event()
        self.link = HubLink(self.clock, Backoff())
        self.index: Index = open_index(data, clock=self.clock.now)
        root = Root("0a1b2c3d", "lora", "/models/Lora", "Lora")
        scan = RootScan(root, (), (), (), "healthy", "healthy")
        self.index.apply_scan(ScanReport((scan,)))
        self.orders: list[Order] = []
        api = HubApi(url, KEY, now=self.clock.now)
        greeter = HubApi(url, now=self.clock.now)
        self.sync = SyncLoop(
            api, "s1", self.index, self.link,
            greet=lambda: greeter.health().hub_id, clock=self.clock, stop=self.stop,
        )  # fmt: skip
        self.heartbeat = HeartbeatLoop(
            HubApi(url, KEY, now=self.clock.now), "s1", self.link,
            joined=lambda: True, inventory=self._inventory, activity=Activity,
            take_orders=self.orders.extend, wanted=self.sync.wanted, clock=self.clock, stop=self.stop,
        )  # fmt: skip
        self.threads = [
            threading.Thread(target=loop, daemon=True) for loop in (self.sync.run, self.heartbeat.run)
        ]
        for thread in self.threads:
            thread.start()

    def _inventory(self) -> tuple[str, int, str, int]:
        here = self.index.position()
        return here.index_id, here.sequence, digest_hex(here.digest), len(self.orders)

    def pass_time(self, seconds: float) -> None:
        self.clock.run_until(self.clock.seconds + seconds, len(self.threads))

    def end(self) -> None:
        self.stop.set()
        self.sync.wake()
        self.heartbeat.send_now()
        for thread in self.threads:
            thread.join(5)
            assert not thread.is_alive()
        self.index.close()


@contextmanager
def loops(hub: ScriptedHub, data: Path) -> Iterator[LoopsUnderTest]:
    running = LoopsUnderTest(hub.url, data)
    try:
        yield running
    finally:
        running.end()


def healthy(asked: Asked) -> Say:
    """A hub that takes everything."""
    if asked.path == "/healthz":
        return say_json(HEALTH)
    if asked.path.endswith("/sync"):
        return say_json({"sequence": 1, "digest": "0" * 64})
    return say_json({})


@pytest.mark.fault
@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ANSWERS)
def test_a_hub_that_is_away_for_ten_minutes_gets_at_most_thirty_requests_and_is_found_again(
    kind: str, tmp_path: Path
) -> None:
    with ScriptedHub(lambda asked: ANSWERS[kind]) as hub, loops(hub, tmp_path) as agent:
        agent.pass_time(TEN_MINUTES)
        assert 2 <= len(hub.asked) <= 30
        problem = agent.link.state().problem
        assert problem is not None
        assert problem.message
        hub.answer = healthy
        agent.pass_time(TEN_MINUTES)
        assert agent.link.state().problem is None
        assert agent.index.acked(HUB_ID) == agent.index.sequence()


@pytest.mark.fault
@pytest.mark.parametrize("form", ["seconds", "date"])
def test_the_wait_a_hub_asks_for_is_kept_within_a_second(form: str, tmp_path: Path) -> None:
    times: list[float] = []

    def busy(asked: Asked) -> Say:
        times.append(agent.clock.seconds)
        wait = "45" if form == "seconds" else formatdate(agent.clock.now() + 45, usegmt=True)
        return say_error("busy", 429, **{"Retry-After": wait})

    with ScriptedHub(healthy) as hub, loops(hub, tmp_path) as agent:
        agent.pass_time(30)
        hub.answer = busy
        agent.pass_time(400)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert len(gaps) >= 5
    assert all(44 <= gap <= 46.01 for gap in gaps), gaps


def test_a_healthy_hub_hears_a_heartbeat_every_ten_seconds_and_one_sync(tmp_path: Path) -> None:
    with ScriptedHub(healthy) as hub, loops(hub, tmp_path) as agent:
        agent.pass_time(301)
        beats = [asked for asked in hub.asked if asked.path.endswith("/heartbeat")]
        syncs = [asked for asked in hub.asked if asked.path.endswith("/sync")]
        assert 30 <= len(beats) <= 32
        assert len(syncs) == 1
        assert max(len(asked.body) for asked in beats) <= 512


def test_orders_are_acknowledged_by_the_next_heartbeat_which_comes_at_once(tmp_path: Path) -> None:
    def with_order(asked: Asked) -> Say:
        if asked.path.endswith("/heartbeat") and b'"orders_seen":1' not in asked.body:
            return say_json({"orders": [{"id": 1, "kind": "rescan"}]})
        return healthy(asked)

    with ScriptedHub(with_order) as hub, loops(hub, tmp_path) as agent:
        agent.pass_time(1)
        beats = [asked.body for asked in hub.asked if asked.path.endswith("/heartbeat")]
    assert [order.kind for order in agent.orders] == ["rescan"]
    assert len(beats) == 2


def test_after_a_sleep_of_the_machine_the_next_heartbeat_comes_at_once(tmp_path: Path) -> None:
    with ScriptedHub(healthy) as hub, loops(hub, tmp_path) as agent:
        agent.pass_time(15)
        before = sum(asked.path.endswith("/heartbeat") for asked in hub.asked)
        agent.clock.wall_offset += 8 * 3600
        agent.pass_time(2.5)
        assert sum(asked.path.endswith("/heartbeat") for asked in hub.asked) == before + 1


def test_a_mismatch_after_a_full_inventory_is_told_and_tried_again_after_five_minutes(tmp_path: Path) -> None:
    def mismatch(asked: Asked) -> Say:
        return say_error("digest_mismatch", 409) if asked.path.endswith("/sync") else healthy(asked)

    with ScriptedHub(mismatch) as hub, loops(hub, tmp_path) as agent:
        agent.pass_time(290)
        assert sum(asked.path.endswith("/sync") for asked in hub.asked) == 1
        assert agent.sync.problem is not None
        assert agent.sync.problem.code == "digest_mismatch"
        agent.pass_time(20)
        assert sum(asked.path.endswith("/sync") for asked in hub.asked) == 2


def test_a_frozen_server_says_so_and_its_heartbeats_go_on(tmp_path: Path) -> None:
    def frozen(asked: Asked) -> Say:
        return healthy(asked) if asked.path == "/healthz" else say_error("server_frozen", 409)

    with ScriptedHub(frozen) as hub, loops(hub, tmp_path) as agent:
        agent.pass_time(100)
        beats = sum(asked.path.endswith("/heartbeat") for asked in hub.asked)
        syncs = sum(asked.path.endswith("/sync") for asked in hub.asked)
        assert agent.heartbeat.frozen is not None
        hub.answer = healthy
        agent.pass_time(301)
        assert agent.heartbeat.frozen is None
        assert agent.sync.is_synced()
    assert beats >= 9
    assert syncs == 1
