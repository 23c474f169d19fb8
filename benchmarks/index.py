"""P8 (first half) and P16: a scan without changes against raw inserts, and the check at opening.

    python benchmarks/index.py [--rows 10000] [--rounds 9]

All variants in one process, order shuffled in every round, medians. A row of the raw insert has the same
columns and values as a row of the index, in a plain table of the same kind of database.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence

from stablequeue_client.files.hashing import HashResult
from stablequeue_client.files.scanner import Root, RootScan, ScannedFile, ScanReport
from stablequeue_client.index.index import Index, open_index
from stablequeue_client.index.rows import FILES
from stablequeue_client.shared.model_files.model_file import Digests

ROOT = Root("0123abcd", "lora", "/models/loras", "models/loras")


def scanned(rows: int) -> ScanReport:
    """A scan of ``rows`` files at rest, in folders of 200."""
    files = []
    for number in range(rows):
        folder, name = f"set {number // 200:03}", f"a model with a usual name {number:05}.safetensors"
        stamp = 1_700_000_000_000_000_000 + number
        files.append(
            ScannedFile(
                ROOT.root_id, f"{folder}/{name}", "lora", f"{ROOT.path}/{folder}", name,
                100_000_000 + number, stamp, stamp, 5_000_000 + number, 66,
            )
        )  # fmt: skip
    return ScanReport((RootScan(ROOT, tuple(files), (), (), "healthy", "healthy"),))


def filled(folder: str, report: ScanReport) -> Index:
    """An index in which every file of the scan is hashed."""
    index = open_index(folder)
    index.apply_scan(report)
    noise = random.Random(1)
    for pending in index.pending_hashes():
        hexes = [noise.randbytes(32).hex() for _ in range(4)]
        digests = Digests(hexes[0], hexes[1], hexes[0][:8], hexes[2], hexes[3])
        index.record_hash(pending, HashResult(digests, pending.stat, pending.stat.size, False), {}, ())
    return index


def raw_insert(path: str, values: Sequence[tuple[object, ...]]) -> None:
    """The baseline: one executemany of the same rows into an empty table, committed."""
    columns = ", ".join(f"{name} {kind}" for name, kind in FILES.columns)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"CREATE TABLE raw ({columns}, PRIMARY KEY (root_id, path)) WITHOUT ROWID")
    started = time.perf_counter()
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(f"INSERT INTO raw VALUES ({', '.join('?' * len(FILES.columns))})", values)
    connection.execute("COMMIT")
    raw_insert.seconds = time.perf_counter() - started  # type: ignore[attr-defined]
    connection.close()
    for suffix in ("", "-wal", "-shm"):
        if os.path.exists(path + suffix):
            os.remove(path + suffix)


def measure(rows: int, rounds: int) -> dict[str, object]:
    report = scanned(rows)
    with tempfile.TemporaryDirectory() as folder:
        index = filled(os.path.join(folder, "data"), report)
        values = [tuple(row) for row in index.rows()]
        index.close()
        log = os.path.join(folder, "data", "index.sqlite-wal")
        index = open_index(os.path.join(folder, "data"))
        before = os.path.getsize(log)
        times: dict[str, list[float]] = {"raw": [], "unchanged": [], "check": []}

        def raw() -> float:
            raw_insert(os.path.join(folder, "raw.sqlite"), values)
            return float(raw_insert.seconds)  # type: ignore[attr-defined]

        def unchanged() -> float:
            started = time.perf_counter()
            index.apply_scan(report)
            return time.perf_counter() - started

        def check() -> float:
            started = time.perf_counter()
            open_index(os.path.join(folder, "data")).close()
            return time.perf_counter() - started

        variants: list[tuple[str, Callable[[], float]]] = [
            ("raw", raw),
            ("unchanged", unchanged),
            ("check", check),
        ]
        for _ in range(rounds):
            random.shuffle(variants)
            for name, run in variants:
                times[name].append(run())
        grown = os.path.getsize(log) - before
        index.close()
    median = {name: statistics.median(found) for name, found in times.items()}
    return {
        "cpu": platform.processor() or platform.machine(),
        "rows": rows,
        "raw_insert_ms": round(median["raw"] * 1000, 1),
        "unchanged_scan_ms": round(median["unchanged"] * 1000, 1),
        "P8 speed of an unchanged scan / raw insert (aim 1.5)": round(median["raw"] / median["unchanged"], 2),
        "P8 bytes the log grew (aim 0)": grown,
        "P16 opening with all checks, ms per 10,000 rows (aim 100)": round(
            median["check"] * 1000 * 10_000 / rows, 1
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    print(json.dumps(measure(options.rows, options.rounds), indent=2))


if __name__ == "__main__":
    main()
