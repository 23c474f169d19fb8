"""Whatever happens between a server and the hub, both end with the same inventory.

The agent's real index and sync logic against the hub's real store and rules; only the network is in memory,
and it loses, delays, repeats and reorders. Either side crashes, is wiped, is set back to an older copy; a
copy of the index lives beside the original for a while. Afterwards, with a working network, two syncs must
be enough.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy", reason="the hub is not installed here")

import msgspec
from hypothesis import Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from stablequeue_client.agent.sync_loop import SyncLoop
from stablequeue_client.files.hashing import HashResult
from stablequeue_client.files.scanner import Root, RootScan, ScannedFile, ScanReport
from stablequeue_client.hub_client.backoff import Backoff
from stablequeue_client.hub_client.link import HubLink
from stablequeue_client.index.index import Index, open_index
from stablequeue_client.shared.errors import HubUnreachableError, StableQueueError
from stablequeue_client.shared.model_files.model_file import Digests
from stablequeue_client.shared.wire import inventory as wire_inventory
from stablequeue_hub.inventory import sync as hub_sync
from stablequeue_hub.servers.heartbeat import wanted_sync
from stablequeue_hub.servers.presence import Inventory
from stablequeue_hub.store.engine import open_store
from stablequeue_hub.store.migrate import migrate
from stablequeue_hub.store.tables import server_files, server_roots, servers

SERVER = "a" * 32
ROOT = Root("0a1b2c3d", "lora", "/models/Lora", "Lora")
EXAMPLES = int(os.environ.get("STABLEQUEUE_TEST_CONVERGENCE_EXAMPLES", "120"))
STEPS = int(os.environ.get("STABLEQUEUE_TEST_CONVERGENCE_STEPS", "40"))
ENOUGH_SYNCS = 2

Apply = Callable[..., wire_inventory.SyncAnswer]


class ManualClock:
    """Time that moves when a test says so."""

    def __init__(self) -> None:
        self.seconds = 1_700_000_000.0

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.seconds += seconds
        return event.is_set()


def copy_database(source: Path, target: Path) -> None:
    """A consistent copy of a live SQLite file, as a backup program with sense makes it."""
    target.unlink(missing_ok=True)
    with sqlite3.connect(source) as live, sqlite3.connect(target) as copy:
        live.backup(copy)
    live.close()
    copy.close()


def replace_database(copy: Path, target: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{target}{suffix}").unlink(missing_ok=True)
    shutil.copy(copy, target)


class HubSide:
    """The hub's store and the rules that it applies to a sync."""

    def __init__(self, folder: Path, empty: Path, apply: Apply) -> None:
        self.folder, self.empty, self.apply = folder, empty, apply
        folder.mkdir()
        shutil.copy(empty, folder / "hub.sqlite")
        self.store = open_store(None, folder)
        self.copies: list[Path] = []

    def take(self, body: bytes) -> wire_inventory.SyncAnswer:
        return self.apply(self.store, SERVER, hub_sync.decode_sync(body), now_ms=1)

    def inventory(self) -> Inventory:
        with self.store.read() as connection:
            row = connection.execute(servers.select()).one()
        return Inventory(row.index_id, row.sequence, row.digest)

    def rows(self) -> dict[tuple[str, str], bytes]:
        with self.store.read() as connection:
            found = {
                (row.root_id, row.path): row.row_digest for row in connection.execute(server_files.select())
            }
            found |= {(row.root_id, ""): row.row_digest for row in connection.execute(server_roots.select())}
        return found

    def back_up(self) -> None:
        self.copies.append(self.folder / f"copy-{len(self.copies)}.sqlite")
        copy_database(self.folder / "hub.sqlite", self.copies[-1])

    def replace(self, copy: Path) -> None:
        self.store.close()
        replace_database(copy, self.folder / "hub.sqlite")
        self.store = open_store(None, self.folder)


class Network:
    """Stands where the agent's HTTP client stands. ``fate`` decides over the next request."""

    def __init__(self, hub: HubSide) -> None:
        self.hub = hub
        self.fate = "ok"
        self.on_the_way: list[bytes] = []
        self.requests = 0

    def sync(self, server_id: str, request: wire_inventory.SyncRequest) -> wire_inventory.SyncAnswer:
        assert server_id == SERVER
        body = wire_inventory.encode(request)
        self.requests += 1
        if self.fate in ("request lost", "delayed"):
            if self.fate == "delayed":
                self.on_the_way.append(body)
            raise HubUnreachableError
        answer = self.hub.take(body)
        if self.fate == "repeated":
            self.on_the_way.append(body)
        if self.fate == "answer lost":
            raise HubUnreachableError
        return msgspec.json.decode(wire_inventory.encode(answer), type=wire_inventory.SyncAnswer)

    def deliver_late(self, number: int) -> None:
        """A request that the agent has long given up arrives after all; its answer goes nowhere."""
        body = self.on_the_way.pop(number % len(self.on_the_way))
        with contextlib.suppress(StableQueueError):
            self.hub.take(body)

    def put_metadata(self, sha256: str, fields: dict[str, str]) -> None:
        pass

    def close(self) -> None:
        pass


