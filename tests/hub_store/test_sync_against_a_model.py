"""Two servers change, sync, and lose, repeat or replay messages; the hub equals a model made of dicts.

The model states what the tables must say, written independently of how the hub gets there: which rows are
refused, which models exist, what claims point at, and what is available where.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from types import ModuleType
from typing import Any

import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from stablequeue_client.shared.errors import ConflictError
from stablequeue_hub.inventory.sync import apply_sync, decode_sync
from stablequeue_hub.store.engine import Store
from stablequeue_hub.store.tables import (
    metadata,
    model_server_availability,
    models,
    server_files,
    server_roots,
    servers,
)

SERVERS = ("a", "b")
PATHS = tuple(f"{name}.safetensors" for name in "pqrs")
CONTENTS = ("x", "y", "z")
ROOTS = ("r1", "r2")
servers_st, paths_st = st.sampled_from(SERVERS), st.sampled_from(PATHS)
contents_st, roots_st = st.sampled_from(CONTENTS), st.sampled_from(ROOTS)
rarely = st.integers(0, 4).map(lambda number: number == 4)
MAY_BECOME_READY = ("unhashed", "busy", "unstable")


class Expected:
    """What the hub's tables must say, from the entries that both servers have."""

    def __init__(self) -> None:
        self.models: set[str] = set()
        self.seen: set[tuple[str, str]] = set()
        self.inventories: dict[str, list[dict[str, Any]]] = {server: [] for server in SERVERS}

    def take(self, server: str, entries: list[dict[str, Any]]) -> None:
        self.inventories[server] = entries
        self.models |= {
            file["digests"]["sha256"] for file in self.accepted(server) if file["state"] == "ready"
        }
        self.seen |= {pair for pair, word in self.availability().items() if word[0] != "unavailable"}

    def accepted(self, server: str) -> list[dict[str, Any]]:
        entries = self.inventories[server]
        roots = {entry["root"] for entry in entries if "path" not in entry and entry["kind"] != "wrong"}
        files = [entry for entry in entries if "path" in entry and entry["kind"] != "wrong"]
        return [file for file in files if file["root"] in roots]

    def claimed(self, file: dict[str, Any]) -> str | None:
        if file["state"] == "ready" or not file.get("claims"):
            return None
        value = file["claims"][0]["value"]
        matching = [sha256 for sha256 in self.models if sha256.startswith(value)]
        return matching[0] if len(matching) == 1 else None

    def availability(self) -> dict[tuple[str, str], tuple[str, int]]:
        words = dict.fromkeys(self.seen, ("unavailable", 0))
        for server in SERVERS:
            files = self.accepted(server)
            probable = Counter(self.claimed(file) for file in files if file["state"] in MAY_BECOME_READY)
            ready = Counter(file["digests"]["sha256"] for file in files if file["state"] == "ready")
            words |= {(server, sha256): ("unhashed", count) for sha256, count in probable.items() if sha256}
            words |= {(server, sha256): ("available", count) for sha256, count in ready.items()}
        return words


