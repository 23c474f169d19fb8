"""What a WebUI asks its hub: answered at once, seldom asked in vain, and each trouble has one sentence."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from stablequeue_client.clock import SYSTEM_CLOCK
from stablequeue_client.hub_client.connection import Timeouts
from stablequeue_client.hub_client.identity import FILE_NAME, Identity, new_identity, store_identity
from stablequeue_client.hub_client.view_cache import TIMEOUTS, WAIT_S, HubState, HubViewCache
from stablequeue_client.shared.errors import NotFoundError
from stablequeue_client.shared.views import values as v

from ..agent.real_hub import RealHub, until
from ..agent.scripted_hub import HEALTH, HUB_ID, Asked, Say, ScriptedHub, say_error, say_json
from .joined import join, tell
from .synthetic_index import file, make_index

FAST = Timeouts(connect=1.0, read=2.0, total=3.0)


class Clock:
    """The system's, put forward by a test."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> float:
        return SYSTEM_CLOCK.now() + self.ahead

    def monotonic(self) -> float:
        return SYSTEM_CLOCK.monotonic() + self.ahead

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return event.wait(seconds)


@dataclass
class Hub:
    """Answers as a hub does; a test changes what it says."""

    models: int = 1
    frozen: str = ""
    hub_id: str = HUB_ID
    server_id: str = ""
    silent: threading.Event = field(default_factory=threading.Event)
    say: Say | None = None

    def answer(self, asked: Asked) -> Say:
        if self.silent.is_set():
            time.sleep(2.5)
        if self.say is not None:
            return self.say
        if asked.path == "/healthz":
            return say_json({**HEALTH, "hub_id": self.hub_id})
        if asked.path.startswith("/views/models"):
            return say_json({"servers": [], "rows": [], "total": self.models, "everything": 1}, ETag='"m"')
        if asked.path.startswith("/views/servers"):
            card = {"server_id": self.server_id, "alias": "a", "connected": True, "frozen": self.frozen}
            return say_json({"servers": [card, {**card, "server_id": "x", "connected": False, "frozen": ""}]})
        if asked.path == "/api/v1/availability":
            wanted = msgspec.json.decode(asked.body)["hashes"]
            return say_json({"results": [item for text in wanted for item in WHO if item["query"] == text]})
        return say_error("not_found", 404)


WHO = [
    {
        "query": "ink",
        "matches": [{}],
        "ambiguous": False,
        "servers": [
            {"server_id": "b", "alias": "barn", "availability": "available"},
            {"server_id": "c", "alias": "cellar", "availability": "unreachable"},
        ],
    },
    {"query": "two", "matches": [{}, {}], "ambiguous": True, "servers": []},
    {"query": "none", "matches": [], "ambiguous": False, "servers": []},
]


@pytest.fixture
def hub() -> Iterator[tuple[Hub, ScriptedHub]]:
    behaviour = Hub()
    with ScriptedHub(behaviour.answer) as server:
        yield behaviour, server


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reader(hub: tuple[Hub, ScriptedHub], tmp_path: Path, clock: Clock) -> HubViewCache:
    """A WebUI that joined the hub."""
    identity = joined(tmp_path, hub[1].url)
    hub[0].server_id = identity.server_id
    return HubViewCache(tmp_path, clock=clock, timeouts=FAST)


def joined(folder: Path, url: str) -> Identity:
    identity = msgspec.structs.replace(new_identity("attic", url), hub_id=HUB_ID)
    store_identity(folder, identity)
    return identity


def settled(reader: HubViewCache, kind: str) -> HubState:
    """The state once it is ``kind``."""
    for _ in range(400):
        state = reader.state()
        if state.kind == kind:
            return state
        time.sleep(0.01)
    raise AssertionError(state)


# --- a hub that is there ----------------------------------------------------------------------------------


def test_without_a_server_json_there_is_no_hub_and_nothing_is_asked(tmp_path: Path) -> None:
    reader = HubViewCache(tmp_path)
    assert reader.state() == HubState("none")
    assert reader.view("models") is None
    assert reader.who_has(["x"]) == {}


