"""A sync is taken over whole or not at all, and the hub says what it has instead (D1, D2, D3, D14)."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import sqlalchemy as sa

from stablequeue_client.shared.errors import (
    ConflictError,
    DigestMismatchError,
    NotFoundError,
    RolledBackError,
    ServerFrozenError,
    SyncOutOfStepError,
)
from stablequeue_client.shared.wire.inventory import SyncAnswer
from stablequeue_hub.inventory import sync as hub_sync
from stablequeue_hub.inventory.sync import UNKNOWN_ROOT, decode_sync
from stablequeue_hub.store.engine import Store
from stablequeue_hub.store.tables import (
    events,
    metadata,
    model_server_availability,
    models,
    server_files,
    servers,
)

Apply = Callable[..., SyncAnswer]


def _send(
    store: Store, body: bytes, server: str = "a", now_ms: int = 1_000, apply: Apply | None = None
) -> SyncAnswer:
    return (apply or hub_sync.apply_sync)(store, server, decode_sync(body), now_ms=now_ms)


def _paths(store: Store, server: str = "a") -> dict[str, str | None]:
    """path -> why it is refused."""
    with store.read() as connection:
        query = sa.select(server_files.c.path, server_files.c.rejected).where(
            server_files.c.server_id == server
        )
        return dict(tuple(row) for row in connection.execute(query))


def _has(store: Store, server: str = "a") -> tuple[Any, ...]:
    with store.read() as connection:
        query = sa.select(servers.c.index_id, servers.c.sequence, servers.c.digest)
        return tuple(connection.execute(query.where(servers.c.server_id == server)).one())


def _everything(store: Store) -> dict[str, list[Any]]:
    with store.read() as connection:
        return {
            table.name: sorted(map(repr, connection.execute(table.select()).all()))
            for table in metadata.sorted_tables
        }


def _has_what(store: Store, agent: Any) -> bool:
    return _has(store) == (agent.index_id, agent.sequence, agent.digest())


@pytest.fixture
def agent(store: Store, join: Callable[..., None], wire: ModuleType) -> Any:
    """A server with two files that the hub has."""
    join(store, "a")
    agent = wire.Agent().put(
        wire.root(), wire.ready("one.safetensors", "1"), wire.ready("two.safetensors", "2")
    )
    _send(store, agent.full())
    return agent


def test_full_and_delta_lead_to_the_inventory_of_the_agent(
    store: Store, agent: Any, wire: ModuleType
) -> None:
    assert _has_what(store, agent)
    base = agent.sequence
    agent.put(wire.ready("one.safetensors", "changed"), wire.ready("three.safetensors", "3"))
    agent.remove(("r1", "two.safetensors"))
    answer = _send(store, agent.delta(base))
    assert (answer.sequence, answer.digest) == (agent.sequence, agent.digest())
    assert _has_what(store, agent)
    assert set(_paths(store)) == {"one.safetensors", "three.safetensors"}


def test_a_full_inventory_replaces_what_was_there(store: Store, agent: Any, wire: ModuleType) -> None:
    agent.remove(("r1", "one.safetensors"), ("r1", "two.safetensors")).put(wire.ready("new", "n"))
    _send(store, agent.full())
    assert set(_paths(store)) == {"new"}
    assert _has_what(store, agent)


def test_a_lost_reply_does_no_harm_the_same_delta_is_answered_again(
    store: Store, agent: Any, wire: ModuleType
) -> None:
    base = agent.sequence
    delta = agent.put(wire.ready("three.safetensors", "3"), wire.ready("../bad", "4")).delta(base)
    first = _send(store, delta)
    before = _everything(store)
    again = _send(store, delta, now_ms=2_000)
    assert again == first
    assert [entry.path for entry in again.rejected] == ["../bad"]
    assert _everything(store) == before


@pytest.mark.parametrize("wrong", ["base", "index"])
def test_a_delta_that_starts_elsewhere_is_answered_with_what_the_hub_has(
    store: Store, agent: Any, wire: ModuleType, wrong: str
) -> None:
    had = _has(store)
    base = agent.sequence
    agent.put(wire.ready("three.safetensors", "3"))
    if wrong == "index":
        agent.index_id = "index-2"
    before = _everything(store)
    with pytest.raises(SyncOutOfStepError) as error:
        _send(store, agent.delta(base - 1 if wrong == "base" else base))
    assert error.value.details == dict(zip(("index_id", "sequence", "digest"), had, strict=True))
    assert _everything(store) == before


def test_reordered_deltas_are_refused_and_the_right_one_still_fits(
    store: Store, agent: Any, wire: ModuleType
) -> None:
    base = agent.sequence
    agent.put(wire.ready("three.safetensors", "3"))
    middle = agent.sequence
    first = agent.delta(base)
    agent.put(wire.ready("four.safetensors", "4"))
    second = agent.delta(middle)
    with pytest.raises(SyncOutOfStepError):
        _send(store, second)
    _send(store, first)
    _send(store, second)
    with pytest.raises(RolledBackError):
        _send(store, first)
    assert _has_what(store, agent)


def test_a_delta_whose_result_has_another_digest_changes_nothing(
    store: Store, agent: Any, wire: ModuleType
) -> None:
    base = agent.sequence
    del agent.rows["r1", "one.safetensors"]  # the agent lost a row without noticing
    agent.put(wire.ready("three.safetensors", "3"))
    before = _everything(store)
    with pytest.raises(SyncOutOfStepError):
        _send(store, agent.delta(base))
    assert _everything(store) == before
    _send(store, agent.full())
    assert _has_what(store, agent)


def test_a_full_inventory_that_does_not_add_up_changes_nothing(
    store: Store, agent: Any, wire: ModuleType
) -> None:
    before = _everything(store)
    broken = wire.body("full", "index-1", 0, 9, "f" * 64, [wire.root()], [wire.ready("x", "x")], [])
    with pytest.raises(DigestMismatchError) as error:
        _send(store, broken)
    assert error.value.details["sequence"] == agent.sequence
    assert _everything(store) == before


def test_an_index_that_was_set_back_or_replaced_is_refused(
    store: Store, agent: Any, wire: ModuleType
) -> None:
    old = agent.full()
    agent.put(wire.ready("three.safetensors", "3"))
    _send(store, agent.full())
    with pytest.raises(RolledBackError):
        _send(store, old)
    replaced = agent.full()
    fresh = wire.Agent("index-2").put(wire.root())
    _send(store, fresh.full())
    for body in (replaced, agent.put(wire.ready("four", "4")).full(), agent.delta(1)):
        with pytest.raises(RolledBackError) as error:
            _send(store, body)
        assert error.value.details["index_id"] == "index-2"
    assert _has_what(store, fresh)


def test_a_full_inventory_is_accepted_again_and_at_the_same_sequence(store: Store, agent: Any) -> None:
    _send(store, agent.full())
    assert _has_what(store, agent)


def test_an_unchanged_inventory_writes_only_the_time_of_the_sync(store: Store, agent: Any) -> None:
    before = _everything(store)
    _send(store, agent.full(), now_ms=99_000)
    after = _everything(store)
    changed = [name for name in before if before[name] != after[name]]
    assert changed == ["servers"]
    assert before["servers"] == [row.replace("99000", "1000") for row in after["servers"]]


def test_a_server_that_never_joined_or_is_frozen_is_refused(store: Store, agent: Any) -> None:
    with pytest.raises(NotFoundError):
        _send(store, agent.full(), server="nobody")
    with store.write() as connection:
        connection.execute(servers.update().values(frozen="Two copies run."))
    before = _everything(store)
    with pytest.raises(ServerFrozenError, match="Two copies run"):
        _send(store, agent.full())
    assert _everything(store) == before


def test_a_refused_entry_is_kept_listed_and_offered_to_nobody(
    store: Store, join: Callable[..., None], wire: ModuleType
) -> None:
    join(store, "a")
    agent = wire.Agent().put(
        wire.root(), wire.ready("good", "g"), {**wire.ready("bad", "b"), "kind": "nonsense"}
    )
    answer = _send(store, agent.full())
    assert [(entry.path, entry.reason) for entry in answer.rejected] == [("bad", "unknown kind of model")]
    assert _has_what(store, agent)
    with store.read() as connection:
        assert connection.scalars(sa.select(models.c.hash_sha256)).all() == [wire.sha("g")]
    base = agent.sequence
    assert _send(store, agent.put(wire.ready("bad", "b")).delta(base)).rejected == []
    assert _has_what(store, agent)
    assert _paths(store) == {"good": None, "bad": None}


def test_files_follow_their_root_whatever_order_they_come_in(
    store: Store, join: Callable[..., None], wire: ModuleType
) -> None:
    join(store, "a")
    claim = ("sha256", wire.sha("1"))
    agent = wire.Agent().put(wire.ready("one", "1"), wire.unhashed("maybe", claim))
    assert {entry.reason for entry in _send(store, agent.full()).rejected} == {UNKNOWN_ROOT}
    base = agent.sequence
    _send(store, agent.put(wire.root()).delta(base))
    assert _paths(store) == {"one": None, "maybe": None}
    assert _availability(store) == {("a", wire.sha("1")): ("available", 1)}
    with store.read() as connection:
        assert connection.scalar(
            sa.select(server_files.c.claimed_model_id).where(server_files.c.path == "maybe")
        )
    base = agent.sequence
    _send(store, agent.remove(("r1", None)).delta(base))
    assert set(_paths(store).values()) == {UNKNOWN_ROOT}
    assert _availability(store) == {("a", wire.sha("1")): ("unavailable", 0)}
    assert _has_what(store, agent)


def _availability(store: Store) -> dict[tuple[str, str | None], tuple[str, int]]:
    summary = model_server_availability
    with store.read() as connection:
        query = sa.select(summary.c.server_id, models.c.hash_sha256, summary.c.availability, summary.c.files)
        rows = connection.execute(query.join_from(summary, models, models.c.id == summary.c.model_id))
        return {(server, sha256): (word, files) for server, sha256, word, files in rows}


def test_every_change_of_availability_is_an_event_of_the_same_transaction(
    store: Store, agent: Any, wire: ModuleType
) -> None:
    base = agent.sequence
    agent.remove(("r1", "one.safetensors")).put(wire.ready("two.copy", "2"))
    _send(store, agent.delta(base), now_ms=2_000)
    assert _availability(store) == {
        ("a", wire.sha("1")): ("unavailable", 0),
        ("a", wire.sha("2")): ("available", 2),
    }
    with store.read() as connection:
        query = sa.select(events.c.at_ms, events.c.action, events.c.actor, events.c.details_json)
        told = connection.execute(query.order_by(events.c.id)).all()
    assert [tuple(event) for event in told] == [
        (1_000, "availability_changed", "server:a", '{"from": null, "to": "available"}'),
        (1_000, "availability_changed", "server:a", '{"from": null, "to": "available"}'),
        (2_000, "availability_changed", "server:a", '{"from": "available", "to": "unavailable"}'),
    ]


def test_a_model_that_left_was_last_seen_when_its_server_was_heard_last(
    store: Store, agent: Any, wire: ModuleType
) -> None:
    with store.write() as connection:
        connection.execute(servers.update().values(last_contact_ms=5_000))
    base = agent.sequence
    _send(store, agent.remove(("r1", "one.safetensors")).delta(base), now_ms=9_000)
    with store.read() as connection:
        row = connection.execute(
            model_server_availability.select().where(
                model_server_availability.c.availability == "unavailable"
            )
        ).one()
    assert (row.last_seen, row.since_ms) == (5_000, 9_000)


def test_a_claim_points_at_a_model_whichever_comes_first_and_lets_go_when_it_means_two(
    store: Store, join: Callable[..., None], wire: ModuleType
) -> None:
    join(store, "a", "b", "c")
    short = wire.sha("x")[:10]
    claiming = wire.Agent().put(wire.root(), wire.unhashed("maybe", ("autov2", short)))
    _send(store, claiming.full(), server="b")
    assert _availability(store) == {}
    _send(store, wire.Agent().put(wire.root(), wire.ready("x", "x")).full(), server="a")
    assert _availability(store)["b", wire.sha("x")] == ("unhashed", 1)
    twin = {"sha256": short + "0" * 54}
    other = wire.Agent().put(wire.root(), wire.ready("twin", "y", digests=twin))
    _send(store, other.full(), server="c", now_ms=3_000)
    assert _availability(store)["b", wire.sha("x")] == ("unavailable", 0)
    base = claiming.sequence
    _send(store, claiming.put(wire.ready("maybe", "x")).delta(base), server="b")
    assert _availability(store)["b", wire.sha("x")] == ("available", 1)


@pytest.mark.parametrize("digest", ["sha256", "blake3", "autov1", "autov3", "autov2"])
def test_claims_of_every_digest_find_their_model(
    store: Store, join: Callable[..., None], wire: ModuleType, digest: str
) -> None:
    join(store, "a", "b")
    entry = wire.ready("x", "x")
    entry["digests"]["autov3"] = wire.sha("3")[:12]
    known = {**entry["digests"], "autov2": entry["digests"]["sha256"][:10]}
    _send(store, wire.Agent().put(wire.root(), entry).full(), server="a")
    _send(
        store,
        wire.Agent().put(wire.root(), wire.unhashed("maybe", (digest, known[digest]))).full(),
        server="b",
    )
    assert _availability(store)["b", wire.sha("x")] == ("unhashed", 1)


def test_a_digest_that_comes_later_connects_claims_too(
    store: Store, join: Callable[..., None], wire: ModuleType
) -> None:
    join(store, "a", "b", "c")
    plain = wire.ready("x", "x", digests={"sha256": wire.sha("x")})
    _send(store, wire.Agent().put(wire.root(), plain).full(), server="a")
    claim = ("blake3", wire.sha("bx"))
    _send(store, wire.Agent().put(wire.root(), wire.unhashed("maybe", claim)).full(), server="b")
    assert ("b", wire.sha("x")) not in _availability(store)
    _send(store, wire.Agent().put(wire.root(), wire.ready("x", "x")).full(), server="c")
    assert _availability(store)["b", wire.sha("x")] == ("unhashed", 1)


@pytest.mark.parametrize("state", ["partial", "corrupt", "unreadable", "set_aside"])
def test_a_file_that_will_not_become_ready_as_it_is_makes_nothing_unhashed(
    store: Store, agent: Any, wire: ModuleType, join: Callable[..., None], state: str
) -> None:
    join(store, "b")
    claiming = wire.unhashed("maybe", ("sha256", wire.sha("1")), state=state)
    _send(store, wire.Agent().put(wire.root(), claiming).full(), server="b")
    assert ("b", wire.sha("1")) not in _availability(store)


def test_one_content_in_folders_of_two_kinds_is_one_model(
    store: Store, join: Callable[..., None], wire: ModuleType
) -> None:
    join(store, "a", "b")
    _send(store, wire.Agent().put(wire.root(), wire.ready("x.safetensors", "x")).full(), server="a")
    as_lora = wire.Agent().put(wire.root(kind="lora"), wire.ready("x.safetensors", "x", kind="lora"))
    _send(store, as_lora.full(), server="b")
    with store.read() as connection:
        assert connection.scalars(sa.select(models.c.type)).all() == ["checkpoint"]
        assert connection.scalars(sa.select(server_files.c.kind_differs).order_by("server_id")).all() == [
            0,
            1,
        ]
    assert {key[0] for key in _availability(store)} == {"a", "b"}


def test_the_answer_asks_for_the_metadata_of_safetensors_files_nobody_described(
    store: Store, agent: Any, wire: ModuleType
) -> None:
    base = agent.sequence
    answer = _send(
        store, agent.put(wire.ready("old.ckpt", "ckpt"), wire.unhashed("u.safetensors")).delta(base)
    )
    assert sorted(answer.want_metadata) == sorted([wire.sha("1"), wire.sha("2")])


def test_many_rows_come_and_go_whole(store: Store, join: Callable[..., None], wire: ModuleType) -> None:
    join(store, "a")
    agent = wire.Agent().put(wire.root(), *(wire.ready(f"f{i}.safetensors", str(i)) for i in range(1_203)))
    _send(store, agent.full())
    assert len(_paths(store)) == 1_203
    base = agent.sequence
    agent.remove(*(("r1", f"f{i}.safetensors") for i in range(0, 1_203, 2)))
    _send(store, agent.delta(base))
    assert len(_paths(store)) == 601
    assert _has_what(store, agent)
    words = [word for word, _ in _availability(store).values()]
    assert (words.count("available"), words.count("unavailable")) == (601, 602)


# --- the same tests must notice when a guard is gone --------------------------------------------------------

# Not the base of a delta: without that check the digest refuses the same messages, only later.
GUARDS = {
    "lower sequence": ("        if request.sequence < known.sequence:", "        if False:"),
    "replaced index": ("    elif _was_replaced(connection, server_id, request.index_id):", "    elif False:"),
    "digest": ("    if plan.digest != request.digest:", "    if False:"),
    "old digests": ("    replaced += [old.digest for old in old_files.values()]", "    pass"),
    "repeated delta": ("        and request.base_sequence < known.sequence", "        and False"),
}


def _broken(guard: str) -> Apply:
    """apply_sync from the source of the real one with one guard taken out."""
    source = Path(hub_sync.__file__).read_text(encoding="utf-8")
    there, instead = GUARDS[guard]
    indented = [line for line in source.splitlines() if line.strip().startswith(there.strip())]
    assert len(indented) == 1, f"the guard {guard!r} is not where this test looks for it"
    spec = importlib.util.spec_from_loader("broken_sync", loader=None)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["broken_sync"] = module  # where its dataclasses look
    exec(compile(source.replace(there.strip(), instead.strip(), 1), "broken_sync", "exec"), module.__dict__)
    apply: Apply = module.__dict__["apply_sync"]
    return apply


def _hostile_history(store: Store, wire: ModuleType, apply: Apply) -> bool:
    """Replays, losses and rollbacks; whether the hub has the agent's inventory after each, as it must."""
    agent = wire.Agent().put(wire.root(), wire.ready("one", "1"))
    _send(store, agent.full(), apply=apply)
    stale = agent.full()
    base = agent.sequence
    delta = agent.put(wire.ready("two", "2"), wire.ready("one", "1b")).delta(base)
    steps: list[tuple[bytes, bool]] = [(delta, True), (delta, True), (stale, False)]
    lost = agent.put(wire.ready("three", "3")).sequence
    agent.put(wire.ready("four", "4"))
    steps.append((agent.delta(lost), False))
    for body, accepted in steps:
        if _accepted(store, body, apply) != accepted:
            return False
    _send(store, agent.full(), apply=apply)
    last_of_first = agent.full()
    fresh = wire.Agent("index-2").put(wire.root(), wire.ready("five", "5"))
    _send(store, fresh.full(), apply=apply)
    wrong = wire.body("full", "index-2", 0, fresh.sequence + 1, "0" * 64, [wire.root()], [], [])
    refused = [_accepted(store, body, apply) for body in (last_of_first, wrong)]
    return refused == [False, False] and _has_what(store, fresh)


def _accepted(store: Store, body: bytes, apply: Apply) -> bool:
    try:
        _send(store, body, apply=apply)
    except ConflictError:
        return False
    return True


@pytest.mark.fault
def test_no_replay_loss_or_rollback_is_taken_for_the_inventory(
    store: Store, join: Callable[..., None], wire: ModuleType
) -> None:
    join(store, "a")
    assert _hostile_history(store, wire, hub_sync.apply_sync)


@pytest.mark.fault
@pytest.mark.parametrize("guard", sorted(GUARDS))
def test_without_a_guard_the_same_history_goes_wrong(
    new_store: Callable[[str], Store], join: Callable[..., None], wire: ModuleType, guard: str
) -> None:
    store = new_store("sqlite")
    join(store, "a")
    assert not _hostile_history(store, wire, _broken(guard))
