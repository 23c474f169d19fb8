"""Heartbeats: contact, the sync they ask for, orders, and two processes with one identity (R17)."""

from __future__ import annotations

import random
from typing import Any

import pytest

from stablequeue_client.shared.wire.inventory import Heartbeat
from stablequeue_hub.app import create_app
from stablequeue_hub.servers.heartbeat import wanted_sync
from stablequeue_hub.servers.presence import Inventory, Presence, ServerPresence

ON_BOTH_DATABASES = True


def test_a_heartbeat_makes_a_server_reachable_for_thirty_five_seconds(hub: Any) -> None:
    box = hub.join("box")
    listed = hub.request("GET", "/api/v1/servers", key=hub.admin).json()
    assert listed[0]["reachable"] is False
    assert listed[0]["apiUrl"] is None
    assert hub.beat(box, "b", 1, activity={"phase": "hashing", "files_done": 2, "files_total": 7}).json() == {
        "want": "full"
    }
    listed = hub.request("GET", "/api/v1/servers", key=hub.admin).json()
    assert (listed[0]["reachable"], listed[0]["activity"]["files_done"]) == (True, 2)
    hub.clock.advance(34)
    assert hub.hub.presence.is_reachable(box.server_id)
    hub.clock.advance(2)
    listed = hub.request("GET", "/api/v1/servers", key=hub.admin).json()
    assert (listed[0]["reachable"], listed[0]["activity"]) == (False, None)
    assert listed[0]["last_contact_ms"] == hub.clock.now_ms() - 36_000


@pytest.mark.parametrize(
    ("known", "said", "wanted"),
    [
        ((None, 0, "0"), ("i", 0, "0"), "full"),
        (("i", 4, "d"), ("i", 4, "d"), None),
        (("i", 4, "d"), ("i", 4, "e"), "full"),
        (("i", 4, "d"), ("i", 5, "e"), "delta"),
        (("i", 4, "d"), ("i", 3, "c"), "full"),
        (("i", 4, "d"), ("j", 4, "d"), "full"),
    ],
)
def test_digests_are_compared_at_equal_sequence_only(
    known: tuple[str | None, int, str], said: tuple[str, int, str], wanted: str | None
) -> None:
    assert wanted_sync(Inventory(*known), Heartbeat("b", 1, *said)) == wanted


def test_after_a_sync_the_hub_wants_nothing_until_something_changes(hub: Any, inventory: Any) -> None:
    box = hub.join("box")
    body = inventory(["one", "two"])
    assert hub.sync(box, body).status_code == 200
    same = {"index_id": "index", "sequence": 1, "digest": body["digest"]}
    assert hub.beat(box, "b", 1, **same).json() == {}
    assert hub.beat(box, "b", 2, **{**same, "sequence": 2, "digest": "1" * 64}).json() == {"want": "delta"}
    assert hub.beat(box, "b", 3, **{**same, "digest": "1" * 64}).json() == {"want": "full"}
    files = hub.request("GET", f"/api/v1/servers/{box.server_id}", key=hub.admin).json()["files"]
    assert files == {"ready": 2}


def test_a_sync_shows_that_a_server_lives_before_its_first_heartbeat(hub: Any, inventory: Any) -> None:
    box = hub.join("box")
    assert hub.sync(box, {**inventory(["one"]), "digest": "1" * 64}).status_code == 409
    assert not hub.hub.presence.is_reachable(box.server_id)
    hub.sync(box, inventory(["one"])).raise_for_status()
    assert hub.hub.presence.is_reachable(box.server_id)
    hub.clock.advance(36)
    assert not hub.hub.presence.is_reachable(box.server_id)