class Syncs(RuleBasedStateMachine):
    """``store`` and ``wire`` are set by the test that runs it."""

    store: Store
    wire: ModuleType

    @initialize()
    def begin(self) -> None:
        with self.store.write() as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(table.delete())
            for server in SERVERS:
                row = {"server_id": server, "alias": server, "alias_key": server, "joined_ms": 1}
                connection.execute(servers.insert(), row)
        self.agents = {server: self.wire.Agent(f"{server}-1") for server in SERVERS}
        self.acknowledged = dict.fromkeys(SERVERS, 0)
        self.sent: list[tuple[str, bytes]] = []
        self.expected = Expected()
        self.now_ms = 1_000
        for server in SERVERS:
            self.agents[server].put(self.wire.root())

    @rule(server=servers_st, path=paths_st, content=contents_st, root=roots_st)
    def hash_file(self, server: str, path: str, content: str, root: str) -> None:
        self.agents[server].put(self.wire.ready(path, content, root=root))

    @rule(
        server=servers_st,
        path=paths_st,
        content=contents_st,
        digest=st.sampled_from([("sha256", 64), ("autov2", 10)]),
        state=st.sampled_from(["unhashed", "busy", "unstable", "partial", "corrupt"]),
    )
    def claim(self, server: str, path: str, content: str, digest: tuple[str, int], state: str) -> None:
        name, length = digest
        claim = (name, self.wire.sha(content)[:length])
        self.agents[server].put(self.wire.unhashed(path, claim, state=state))

    @rule(server=servers_st, path=paths_st)
    def send_nonsense(self, server: str, path: str) -> None:
        self.agents[server].put({**self.wire.ready(path, "n"), "kind": "wrong"})

    @rule(server=servers_st, path=paths_st, root=roots_st)
    def remove_file(self, server: str, path: str, root: str) -> None:
        if (root, path) in self.agents[server].rows:
            self.agents[server].remove((root, path))

    @rule(server=servers_st, root=roots_st, kind=st.sampled_from(["checkpoint", "lora", "wrong", None]))
    def change_root(self, server: str, root: str, kind: str | None) -> None:
        if kind is not None:
            self.agents[server].put(self.wire.root(root, kind))
        elif (root, None) in self.agents[server].rows:
            self.agents[server].remove((root, None))

    @rule(server=servers_st, path=paths_st, content=contents_st)
    def a_folder_is_named_after_its_file(self, server: str, path: str, content: str) -> None:
        self.change_root(server, "r2", None)
        self.hash_file(server, path, content, "r2")
        self.synchronise(server, False, False)
        self.change_root(server, "r2", "lora")
        self.synchronise(server, False, False)

    @rule(server=servers_st)
    def new_index(self, server: str) -> None:
        agent = self.agents[server]
        name, _, number = agent.index_id.partition("-")
        agent.index_id, self.acknowledged[server] = f"{name}-{int(number) + 1}", 0

    @rule(server=servers_st, full=rarely, reply_lost=rarely)
    def synchronise(self, server: str, full: bool, reply_lost: bool) -> None:
        agent = self.agents[server]
        base = self.acknowledged[server]
        body = agent.full() if full or base == 0 else agent.delta(base)
        self.sent.append((server, body))
        self.now_ms += 1_000
        try:
            answer = apply_sync(self.store, server, decode_sync(body), now_ms=self.now_ms)
        except ConflictError:
            answer = apply_sync(self.store, server, decode_sync(agent.full()), now_ms=self.now_ms)
        assert (answer.sequence, answer.digest) == (agent.sequence, agent.digest())
        self.expected.take(server, agent.entries())
        if not reply_lost:
            self.acknowledged[server] = agent.sequence

    @rule(number=st.integers(0, 50))
    def an_old_message_arrives(self, number: int) -> None:
        if self.sent:
            server, body = self.sent[number % len(self.sent)]
            request = decode_sync(body)
            with contextlib.suppress(ConflictError):
                apply_sync(self.store, server, request, now_ms=self.now_ms)
                with self.store.read() as connection:
                    query = sa.select(servers.c.index_id, servers.c.sequence, servers.c.digest)
                    has = connection.execute(query.where(servers.c.server_id == server)).one()
                assert tuple(has) == (request.index_id, request.sequence, request.digest)

    def teardown(self) -> None:
        if not hasattr(self, "agents"):
            return
        for server in SERVERS:
            self.synchronise(server, False, False)
        with self.store.read() as connection:
            for server in SERVERS:
                self._compare_rows(connection, server)
            self._compare_availability(connection)

    def _compare_rows(self, connection: Any, server: str) -> None:
        entries = self.expected.inventories[server]
        query = sa.select(server_files.c.root_id, server_files.c.path, server_files.c.rejected)
        rows = connection.execute(query.where(server_files.c.server_id == server)).all()
        assert {(r.root_id, r.path) for r in rows} == {(e["root"], e["path"]) for e in entries if "path" in e}
        accepted = {(file["root"], file["path"]) for file in self.expected.accepted(server)}
        assert {(r.root_id, r.path) for r in rows if r.rejected is None} == accepted
        roots = connection.scalars(
            sa.select(server_roots.c.root_id).where(server_roots.c.server_id == server)
        ).all()
        assert set(roots) == {entry["root"] for entry in entries if "path" not in entry}

    def _compare_availability(self, connection: Any) -> None:
        assert set(connection.scalars(sa.select(models.c.hash_sha256)).all()) == self.expected.models
        summary = model_server_availability
        query = sa.select(summary.c.server_id, models.c.hash_sha256, summary.c.availability, summary.c.files)
        rows = connection.execute(query.join_from(summary, models, models.c.id == summary.c.model_id))
        stored = {(server, sha256): (word, files) for server, sha256, word, files in rows}
        assert stored == self.expected.availability()
        held = {sha256 for (_, sha256), (word, _) in stored.items() if word != "unavailable"}
        gone = connection.scalars(sa.select(models.c.hash_sha256).where(models.c.gone_ms.is_not(None))).all()
        assert set(gone) == self.expected.models - held


def _run(store: Store, wire: ModuleType, examples: int) -> None:
    machine = type("SyncsOfThisStore", (Syncs,), {"store": store, "wire": wire})
    options = settings(max_examples=examples, stateful_step_count=25, deadline=None)
    run_state_machine_as_test(machine, settings=options)


def test_the_hub_equals_the_model_after_every_history(store: Store, wire: ModuleType) -> None:
    _run(store, wire, 60 if store.is_sqlite else 15)
