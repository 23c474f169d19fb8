"""P1, P2, P3, P5: reading a file once for all digests, beside the loop that A1111 hashes with.

    python benchmarks/hashing.py [--quick] [--folder DIR]

Prints id, measured, aim, ok; ends with 1 when an aim is missed. Variants of one comparison run in one
process, in shuffled order, and medians of the rounds are compared; the file stays in the page cache, so
that the code is measured and not the disk (P5 drops it on purpose). On one core nothing can beat the
barest loop that computes both digests; where that loop itself misses the aim (a CPU with SHA but without
AVX-512 instructions), 95 % of it count instead, and the line says so.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from stablequeue_client.files.file_io import OpenedFile, ScanIO
from stablequeue_client.files.hashing import WantedDigests, hash_file, usable_cores

MIB = 1024 * 1024
SHA_ONLY = WantedDigests(blake3=False, autov1=False)
SHA_AND_BLAKE3 = WantedDigests(autov1=False)
WITH_AUTOV3 = WantedDigests(autov1=False, payload_from=1_000)
CPU_FLAGS = ("sha_ni", "avx2", "avx512f", "avx512vl", "sha2", "asimd")
LIMIT_SHARE = 0.95


class CountedFile(OpenedFile):
    """Counts what is read and leaves the page cache as it is."""

    total = 0

    def _readinto(self, view: memoryview) -> int:
        count = super()._readinto(view)
        CountedFile.total += count
        return count

    def drop_cached(self, offset: int, length: int) -> None:
        """Every round is to find the file in memory."""


class WarmIO(ScanIO):
    def open(self, path: str) -> OpenedFile:
        return CountedFile(path, os.open(path, os.O_RDONLY))


@dataclass(frozen=True)
class Row:
    """A line of the table. ``limit``: what the barest loop reaches."""

    name: str
    measured: float
    aim: float
    at_most: bool = False
    limit: float | None = None

    @property
    def reached(self) -> bool:
        if self.at_most:
            return self.measured <= self.aim
        return self.measured >= min(self.aim, LIMIT_SHARE * (self.limit or self.aim / LIMIT_SHARE))

    def __str__(self) -> str:
        sign = "<=" if self.at_most else ">="
        note = "yes" if self.reached else "NO"
        if self.limit is not None and LIMIT_SHARE * self.limit < self.aim:
            note = "limit" if self.reached and self.measured < self.aim else note
            note += f"  (the barest loop on this CPU: {self.limit:.2f})"
        return f"{self.name:<46} {self.measured:>8.2f}  {sign} {self.aim:<6.2f} {note}"


def a1111_loop(path: str, digest: object) -> None:
    blksize = 1024 * 1024
    with open(path, "rb") as f:
        for chunk in iter(lambda: f.read(blksize), b""):
            digest.update(chunk)  # type: ignore[attr-defined]


def in_memory(memory: bytearray) -> None:
    """SHA256 alone over a buffer that lies in the cache."""
    view, digest = memoryview(memory), hashlib.sha256()
    for _ in range(len(memory) // MIB):
        digest.update(view[:MIB])


def barest_pass(path: str) -> None:
    """The least that gives both digests in one pass and one thread: what this CPU can do on one core."""
    sha, other, view = hashlib.sha256(), blake3(), memoryview(bytearray(MIB))
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(view):
            sha.update(view[:count])
            other.update(view[:count])


def medians(variants: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds per variant."""
    taken: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name in random.sample(list(variants), len(variants)):
            start = time.perf_counter()
            variants[name]()
            taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in taken.items()}