def test_a_heartbeat_does_not_wait_for_a_write_transaction(hub: Any) -> None:
    box = hub.join("box")
    hub.beat(box, "b", 1)
    with hub.hub.store.write():
        assert hub.beat(box, "b", 2).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"boot_id": "b"}',
        b'{"boot_id":"b","boot_counter":0,"index_id":"i","sequence":0,"digest":"d"}',
        b'{"boot_id":"b","boot_counter":1e400,"index_id":"i","sequence":0,"digest":"d"}',
        b'{"boot_id":"b","boot_counter":1,"index_id":"i","sequence":-1,"digest":"d"}',
    ],
)
def test_what_is_no_heartbeat_is_refused_and_changes_nothing(hub: Any, body: bytes) -> None:
    box = hub.join("box")
    answer = hub.request("POST", f"/api/v1/servers/{box.server_id}/heartbeat", key=box.key, content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_value")
    assert not hub.hub.presence.is_reachable(box.server_id)


def test_a_heartbeat_above_512_bytes_is_refused(hub: Any) -> None:
    box = hub.join("box")
    answer = hub.beat(box, "b" * 400, 1)
    assert answer.status_code == 413


# --- orders ---------------------------------------------------------------------------------------------


def give(hub: Any, server: Any, **order: Any) -> Any:
    return hub.request("POST", f"/api/v1/servers/{server.server_id}/orders", key=hub.admin, json=order)


def test_an_order_is_repeated_until_it_was_taken_over(hub: Any) -> None:
    box = hub.join("box")
    first = give(hub, box, kind="rescan").json()
    second = give(hub, box, kind="hashing", mode="pause", until_s=600).json()
    assert second["id"] > first["id"]
    for counter in (1, 2):
        orders = hub.beat(box, "b", counter).json()["orders"]
        assert [order["kind"] for order in orders] == ["rescan", "hashing"]
    assert [o["id"] for o in hub.beat(box, "b", 3, orders_seen=first["id"]).json()["orders"]] == [
        second["id"]
    ]
    assert "orders" not in hub.beat(box, "b", 4, orders_seen=second["id"]).json()


def test_an_order_expires_after_ten_minutes(hub: Any) -> None:
    box = hub.join("box")
    give(hub, box, kind="sync")
    hub.clock.advance(590)
    assert hub.beat(box, "b", 1).json()["orders"][0]["expires_in_s"] == 10
    hub.clock.advance(11)
    assert "orders" not in hub.beat(box, "b", 2).json()


def test_orders_and_contacts_survive_a_restart_of_the_hub(
    hub: Any, settings: Any, store: Any, inventory: Any
) -> None:
    box = hub.join("box")
    hub.sync(box, inventory(["x"])).raise_for_status()
    order = give(hub, box, kind="put_back", root="aaaaaaaa", path="x/y.safetensors").json()
    hub.beat(box, "b", 5)
    hub.run(hub.hub.flush())
    again = create_app(settings, store, clock=hub.clock).state.hub.presence
    assert again.is_reachable(box.server_id)
    assert not again.record_heartbeat(box.server_id, "b", 5)
    assert again.record_heartbeat(box.server_id, "b", 6)
    assert [o.id for o in again.orders_for(box.server_id, 0)] == [order["id"]]
    assert again.orders_for(box.server_id, order["id"]) == []


def test_an_order_id_is_new_also_after_the_database_was_set_back(hub: Any) -> None:
    box = hub.join("box")
    seen = give(hub, box, kind="sync").json()["id"]
    with hub.hub.store.write() as connection:
        connection.exec_driver_sql("DELETE FROM orders")
    hub.clock.advance(1)
    assert give(hub, box, kind="sync").json()["id"] > seen


@pytest.mark.parametrize(
    "order",
    [
        {},
        {"kind": "format_disk"},
        {"kind": "hashing"},
        {"kind": "hashing", "mode": "never"},
        {"kind": "accept_removals"},
        {"kind": "put_back", "root": "aaaaaaaa"},
        {"kind": "put_back", "root": "aaaaaaaa", "path": "../../etc/passwd"},
        {"kind": "hashing", "mode": "pause", "until_s": -1},
    ],
)
def test_an_order_that_makes_no_sense_is_refused(hub: Any, order: dict[str, Any]) -> None:
    box = hub.join("box")
    assert give(hub, box, **order).status_code == 400
    assert "orders" not in hub.beat(box, "b", 1).json()


@pytest.mark.parametrize("kind", ["rescan", "accept_removals", "put_back"])
def test_an_order_for_a_folder_that_the_server_never_reported_is_refused(
    hub: Any, inventory: Any, kind: str
) -> None:
    box, other = hub.join("box"), hub.join("other")
    hub.sync(other, inventory(["one"])).raise_for_status()
    order = {"kind": kind, "root": "aaaaaaaa", "path": "one.safetensors"}
    refused = give(hub, box, **order)
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found")
    assert "aaaaaaaa" in refused.json()["error"]["message"]
    on_page = hub.request("POST", f"/views/servers/{box.server_id}/orders", key=hub.admin, data=order)
    assert on_page.status_code == 404
    assert "orders" not in hub.beat(box, "b", 1).json()
    assert give(hub, other, **order).status_code == 202


# --- R17: two processes, one identity -------------------------------------------------------------------


def test_a_restarted_process_takes_over_and_a_late_heartbeat_of_the_old_one_harms_nobody(hub: Any) -> None:
    box = hub.join("box")
    hub.beat(box, "old", 1)
    hub.beat(box, "new", 1)
    assert hub.beat(box, "old", 2).json() == {}  # was under way
    assert hub.beat(box, "old", 2).json() == {}  # and was repeated by the network
    assert hub.beat(box, "new", 2).json() == {"want": "full"}
    assert hub.hub.presence.known(box.server_id).frozen is None


def test_a_frozen_server_is_told_so_keeps_its_rows_and_takes_no_sync(hub: Any, inventory: Any) -> None:
    box = hub.join("box")
    assert hub.sync(box, inventory(["one"])).status_code == 200
    freeze(hub, box)
    answer = hub.beat(box, "b", 9)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "server_frozen")
    assert "new identity" in answer.json()["error"]["remedy"]
    refused = hub.sync(box, inventory(["one", "two"], sequence=2))
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "server_frozen")
    hub.run(hub.hub.flush())
    listed = hub.request("GET", "/api/v1/servers", key=hub.admin).json()[0]
    assert listed["frozen"]
    assert listed["files"] == {"ready": 1}
    events = hub.request("GET", "/api/v1/events", key=hub.admin).json()["events"]
    assert [e["action"] for e in events].count("server_frozen") == 1