def test_views_of_a_real_hub_come_with_the_servers_own_key(tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir()
    real = RealHub(tmp_path / "hub")
    real.start()
    try:
        index = make_index(tmp_path / "one", 0)
        index.put([file("lora", "ink.safetensors")])
        tell(join(real, tmp_path / "one", "one"), index.index)
        index.close()
        own = join(real, tmp_path / "two", "two")
        reader = HubViewCache(tmp_path / "two")
        page = reader.view("models")
        assert page is not None
        assert isinstance(page.value, v.ModelsPage)
        assert [row.name for row in page.value.rows] == ["ink"]
        assert not page.stale
        sha256 = file("lora", "ink.safetensors").sha256 or ""
        details = reader.view("model", sha256)
        assert details is not None
        assert details.value.name == "ink"
        with pytest.raises(NotFoundError):
            reader.view("model", "0" * 64)
        assert reader.who_has([sha256, "nobody"]) == {sha256: ["one"]}
        assert reader.who_has_named([("lora", "ink"), ("vae", "ink")]) == {("lora", "ink"): ["one"]}
        until(lambda: reader.state().servers == 2, 5, "the servers")
        state = reader.state()
        assert (state.kind, state.alias, state.url, state.connected) == ("connected", "two", real.url, 1)
        real.admin().forget_server(own.server_id)
        time.sleep(1.6)
        reader.view("models")
        assert "no longer knows this WebUI" in settled(reader, "refused").message
    finally:
        real.kill()


def test_several_windows_share_one_answer(reader: HubViewCache, hub: tuple[Hub, ScriptedHub]) -> None:
    for _ in range(20):
        assert reader.view("models") is not None
    assert [asked.path for asked in hub[1].asked] == ["/healthz", "/views/models"]


def test_an_unchanged_view_is_asked_for_by_its_etag(
    reader: HubViewCache, hub: tuple[Hub, ScriptedHub], clock: Clock
) -> None:
    first = reader.view("models", "", {"search": "x", "page": "", "view": "models"})
    clock.ahead += 2
    hub[0].say = Say(304, b"", {"ETag": '"m"'})
    second = reader.view("models", "", {"search": "x"})
    assert first is not None
    assert second is not None
    assert second.value is first.value
    assert second.at_ms > first.at_ms
    assert hub[1].asked[-1].path == "/views/models?search=x"
    assert hub[1].asked[-1].headers["If-None-Match"] == '"m"'


def test_who_has_a_model_leaves_out_ourselves_and_what_is_not_certain(reader: HubViewCache) -> None:
    assert reader.who_has(["ink", "two", "none"]) == {"ink": ["barn"]}
    assert reader.who_has([]) == {}


def test_a_glance_returns_at_once_and_says_later_that_there_is_no_such_thing(reader: HubViewCache) -> None:
    assert reader.cached_view("job", "gone") is None
    with pytest.raises(NotFoundError):  # noqa: PT012 - at some time
        for _ in range(100):
            reader.cached_view("job", "gone", fresh_s=0)
            time.sleep(0.05)
    assert reader.cached_view("first-line") is None  # a hub that has no such view


def test_the_state_returns_at_once_and_asks_every_15_seconds(
    reader: HubViewCache, hub: tuple[Hub, ScriptedHub], clock: Clock
) -> None:
    assert reader.state().kind == "asking"
    settled(reader, "connected")
    for _ in range(30):
        reader.state()
        clock.ahead += 1
        time.sleep(0.01)
    asked = [item.path for item in hub[1].asked if item.path == "/views/servers"]
    assert 2 <= len(asked) <= 4


# --- a hub in trouble -------------------------------------------------------------------------------------


def test_a_hub_that_went_away_is_told_with_since_and_the_last_answer_stands_for_a_minute(
    reader: HubViewCache, hub: tuple[Hub, ScriptedHub], clock: Clock
) -> None:
    assert reader.view("models") is not None
    hub[0].say = Say(200, b"{", length=100)  # the connection breaks in the middle of an answer
    clock.ahead += 5
    old = reader.view("models")
    assert old is not None
    assert old.stale
    state = settled(reader, "away")
    assert "does not answer" in state.message
    assert "retried automatically" in state.remedy
    assert abs((state.since_ms or 0) / 1000 - clock.now()) < 5
    clock.ahead += 70
    assert reader.view("models") is None


def test_a_hub_that_hangs_delays_nobody_for_long_and_is_not_asked_again_and_again(
    reader: HubViewCache, hub: tuple[Hub, ScriptedHub]
) -> None:
    hub[0].silent.set()
    began = time.monotonic()
    assert reader.view("models") is None
    assert time.monotonic() - began < TIMEOUTS.read, "it does not wait for the answer's time limit"
    began = time.monotonic()
    for number in range(20):
        reader.view("models", "", {"search": str(number)})
        assert reader.state().kind in ("asking", "away")
    assert time.monotonic() - began < 20 * WAIT_S / 2, "the others do not wait at all"
    assert len(hub[1].asked) == 1


def test_an_outage_of_ten_minutes_costs_few_requests(
    reader: HubViewCache, hub: tuple[Hub, ScriptedHub], clock: Clock
) -> None:
    hub[0].say = Say(503, b"<html>maintenance</html>", {"Content-Type": "text/html"})
    for _ in range(300):
        reader.view("models")
        reader.state()
        clock.ahead += 2
    assert len([asked for asked in hub[1].asked if asked.path == "/healthz"]) <= 30
    hub[0].say = None
    clock.ahead += 61
    assert reader.view("models") is not None
    assert settled(reader, "connected").message == ""


@pytest.mark.parametrize(
    ("said", "kind", "words", "remedy"),
    [
        (say_error("authentication_required", 401), "refused", "no longer knows this WebUI", "Join it again"),
        (say_error("server_forgotten", 401), "refused", "no longer knows this WebUI", "Join it again"),
        (say_error("forbidden", 403), "refused", "too old", "Update the hub"),
        (say_error("protocol_mismatch", 400), "refused", "protocol_mismatch", "Mend it"),
        (
            Say(200, b"<html>hotel</html>", {"Content-Type": "text/html"}),
            "refused",
            "is not a hub",
            "address",
        ),
        (say_error("busy", 429, None, **{"Retry-After": "5"}), "refused", "busy", "Mend it"),
    ],
)
def test_each_trouble_has_a_sentence_and_a_remedy(
    reader: HubViewCache, hub: tuple[Hub, ScriptedHub], said: Say, kind: str, words: str, remedy: str
) -> None:
    hub[0].say = said
    reader.view("models")
    state = settled(reader, kind)
    assert words in state.message
    assert remedy in state.remedy


@pytest.mark.parametrize("before", [True, False], ids=["joined", "never joined"])
def test_the_old_stablequeue_is_named_and_left_in_peace(tmp_path: Path, clock: Clock, before: bool) -> None:
    def old(asked: Asked) -> Say:
        if asked.path == "/status":
            return Say(200, b"MobileSD Server is running", {"Content-Type": "text/html"})
        return Say(404, b"Cannot GET", {"Content-Type": "text/html"})

    with ScriptedHub(old) as server:
        if before:
            joined(tmp_path, server.url)
        else:  # its address stands in the settings
            store_identity(tmp_path, new_identity("attic", server.url))
        reader = HubViewCache(tmp_path, clock=clock, timeouts=FAST)
        reader.view("models")
        state = settled(reader, "old")
        assert "old StableQueue" in state.message
        assert "Use on this computer" in state.remedy
        asked_before = len(server.asked)
        for _ in range(50):
            reader.view("models")
            reader.state()
        assert len(server.asked) == asked_before
        assert all("Authorization" not in asked.headers for asked in server.asked)


def test_another_hub_at_the_address_never_sees_the_key(
    reader: HubViewCache, hub: tuple[Hub, ScriptedHub]
) -> None:
    hub[0].hub_id = "another"
    assert reader.view("models") is None
    assert "Another hub" in settled(reader, "refused").message
    assert all("Authorization" not in asked.headers for asked in hub[1].asked)


def test_a_frozen_server_is_told_while_its_views_go_on(
    reader: HubViewCache, hub: tuple[Hub, ScriptedHub]
) -> None:
    hub[0].frozen = "Stop one of them."
    state = settled(reader, "refused")
    assert "Two running copies" in state.message
    assert state.remedy == "Stop one of them."
    assert reader.view("models") is not None


def test_a_server_that_has_not_joined_yet_shows_no_key(tmp_path: Path, hub: tuple[Hub, ScriptedHub]) -> None:
    store_identity(tmp_path, new_identity("attic", hub[1].url))
    reader = HubViewCache(tmp_path)
    assert reader.view("models") is None
    assert "has not joined" in settled(reader, "refused").message
    assert [asked.path for asked in hub[1].asked] == ["/healthz"]
    assert "Authorization" not in hub[1].asked[0].headers


def test_a_name_changed_on_the_hubs_page_is_the_name_here(reader: HubViewCache) -> None:
    until(lambda: reader.state().alias == "a", 5, "the hub's name for it")


def test_a_changed_server_json_begins_anew(
    reader: HubViewCache, hub: tuple[Hub, ScriptedHub], tmp_path: Path
) -> None:
    hub[0].hub_id = "another"
    reader.view("models")
    settled(reader, "refused")
    store_identity(tmp_path, msgspec.structs.replace(new_identity("b", hub[1].url), hub_id="another"))
    assert reader.view("models") is not None
    assert settled(reader, "connected").alias == "b"
    (tmp_path / FILE_NAME).unlink()
    assert reader.state() == HubState("none")


def test_a_damaged_server_json_is_told(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("{")
    state = HubViewCache(tmp_path).state()
    assert state.kind == "refused"
    assert "cannot be read" in state.message
    assert "join the hub again" in state.remedy


def test_fifty_connections_leave_no_threads_behind(
    hub: tuple[Hub, ScriptedHub], tmp_path: Path, clock: Clock
) -> None:
    reader = HubViewCache(tmp_path, clock=clock, timeouts=FAST)
    for _ in range(50):
        joined(tmp_path, hub[1].url)
        os.utime(tmp_path / FILE_NAME)
        assert reader.view("models") is not None
    end = time.monotonic() + 90
    while "stablequeue-hub-reader" in {thread.name for thread in threading.enumerate()}:
        assert time.monotonic() < end
        time.sleep(0.02)