@contextmanager
def on_cores(count: int) -> Iterator[None]:
    """This process on so many cores only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def one_file(path: str, rounds: int, cores: int) -> list[Row]:
    """P1 and P2 on the given number of cores."""
    io, size = WarmIO(), os.path.getsize(path)
    memory = bytearray(size)

    def ours(want: WantedDigests) -> Callable[[], object]:
        return lambda: hash_file(path, want=want, io=io)

    def two_passes() -> None:
        a1111_loop(path, hashlib.sha256())
        a1111_loop(path, blake3())

    with on_cores(cores):
        seconds = medians(
            {
                "loop": lambda: a1111_loop(path, hashlib.sha256()),
                "two passes": two_passes,
                "sha in memory": lambda: in_memory(memory),
                "barest pass": lambda: barest_pass(path),
                "sha": ours(SHA_ONLY),
                "both": ours(SHA_AND_BLAKE3),
                "with autov3": ours(WITH_AUTOV3),
            },
            rounds,
        )
    loop, both = seconds["loop"], seconds["both"]
    alone = cores == 1
    limit = loop / seconds["barest pass"] if alone else None
    two_limit = seconds["two passes"] / seconds["barest pass"] if alone else None
    aim = 0.80 if alone else 0.85 if cores == 2 else 0.95
    suffix = f" ({cores} core{'' if alone else 's'})"
    return [
        Row("P1 SHA256 / A1111 loop" + suffix, loop / seconds["sha"], 0.98),
        Row("P1 SHA256 / in memory" + suffix, seconds["sha in memory"] / seconds["sha"], 0.88),
        Row("P2 SHA256+BLAKE3 / A1111 loop" + suffix, loop / both, aim, limit=limit),
        Row("P2 SHA256+BLAKE3 / two passes" + suffix, seconds["two passes"] / both, 1.1 if alone else 1.25,
            limit=two_limit),
        Row("P2 with AutoV3 / A1111 loop" + suffix, loop / seconds["with autov3"], 0.40 if alone else 0.70),
    ]  # fmt: skip


def bytes_read(path: str) -> Row:
    CountedFile.total = 0
    hash_file(path, want=WITH_AUTOV3, io=WarmIO())
    return Row("P2 bytes read / size", CountedFile.total / os.path.getsize(path), 1.0, at_most=True)


def many_files(path: str, rounds: int) -> Row:
    """P3: one reading thread per file, as the agent has on an SSD, beside one file in one thread."""
    count = usable_cores()
    folder = Path(path).parent
    copies = [str(folder / f"copy{number}") for number in range(count)]
    for copy in copies:
        shutil.copyfile(path, copy)
    io = WarmIO()

    def read(file: str) -> None:
        hash_file(file, want=SHA_AND_BLAKE3, io=io, parallel=False)

    def together() -> None:
        threads = [threading.Thread(target=read, args=(copy,)) for copy in copies]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    seconds = medians({"one": lambda: read(copies[0]), "all": together}, rounds)
    for copy in copies:
        os.remove(copy)
    return Row(
        f"P3 {count} files in parallel / 1 file", count * seconds["one"] / seconds["all"], 0.85 * count
    )


def free_cores() -> float:
    """How many cores this machine really gives now: SHA256 in memory in one thread and in all."""
    memory = bytearray(64 * MIB)

    def together() -> None:
        threads = [threading.Thread(target=in_memory, args=(memory,)) for _ in range(usable_cores())]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    seconds = medians({"one": lambda: in_memory(memory), "all": together}, 7)
    return usable_cores() * seconds["one"] / seconds["all"]


def page_cache(folder: str, size: int, rounds: int) -> list[Row]:
    """P5: what stays in the page cache, and what dropping costs."""
    path = os.path.join(folder, "cold")
    with open(path, "wb") as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB))
        os.fsync(file.fileno())

    def evict() -> None:
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    left: list[int] = []

    def dropping() -> float:
        evict()
        start = time.perf_counter()
        hash_file(path, want=SHA_AND_BLAKE3)
        taken = time.perf_counter() - start
        left.append(cached_bytes(path))
        return taken

    def keeping() -> float:
        evict()
        start = time.perf_counter()
        hash_file(path, want=SHA_AND_BLAKE3, io=WarmIO())
        return time.perf_counter() - start

    taken: dict[Callable[[], float], list[float]] = {dropping: [], keeping: []}
    for _ in range(rounds):
        for variant in random.sample(list(taken), 2):
            taken[variant].append(variant())
    os.remove(path)
    speed = statistics.median(taken[keeping]) / statistics.median(taken[dropping])
    return [
        Row("P5 MiB left in the page cache", max(left) / MIB, 128.0, at_most=True),
        Row("P5 speed / without dropping", speed, 0.98),
    ]


def cached_bytes(path: str) -> int:
    """Bytes of the file in the page cache, as fincore (util-linux) counts them."""
    command = ["fincore", "--bytes", "--noheadings", "--output", "RES", path]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def cpu() -> str:
    """Name and the flags that matter to the digests."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    fields = {name.strip(): value.strip() for name, value in fields.items()}
    flags = fields.get("flags", fields.get("Features", "")).split()
    return f"{fields.get('model name', 'CPU')}: {' '.join(flag for flag in CPU_FLAGS if flag in flags)}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smaller file, 7 rounds")
    parser.add_argument("--folder", help="where the test files are made (default: the temporary folder)")
    options = parser.parse_args()
    size, rounds, cold = (128 * MIB, 7, 512 * MIB) if options.quick else (512 * MIB, 9, 4096 * MIB)
    print(cpu(), f"- {usable_cores()} cores, {free_cores():.1f} of them free at the start")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = os.path.join(folder, "warm")
        Path(path).write_bytes(os.urandom(size))
        for cores in sorted({1, usable_cores()}):
            rows += one_file(path, rounds, cores)
        rows += [bytes_read(path), many_files(path, rounds)]
        os.remove(path)
        rows += page_cache(folder, cold, 7)
    print(f"{free_cores():.1f} cores free at the end; with fewer than {usable_cores()} the ratios say little")
    print(f"{'measure':<46} {'measured':>8}  aim       ok")
    for row in rows:
        print(row)
    return 0 if all(row.reached for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