def freeze(hub: Any, box: Any) -> None:
    for boot, counter in (("a", 1), ("b", 1), ("a", 2), ("a", 3)):
        hub.beat(box, boot, counter)
    assert hub.hub.presence.known(box.server_id).frozen


def test_a_freeze_outlives_a_restart_of_the_hub(hub: Any, settings: Any, store: Any) -> None:
    box = hub.join("box")
    freeze(hub, box)
    hub.run(hub.hub.flush())
    assert create_app(settings, store, clock=hub.clock).state.hub.presence.known(box.server_id).frozen


def test_a_frozen_server_thaws_by_hand_and_by_itself_when_one_copy_is_gone(hub: Any, inventory: Any) -> None:
    box = hub.join("box")
    freeze(hub, box)
    hub.run(hub.hub.flush())
    thawed = hub.request("POST", f"/api/v1/servers/{box.server_id}/thaw", key=hub.admin)
    assert (thawed.status_code, thawed.json()["frozen"]) == (200, None)
    assert hub.beat(box, "a", 4).json() == {"want": "full"}  # heard last, so it speaks
    assert hub.sync(box, inventory(["one"])).status_code == 200
    hub.beat(box, "b", 2)
    assert hub.beat(box, "b", 3).status_code == 409
    hub.run(hub.hub.flush())
    counter = 4
    for _ in range(95):  # only "a" goes on, every ten seconds
        counter += 1
        hub.clock.advance(10)
        status = hub.beat(box, "a", counter).status_code
    assert status == 200
    hub.run(hub.hub.flush())
    events = hub.request("GET", "/api/v1/events?limit=1000", key=hub.admin).json()["events"]
    told = [
        (e["action"], e["actor"].split(":")[0])
        for e in events
        if e["action"].startswith(("server_f", "server_t"))
    ]
    assert told == [
        ("server_frozen", "hub"),
        ("server_thawed", "key"),
        ("server_frozen", "hub"),
        ("server_thawed", "hub"),
    ]


class TrustingPresence(Presence):
    """The broken variant: whoever speaks is believed, as if a retired process could come back."""

    def record_heartbeat(self, server_id: str, boot_id: str, counter: int) -> bool:
        server = self.known(server_id)
        if boot_id in server.boots and boot_id != server.boot_id:
            server.boot_id = boot_id
        return super().record_heartbeat(server_id, boot_id, counter)


def heartbeats_until_found(presence: Presence, chance: random.Random) -> int | None:
    """The most heartbeats that one of two copies sent after both were there; None: never found in 50."""
    presence.add(ServerPresence("box"))
    counters = {"a": 0, "b": 0}
    for _ in range(chance.randint(1, 30)):
        counters["a"] += 1
        presence.record_heartbeat("box", "a", counters["a"])
    sent = {"a": 0, "b": 0}
    order = ["b", *(chance.choice(["ab", "ba"]) for _ in range(25))]
    for boot in "".join(order):
        counters[boot] += 1
        sent[boot] += 1
        presence.record_heartbeat("box", boot, counters[boot])
        if presence.known("box").frozen:
            return sent["a"]
    return None


@pytest.mark.fault
def test_two_copies_of_one_server_are_found_within_two_heartbeats(clock: Any) -> None:
    found = [heartbeats_until_found(Presence(clock), random.Random(seed)) for seed in range(100)]
    assert all(count is not None and count <= 2 for count in found)


@pytest.mark.fault
def test_without_the_rule_for_retired_processes_two_copies_are_never_found(clock: Any) -> None:
    found = [heartbeats_until_found(TrustingPresence(clock), random.Random(seed)) for seed in range(100)]
    assert found == [None] * 100


@pytest.mark.fault
def test_rows_of_two_copies_are_never_mixed(hub: Any, inventory: Any) -> None:
    """Whatever both send in whatever order: the hub holds the inventory of one of them, whole."""
    for seed in range(10):
        chance = random.Random(seed)
        box = hub.join(f"box {seed}")
        copies = {boot: [f"{boot}{n}" for n in range(4)] for boot in "ab"}
        for step in range(1, 9):
            boot = chance.choice("ab")
            hub.beat(box, f"{boot}{seed}", step)
            body = inventory(copies[boot], index_id=chance.choice(["shared", boot]), sequence=step)
            assert hub.sync(box, body).status_code in (200, 409)
            with hub.hub.store.read() as connection:
                rows = connection.exec_driver_sql(
                    f"SELECT path FROM server_files WHERE server_id = '{box.server_id}'"
                ).scalars()
                owners = {path[0] for path in rows}
            assert len(owners) <= 1