class AgentSide:
    """An index, the files it was told of, and the agent's sync logic."""

    def __init__(self, folder: Path, network: Network, clock: ManualClock) -> None:
        self.folder, self.network, self.clock = folder, network, clock
        folder.mkdir(exist_ok=True)
        self.files: dict[str, int] = {}
        self.copies: list[tuple[Path, dict[str, int]]] = []
        self.start()

    def start(self) -> None:
        self.index: Index = open_index(self.folder, clock=self.clock.now)
        self.loop = SyncLoop(
            self.network,  # type: ignore[arg-type]
            SERVER,
            self.index,
            HubLink(self.clock, Backoff(uniform=lambda low, high: high)),
            greet=lambda: "hub",
            clock=self.clock,
            stop=threading.Event(),
        )

    def crash(self) -> None:
        self.index.close()
        self.start()

    def look(self) -> None:
        """One scan of the files as they are now, and every hash that is due."""
        self.clock.seconds += 60
        found = tuple(
            ScannedFile(ROOT.root_id, name, ROOT.kind, ROOT.path, name, 100, stamp, stamp, 0, 1)
            for name, stamp in self.files.items()
        )
        scan = RootScan(ROOT, found, (), (), "healthy", "healthy")
        self.index.apply_scan(ScanReport((scan,)), accept=(ROOT.root_id,), sample=lambda file: None)

    def hash_some(self, count: int) -> None:
        for pending in self.index.pending_hashes()[:count]:
            sha256 = hashlib.sha256(f"{pending.path}{pending.stat.mtime_ns}".encode()).hexdigest()
            digests = Digests(sha256=sha256, blake3=sha256, autov1=sha256[:8], sample=sha256)
            self.index.record_hash(
                pending, HashResult(digests=digests, stat=pending.stat, bytes_read=100, racy=False), {}, ()
            )

    def heartbeat(self, hub: HubSide) -> bool:
        """Ask which sync the hub needs; True when it needs one."""
        here = self.index.position()
        beat = wire_inventory.Heartbeat(
            "b", 1, here.index_id, here.sequence, wire_inventory.digest_hex(here.digest)
        )
        want = wanted_sync(hub.inventory(), beat)
        if want is not None:
            self.loop.wanted(want)
        return want is not None

    def rows(self) -> dict[tuple[str, str], bytes]:
        rows = {row.key: row.row_digest for row in self.index.rows()}
        return rows | {(root.root_id, ""): root.row_digest for root in self.index.roots()}

    def back_up(self) -> None:
        copy = self.folder / f"copy-{len(self.copies)}"
        copy_database(self.folder / "index.sqlite", copy)
        self.copies.append((copy, dict(self.files)))

    def restore(self, number: int) -> None:
        copy, _ = self.copies[number % len(self.copies)]
        self.index.close()
        replace_database(copy, self.folder / "index.sqlite")
        self.start()

    def wipe(self) -> None:
        self.index.close()
        for leftover in self.folder.glob("index.sqlite*"):
            leftover.unlink()
        self.start()


def joined_store(folder: Path) -> Path:
    """A migrated store in which the server has joined."""
    store = open_store(None, folder)
    migrate(store)
    with store.write() as connection:
        connection.execute(
            servers.insert(), {"server_id": SERVER, "alias": "a", "alias_key": "a", "joined_ms": 0}
        )
    store.close()
    copy_database(folder / "hub.sqlite", folder / "joined.sqlite")
    return folder / "joined.sqlite"


