"""The hub's store: a full sync against raw inserts (P8), answers against one indexed SELECT, and memory.

Everything is called as Python functions in one process, on SQLite, without HTTP. Ratios of one run, rounds
in shuffled order, medians. Exit code 1 on a miss.

    python benchmarks/hub_store.py [--quick]
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import platform
import random
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil
import sqlalchemy as sa

from stablequeue_client.shared.views.job_values import QueueFilters
from stablequeue_client.shared.wire.inventory import (
    FileEntry,
    RootEntry,
    ServerCapabilities,
    SyncRequest,
    WireDigests,
    digest_hex,
    digest_sum,
    entry_dict,
    row_digest,
)
from stablequeue_client.shared.wire.jobs import JobCheckRequest, JobSubmission
from stablequeue_hub.inventory.sync import apply_sync, decode_sync, decompress_limited
from stablequeue_hub.jobs.submission import submit
from stablequeue_hub.matching.check import judge_job
from stablequeue_hub.models.availability import availability_of
from stablequeue_hub.models.filters import ModelFilter
from stablequeue_hub.models.matrix import list_models
from stablequeue_hub.page.queue import Viewer, queue_page
from stablequeue_hub.servers.presence import RunnerPresence
from stablequeue_hub.store.engine import SQLITE_NAME, Store, open_store
from stablequeue_hub.store.migrate import migrate
from stablequeue_hub.store.tables import models, servers

WRITTEN = ("models", "server_files", "model_aliases", "model_server_availability", "events")
PAGE = 50


@dataclass(frozen=True)
class Scale:
    """How much of everything."""

    rows: int
    rounds: int
    models: int
    servers: int
    queries: int
    jobs: int


FULL = Scale(rows=10_000, rounds=7, models=20_000, servers=50, queries=300, jobs=10_000)
QUICK = Scale(rows=2_000, rounds=3, models=2_000, servers=10, queries=60, jobs=1_000)
BATCH = 4
"""Jobs that share a payload."""


class NoLine:
    """A dispatcher that no runner has asked yet."""

    def jobs_ahead(self, _server_id: str, _job_id: str) -> int | None:
        return None

    def jobs_ahead_anywhere(self, _job_id: str) -> int | None:
        return None

    def progress(self, _job_id: str) -> float | None:
        return None


class Everybody:
    """Every server is there."""

    def is_reachable(self, _server_id: str) -> bool:
        return True

    def runner(self, _server_id: str) -> RunnerPresence:
        return RunnerPresence(polling=True)

    def last_contact_ms(self, _server_id: str) -> int | None:
        return 5_000

    def activity(self, _server_id: str) -> None:
        return None


@dataclass(frozen=True)
class Result:
    """One line of the table."""

    id: str
    measured: float
    aim: float
    at_least: bool
    unit: str = ""

    @property
    def ok(self) -> bool:
        return self.measured >= self.aim if self.at_least else self.measured <= self.aim


# --- inventories ----------------------------------------------------------------------------------------


def file_entry(number: int) -> FileEntry:
    """A hashed LoRA, or every fifth time a checkpoint; 60 to 70 characters of path."""
    sha256, blake3 = (hashlib.sha256(f"{kind}{number}".encode()).hexdigest() for kind in "sb")
    lora = number % 5 != 0
    root, kind = ("r2", "lora") if lora else ("r1", "checkpoint")
    path = f"collection {number % 40:02}/some long model name as people have them v{number}.safetensors"
    digests = WireDigests(sha256, blake3, sha256[8:16], blake3[:12] if lora else None)
    return FileEntry(root, path, kind, 144_000_000 + number, "ready", digests)


def request(files: Sequence[FileEntry]) -> bytes:
    """A full inventory as gzipped JSON."""
    roots = [RootEntry("r1", "checkpoint", "healthy", "models"), RootEntry("r2", "lora", "healthy", "Lora")]
    entries: list[FileEntry | RootEntry] = [*roots, *files]
    digest = digest_hex(digest_sum(row_digest(entry_dict(entry)) for entry in entries))
    raw_roots, raw_files = ([msgspec.Raw(msgspec.json.encode(e)) for e in part] for part in (roots, files))
    body = SyncRequest(1, "index", "full", 0, 1, digest, raw_roots, raw_files)
    return gzip.compress(msgspec.json.encode(body), 6)


def new_store(folder: Path, names: Sequence[str]) -> Store:
    store = open_store(None, folder)
    migrate(store)
    with store.write() as connection:
        for name in names:
            row = {"server_id": name, "alias": name, "alias_key": name, "joined_ms": 1}
            connection.execute(servers.insert(), row)
    return store


def synchronise(store: Store, server: str, body: bytes) -> None:
    apply_sync(store, server, decode_sync(decompress_limited(body)), now_ms=1_000)


# --- P8: a full sync of new rows against raw executemany of the same rows ---------------------------------


def sync_against_raw(folder: Path, scale: Scale) -> Result:
    body = request([file_entry(number) for number in range(scale.rows)])
    empty = folder / "empty"
    new_store(empty, ["a"]).close()
    rows = _rows_of_one_sync(folder, empty, body)
    timed: dict[str, list[float]] = {"sync": [], "raw": []}
    for number in range(scale.rounds):
        for which in random.sample(["sync", "raw"], 2):
            copy = _copy(empty, folder / f"{which}{number}")
            timed[which].append(_time_sync(copy, body) if which == "sync" else _time_raw(copy, rows))
            shutil.rmtree(copy)
    ratio = statistics.median(timed["raw"]) / statistics.median(timed["sync"])
    return Result(
        f"P8 hub: full sync of {scale.rows:,} new rows / raw executemany (speed)", ratio, 0.20, True
    )


def _copy(empty: Path, target: Path) -> Path:
    target.mkdir()
    shutil.copy(empty / SQLITE_NAME, target / SQLITE_NAME)
    return target


def _rows_of_one_sync(folder: Path, empty: Path, body: bytes) -> dict[str, list[tuple[object, ...]]]:
    """Table -> the rows that one sync writes."""
    copy = _copy(empty, folder / "example")
    store = open_store(None, copy)
    synchronise(store, "a", body)
    store.close()
    with closing(sqlite3.connect(copy / SQLITE_NAME)) as connection:
        return {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in WRITTEN}


def _time_sync(folder: Path, body: bytes) -> float:
    store = open_store(None, folder)
    with store.read():
        pass
    started = time.perf_counter()
    synchronise(store, "a", body)
    taken = time.perf_counter() - started
    store.close()
    return taken


def _time_raw(folder: Path, rows: dict[str, list[tuple[object, ...]]]) -> float:
    with closing(sqlite3.connect(folder / SQLITE_NAME, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        started = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        for table, values in rows.items():
            marks = ", ".join("?" * len(values[0]))
            connection.executemany(f"INSERT INTO {table} VALUES ({marks})", values)
        connection.execute("COMMIT")
        return time.perf_counter() - started


# --- answers against one indexed SELECT -------------------------------------------------------------------


def fill(folder: Path, scale: Scale) -> None:
    """Every model on a tenth of the servers, at least on one."""
    chance = random.Random(20_000)
    names = [f"server-{number:02}" for number in range(scale.servers)]
    having: dict[str, list[FileEntry]] = {name: [] for name in names}
    for number in range(scale.models):
        for name in chance.sample(names, max(1, scale.servers // 10)):
            having[name].append(file_entry(number))
    store = new_store(folder, names)
    for name in names:
        synchronise(store, name, request(having[name]))
    fill_queue(store, scale)
    store.close()


def fill_queue(store: Store, scale: Scale) -> None:
    """Jobs that wait, in batches; each names a checkpoint and two LoRAs. Every server says what it can."""
    chance = random.Random(7)
    says = ServerCapabilities(
        "forge",
        samplers=[f"sampler {number}" for number in range(40)],
        scripts=[f"some script with a title {number}" for number in range(60)],
        architectures=["sd1", "sdxl"],
        works_for_others="always",
    )
    with store.write() as connection:
        connection.execute(servers.update().values(capabilities_json=msgspec.json.encode(says).decode()))
        for number in range(scale.jobs // BATCH):
            numbers = [5 * chance.randrange(scale.models // 5) + place for place in (0, 1, 2)]
            names = [f"some long model name as people have them v{one}" for one in numbers]
            prompt = f"picture {number} of many, " + " ".join(f"<lora:{name}:0.8>" for name in names[1:])
            title = f"{names[0]}.safetensors"
            payload = {"prompt": prompt, "override_settings": {"sd_model_checkpoint": title}}
            wanted = JobSubmission(payload, count=BATCH)
            submit(connection, wanted, Everybody(), actor="page", own_server=None, now_ms=9_000)


def questions(store: Store, scale: Scale) -> dict[str, Callable[[], object]]:
    """What is compared: one SELECT by primary key, availability of one hash, a page of 50 models, the check
    of a job that names a checkpoint and five LoRAs, and a page of 50 jobs with what each waits for."""
    chance = random.Random(1)
    live = Everybody()
    one = sa.select(models).where(models.c.id == sa.bindparam("model_id"))
    pages = scale.models // PAGE

    def select() -> object:
        with store.read() as connection:
            return connection.execute(one, {"model_id": chance.randint(1, scale.models)}).one()

    def availability() -> object:
        sha256 = hashlib.sha256(f"s{chance.randrange(scale.models)}".encode()).hexdigest()
        with store.read() as connection:
            answer = availability_of(connection, sha256, live, now_ms=9_000)
        assert answer.servers
        return answer

    def page() -> object:
        wanted = ModelFilter(state="present", page=chance.randint(1, pages), limit=PAGE)
        with store.read() as connection:
            found = list_models(connection, wanted, live, now_ms=9_000)
        assert (found.count, found.total) == (PAGE, scale.models)
        return found

    def check() -> object:
        groups = chance.sample(range(scale.models // 5), 6)
        numbers = [5 * group + min(place, 4) for place, group in enumerate(groups)]
        stems = [f"some long model name as people have them v{number}" for number in numbers]
        title = f"{stems[0]}.safetensors [{file_entry(numbers[0]).digests.sha256[:10]}]"  # type: ignore[index, union-attr]
        prompt = " ".join(f"<lora:{stem}:0.8>" for stem in stems[1:])
        wanted = JobCheckRequest({"prompt": prompt, "override_settings": {"sd_model_checkpoint": title}})
        with store.read() as connection:
            answer = judge_job(connection, wanted, live, own_server=None, now_ms=9_000).check
        assert [found.status for found in answer.requirements] == ["found"] * 6
        assert len(answer.servers) == scale.servers
        return answer

    def queue() -> object:
        filters = QueueFilters(page=chance.randint(1, scale.jobs // PAGE))
        with store.read() as connection:
            found = queue_page(connection, filters, live, NoLine(), Viewer("admin", "page"), now_ms=9_000)
        assert (len(found.rows), found.total) == (PAGE, scale.jobs)
        assert all(row.waiting and len(row.needs) == 3 for row in found.rows)
        return found

    return {"select": select, "availability": availability, "page": page, "check": check, "queue": queue}


def answers_against_select(folder: Path, scale: Scale) -> list[Result]:
    store = open_store(None, folder)
    asked = questions(store, scale)
    timed: dict[str, list[float]] = {name: [] for name in asked}
    for ask in asked.values():
        ask()
    for _ in range(scale.queries):
        for name in random.sample(list(asked), len(asked)):
            started = time.perf_counter()
            asked[name]()
            timed[name].append(time.perf_counter() - started)
    store.close()
    median = {name: statistics.median(values) for name, values in timed.items()}
    print(f"one SELECT by primary key: {median['select'] * 1e6:.0f} µs")
    where = f"{scale.models:,} models, {scale.servers} servers"
    return [
        Result(
            f"availability of one hash / SELECT ({where})",
            median["availability"] / median["select"],
            5,
            False,
        ),
        Result(f"page of {PAGE} models / SELECT ({where})", median["page"] / median["select"], 25, False),
        Result(f"check of 6 requirements / SELECT ({where})", median["check"] / median["select"], 40, False),
        Result(
            f"page of {PAGE} jobs of {scale.jobs:,} / SELECT ({where})",
            median["queue"] / median["select"],
            25,
            False,
        ),
    ]


# --- memory -----------------------------------------------------------------------------------------------


def memory_of_queries(folder: Path, quick: bool) -> Result:
    """In a fresh process: what 1,000 questions add to a hub that has only opened its store."""
    command = [sys.executable, os.path.abspath(__file__), "--memory-child", str(folder)]
    done = subprocess.run(command + ["--quick"] * quick, check=True, capture_output=True, text=True)
    return Result("memory added by 1,000 such queries", float(done.stdout), 100, False, " MB")


def memory_child(folder: Path, scale: Scale) -> None:
    store = open_store(None, folder)
    with store.read():
        pass
    process = psutil.Process()
    bare = process.memory_info().rss
    asked = questions(store, scale)
    for _ in range(500):
        asked["availability"]()
        asked["page"]()
    print((process.memory_info().rss - bare) / 1e6)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the data; ratios are rougher")
    parser.add_argument("--memory-child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    scale = QUICK if options.quick else FULL
    if options.memory_child:
        memory_child(options.memory_child, scale)
        return 0
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()},", end=" ")
    print(f"SQLite {sqlite3.sqlite_version}, SQLAlchemy {sa.__version__}")
    with tempfile.TemporaryDirectory(prefix="sq-bench-") as name:
        folder = Path(name)
        results = [sync_against_raw(folder, scale)]
        fill(folder / "filled", scale)
        results += answers_against_select(folder / "filled", scale)
        results.append(memory_of_queries(folder / "filled", options.quick))
    for result in results:
        sign = ">=" if result.at_least else "<="
        verdict = "ok" if result.ok else "MISSED"
        measured, aim = f"{result.measured:.2f}{result.unit}", f"{result.aim:g}{result.unit}"
        print(f"{result.id:76} {measured:>10} {sign} {aim:7} {verdict}")
    return 0 if all(result.ok for result in results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
