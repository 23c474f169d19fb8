"""P7: a walk over 10,000 unchanged model files beside the plainest walk that could know as much.

    python benchmarks/rescan.py [--quick]

Prints id, measured, aim, ok; ends with 1 when an aim is missed. The baseline is ``scandir`` and one
``stat`` per file; ``Path.rglob`` and ``stat`` is what a short script would do. All variants run in one
process, in shuffled order; medians of the rounds are compared.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from stablequeue_client.files.file_io import OpenedFile, ScanIO
from stablequeue_client.files.scanner import make_root, scan_root

FOLDERS, FILES_PER_FOLDER = 100, 100


class CountingIO(ScanIO):
    """The real file system, with every look counted."""

    def __init__(self) -> None:
        self.stats = self.opens = 0

    def stat_entry(self, entry: os.DirEntry[str]) -> os.stat_result:
        self.stats += 1
        return entry.stat()

    def stat(self, path: str) -> os.stat_result:
        self.stats += 1
        return super().stat(path)

    def open(self, path: str) -> OpenedFile:
        self.opens += 1
        return super().open(path)


def make_library(top: Path) -> None:
    for folder in range(FOLDERS):
        place = top / f"folder {folder:03}"
        place.mkdir()
        for number in range(FILES_PER_FOLDER):
            (place / f"some_model_name_v{number:03}.safetensors").touch()


def bare_walk(top: str) -> int:
    pending, files = [top], 0
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                else:
                    entry.stat()
                    files += 1
    return files


def rglob_walk(top: str) -> int:
    return sum(1 for path in Path(top).rglob("*") if path.stat())


def median_seconds(variants: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    taken: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name in random.sample(list(variants), len(variants)):
            start = time.perf_counter()
            variants[name]()
            taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in taken.items()}


def measure(top: str, rounds: int) -> list[tuple[str, str, str, bool]]:
    """Rows of the table: id, measured, aim, whether it is reached."""
    root = make_root("lora", top)
    counting = CountingIO()
    files = len(scan_root(root, io=counting).files)
    seconds = median_seconds(
        {
            "bare": lambda: bare_walk(top),
            "rglob": lambda: rglob_walk(top),
            "ours": lambda: scan_root(root),
        },
        rounds,
    )
    bare, rglob = seconds["ours"] / seconds["bare"], seconds["ours"] / seconds["rglob"]
    looks = counting.stats / files
    return [
        ("P7 walk / bare scandir+stat", f"{bare:.2f}", "<= 1.50", bare <= 1.5),
        ("P7 walk / Path.rglob + stat", f"{rglob:.2f}", "<= 1.00", rglob <= 1.0),
        ("P7 stats per file", f"{looks:.4f}", "<= 1.01", looks <= 1.01),
        ("P7 files opened", str(counting.opens), "0", counting.opens == 0),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="7 rounds instead of 21")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_library(Path(folder))
        rows = measure(folder, 7 if options.quick else 21)
    print(f"{'measure':<30} {'measured':>9} {'aim':>9}  ok")
    for name, measured, aim, reached in rows:
        print(f"{name:<30} {measured:>9} {aim:>9}  {'yes' if reached else 'NO'}")
    return 0 if all(reached for *_, reached in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