class Histories(RuleBasedStateMachine):
    """Random histories; ``teardown`` heals the network and compares."""

    empty: Path
    apply: staticmethod[..., wire_inventory.SyncAnswer] = staticmethod(hub_sync.apply_sync)

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sq-converge-"))
        self.clock = ManualClock()
        self.hub = HubSide(self.folder / "hub", self.empty, self.apply)
        self.network = Network(self.hub)
        self.agent = AgentSide(self.folder / "agent", self.network, self.clock)
        self.twin: AgentSide | None = None
        self.stamp = 10

    def living(self, twin: bool) -> AgentSide:
        return self.twin if twin and self.twin is not None else self.agent

    @rule(
        twin=st.booleans(), names=st.sets(st.sampled_from("abcdefgh"), min_size=1), hashed=st.integers(0, 8)
    )
    def files_change(self, twin: bool, names: set[str], hashed: int) -> None:
        agent = self.living(twin)
        for name in sorted(names):
            self.stamp += 1
            if name in agent.files and self.stamp % 3 == 0:
                del agent.files[name]
            else:
                agent.files[name] = self.stamp
        agent.look()
        agent.hash_some(hashed)

    @rule(
        twin=st.booleans(), fate=st.sampled_from(["ok", "request lost", "answer lost", "delayed", "repeated"])
    )
    def synchronise(self, twin: bool, fate: str) -> None:
        self.network.fate = fate
        self.living(twin).loop.sync()
        self.network.fate = "ok"

    @rule(twin=st.booleans())
    def heartbeat(self, twin: bool) -> None:
        agent = self.living(twin)
        if agent.heartbeat(self.hub):
            agent.loop.sync()

    @rule(number=st.integers(0, 5))
    def late_arrival(self, number: int) -> None:
        if self.network.on_the_way:
            self.network.deliver_late(number)

    @rule(what=st.sampled_from(["crash agent", "wipe agent", "restart hub", "wipe hub"]))
    def misfortune(self, what: str) -> None:
        if what == "crash agent":
            self.agent.crash()
        elif what == "wipe agent":
            self.agent.wipe()
        else:
            self.hub.back_up()
            self.hub.replace(self.hub.copies.pop() if what == "restart hub" else self.empty)

    @rule(side=st.sampled_from(["agent", "hub"]))
    def back_up(self, side: str) -> None:
        (self.agent if side == "agent" else self.hub).back_up()

    @rule(side=st.sampled_from(["agent", "hub"]), number=st.integers(0, 5))
    def restore(self, side: str, number: int) -> None:
        if side == "agent" and self.agent.copies:
            self.agent.restore(number)
        elif side == "hub" and self.hub.copies:
            self.hub.replace(self.hub.copies[number % len(self.hub.copies)])

    @rule()
    def clone(self) -> None:
        """The data folder is copied, and the copy runs beside the original."""
        if self.twin is None:
            self.stamp += 1
            folder = self.folder / f"twin-{self.stamp}"
            folder.mkdir()
            copy_database(self.agent.folder / "index.sqlite", folder / "index.sqlite")
            self.twin = AgentSide(folder, self.network, self.clock)
            self.twin.files = dict(self.agent.files)

    @rule(survivor=st.booleans())
    def one_of_two_ends(self, survivor: bool) -> None:
        if self.twin is not None:
            if survivor:
                self.agent, self.twin = self.twin, self.agent
            self.twin.index.close()
            shutil.rmtree(self.twin.folder)
            self.twin = None

    @rule(seconds=st.sampled_from([-3600, 3600, 86400 * 3650]))
    def clock_jumps(self, seconds: int) -> None:
        self.clock.seconds = max(1_600_000_000.0, min(2_500_000_000.0, self.clock.seconds + seconds))

    def teardown(self) -> None:
        if not hasattr(self, "agent"):
            return
        try:
            self.heal_and_compare()
        finally:
            self.agent.index.close()
            if self.twin is not None:
                self.twin.index.close()
            self.hub.store.close()
            shutil.rmtree(self.folder)

    def heal_and_compare(self) -> None:
        syncs = 0
        while self.agent.heartbeat(self.hub) and syncs <= ENOUGH_SYNCS:
            self.agent.loop.sync()
            syncs += 1
        assert self.hub.rows() == self.agent.rows()
        here, there = self.agent.index.position(), self.hub.inventory()
        assert (there.index_id, there.sequence, int(there.digest, 16)) == (
            here.index_id,
            here.sequence,
            here.digest,
        )
        assert syncs <= ENOUGH_SYNCS


def run(machine: type[Histories], empty: Path, **options: Any) -> None:
    machine.empty = empty
    chosen = settings(
        max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, database=None, print_blob=True
    )
    run_state_machine_as_test(machine, settings=settings(chosen, **options))


@pytest.mark.fault
@pytest.mark.timeout(900)
def test_both_sides_agree_after_every_history(tmp_path: Path) -> None:
    run(Histories, joined_store(tmp_path))


def apply_by_sequence_alone(
    store: Any, server_id: str, request: Any, *, now_ms: int
) -> wire_inventory.SyncAnswer:
    """A hub that trusts sequence numbers: it writes down its own sum instead of comparing it."""
    try:
        return hub_sync.apply_sync(store, server_id, request, now_ms=now_ms)
    except StableQueueError as error:
        if "computed" not in error.details:
            raise
        believed = msgspec.structs.replace(request, digest=error.details["computed"])
        return hub_sync.apply_sync(store, server_id, believed, now_ms=now_ms)


class HistoriesWithoutHeartbeats(Histories):
    """Nobody asks the hub what it has: what a sync itself compares must be enough."""

    def heal_and_compare(self) -> None:
        for _ in range(ENOUGH_SYNCS):
            self.agent.loop.sync()
        assert self.hub.rows() == self.agent.rows()


class HistoriesBySequenceAlone(HistoriesWithoutHeartbeats):
    apply = staticmethod(apply_by_sequence_alone)


@pytest.mark.fault
@pytest.mark.timeout(900)
def test_both_sides_agree_even_if_no_heartbeat_ever_arrives(tmp_path: Path) -> None:
    run(HistoriesWithoutHeartbeats, joined_store(tmp_path))


@pytest.mark.fault
@pytest.mark.timeout(900)
def test_without_the_digest_histories_are_found_that_diverge(tmp_path: Path) -> None:
    """The broken variant: if this passes, the tests above prove nothing."""
    machine = seed(20)(HistoriesBySequenceAlone)
    with pytest.raises(AssertionError, match="assert"):
        run(machine, joined_store(tmp_path), max_examples=1_000, phases=[Phase.generate])
