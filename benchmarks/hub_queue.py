"""Claiming the next of 10,000 waiting jobs against the least that a database needs for it.

50 servers, 20,000 models, each model on a tenth of the servers; each job names a checkpoint and two LoRAs.
The claim is the dispatcher's whole answer to a runner: choosing, looking again whether the files are there,
translating the names, state, run and event in one transaction. Beside it, in shuffled order on the same
database: one BEGIN IMMEDIATE + UPDATE (SQLite), one FOR UPDATE SKIP LOCKED + UPDATE (PostgreSQL). Medians.

    python benchmarks/hub_queue.py [--quick] [--postgresql URL]
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import os
import platform
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import hub_store as base
import psycopg
import sqlalchemy as sa

from stablequeue_client.shared.wire.inventory import FileEntry
from stablequeue_client.shared.wire.jobs import JobSubmission
from stablequeue_client.shared.wire.runner import Assignment, NextRequest
from stablequeue_hub.app import create_app
from stablequeue_hub.hub import Hub
from stablequeue_hub.jobs.submission import submit
from stablequeue_hub.settings import HubSettings
from stablequeue_hub.store.engine import Store, open_store
from stablequeue_hub.store.migrate import migrate
from stablequeue_hub.store.tables import jobs, servers

AIMS = {"SQLite": 6.0, "PostgreSQL": 8.0}
SUBMITTERS = 8


@dataclass(frozen=True)
class Scale:
    """How much of everything."""

    jobs: int
    models: int
    servers: int
    claims: int


FULL = Scale(jobs=10_000, models=20_000, servers=50, claims=300)
QUICK = Scale(jobs=1_000, models=2_000, servers=10, claims=60)


def fill(store: Store, scale: Scale) -> list[str]:
    """Servers with models, and jobs that wait; the servers' ids."""
    chance = random.Random(20_000)
    names = [f"server-{number:02}" for number in range(scale.servers)]
    having: dict[str, list[FileEntry]] = {name: [] for name in names}
    sets = [chance.sample(names, max(1, scale.servers // 10)) for _ in range(scale.models // 5)]
    for number in range(scale.models):
        for name in sets[number // 5]:
            having[name].append(base.file_entry(number))
    with store.write() as connection:
        for name in names:
            row = {"server_id": name, "alias": name, "alias_key": name, "joined_ms": 1}
            says = '{"webui": "forge", "works_for_others": "always"}'
            connection.execute(servers.insert(), {**row, "capabilities_json": says})
    for name in names:
        base.synchronise(store, name, base.request(having[name]))
    with store.write() as connection:
        for number in range(scale.jobs):
            group = chance.randrange(scale.models // 5)
            wanted = JobSubmission(payload=payload(group, number))
            submit(
                connection,
                wanted,
                base.Everybody(),
                actor=f"key:{number % SUBMITTERS}",
                own_server=None,
                now_ms=1_000 + number,
            )
    return names


def payload(group: int, seed: int) -> dict[str, Any]:
    """A checkpoint and two LoRAs that lie on the same servers."""
    stem = "some long model name as people have them v{}"
    loras = " ".join(f"<lora:{stem.format(5 * group + place)}:0.8>" for place in (1, 2))
    title = f"{stem.format(5 * group)}.safetensors [{base.file_entry(5 * group).digests.sha256[:10]}]"  # type: ignore[union-attr, index]
    return {"prompt": f"a cat {loras}", "seed": seed, "override_settings": {"sd_model_checkpoint": title}}


async def measure(hub: Hub, names: list[str], least: Callable[[], None], scale: Scale) -> tuple[float, float]:
    """Median seconds of a claim, and of the least that a database needs."""
    timed: dict[str, list[float]] = {"claim": [], "least": []}

    async def gone() -> bool:
        return False

    async def claim(name: str) -> Assignment | None:
        wanted = NextRequest(f"runner of {name}", others=True, wait_s=0)
        return await hub.dispatcher.next_job(name, wanted, gone)

    for name in names:  # every server has asked before
        await finish(hub, await claim(name))
    for number in range(scale.claims):
        for which in random.sample(["claim", "least"], 2):
            started = time.perf_counter()
            if which == "least":
                least()
                timed[which].append(time.perf_counter() - started)
                continue
            found = await claim(names[number % len(names)])
            timed[which].append(time.perf_counter() - started)
            assert found is not None
            await finish(hub, found)
    return statistics.median(timed["claim"]), statistics.median(timed["least"])


async def finish(hub: Hub, job: Assignment | None) -> None:
    """The server is free again; not measured."""
    if job is not None:
        await hub.writing(
            lambda connection: connection.execute(
                jobs.update().where(jobs.c.job_id == job.job_id).values(state="completed")
            )
        )
        hub.leases.end(job.job_id)


def least_of_sqlite(path: Path) -> Callable[[], None]:
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")
    ids = [row[0] for row in connection.execute("SELECT job_id FROM jobs WHERE state = 'pending'")]

    def least() -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE jobs SET changed_ms = 1 WHERE job_id = ?", (random.choice(ids),))
        connection.execute("COMMIT")

    return least


def least_of_postgresql(url: str) -> Callable[[], None]:
    connection = psycopg.connect(url)
    find = "SELECT job_id FROM jobs WHERE state = 'pending' ORDER BY seq LIMIT 1 FOR UPDATE SKIP LOCKED"

    def least() -> None:
        found = connection.execute(find).fetchone()
        assert found is not None
        connection.execute("UPDATE jobs SET changed_ms = 1 WHERE job_id = %s", found)
        connection.commit()

    return least


def claims(folder: Path, scale: Scale, url: str | None) -> base.Result:
    """The ratio on one database."""
    store = open_store(url, folder)
    migrate(store)
    names = fill(store, scale)
    hub: Hub = create_app(HubSettings(data_dir=folder), store).state.hub
    least = least_of_postgresql(url) if url else least_of_sqlite(store.sqlite_path)
    claim_s, least_s = asyncio.run(measure(hub, names, least, scale))
    hub.sync_limits.close()
    store.close()
    which = "PostgreSQL" if url else "SQLite"
    print(f"{which}: claim {claim_s * 1e6:.0f} µs, least {least_s * 1e6:.0f} µs")
    where = f"{scale.jobs:,} jobs, {scale.servers} servers, {scale.models:,} models"
    return base.Result(f"claim on {which} / least ({where})", claim_s / least_s, AIMS[which], False)


def _postgresql_for_tests() -> ModuleType:
    path = Path(__file__).parent.parent / "tests" / "postgresql_server.py"
    spec = importlib.util.spec_from_file_location("postgresql_server", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the data; ratios are rougher")
    parser.add_argument("--postgresql", metavar="URL", help="an empty database; else one of our own")
    options = parser.parse_args()
    scale = QUICK if options.quick else FULL
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()},", end=" ")
    print(f"SQLite {sqlite3.sqlite_version}, SQLAlchemy {sa.__version__}")
    with tempfile.TemporaryDirectory(prefix="sq-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        results = [claims(folder / "sqlite", scale, None)]
        url = options.postgresql
        if url is None:
            module = _postgresql_for_tests()
            server = stack.enter_context(module.postgresql_server())
            url = stack.enter_context(module.new_database(server))
        results.append(claims(folder / "postgresql", scale, url))
    for result in results:
        verdict = "ok" if result.ok else "MISSED"
        print(f"{result.id:76} {result.measured:>10.2f} <= {result.aim:<7g} {verdict}")
    return 0 if all(result.ok for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
