"""A disk of the mind for the index: files with contents and stamps, and a clock, without a real disk."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from stablequeue_client.files.hashing import HashResult
from stablequeue_client.files.scanner import Root, RootScan, ScannedFile, ScanReport, Skipped
from stablequeue_client.index.index import Index, open_index
from stablequeue_client.index.rows import IndexRow, PendingFile
from stablequeue_client.shared.model_files.model_file import Digests, Kind, StatKey
from stablequeue_client.shared.wire.inventory import digest_sum, entry_dict, row_digest

START = 1_700_000_000.0


@dataclass(frozen=True)
class Content:
    """What a file holds: what a sample of it shows, and the rest."""

    shown: str
    hidden: str = ""

    @property
    def digests(self) -> Digests:
        whole = hashlib.sha256(f"{self.shown}|{self.hidden}".encode()).hexdigest()
        payload = hashlib.sha256(f"payload {whole}".encode()).hexdigest()
        sample = hashlib.sha256(self.shown.encode()).hexdigest()
        return Digests(whole, hashlib.sha256(whole.encode()).hexdigest(), whole[:8], payload, sample)


@dataclass(frozen=True)
class Inode:
    content: Content
    size: int
    mtime_ns: int
    ctime_ns: int
    number: int


@dataclass
class Disk:
    """One root. ``tick_ns``: how fine its stamps are. Without ``has_ctime``, ``has_inodes`` they are 0."""

    root: Root = field(default_factory=lambda: Root("root0001", "checkpoint", "/models", "models"))
    now: float = START
    tick_ns: int = 1
    has_ctime: bool = True
    has_inodes: bool = True
    files: dict[str, int] = field(default_factory=dict)
    inodes: dict[int, Inode] = field(default_factory=dict)
    partial: set[str] = field(default_factory=set)
    _last: int = 1000

    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @property
    def stamp(self) -> int:
        return int(self.now * 1e9) // self.tick_ns * self.tick_ns

    def write(self, path: str, content: Content, *, size: int = 1000, inode: int | None = None) -> None:
        """A new file at ``path`` (the inode number may be one that was free), now."""
        self._last += 1
        number = inode or self._last
        self.inodes[number] = Inode(content, size, self.stamp, self.stamp, number)
        self.files[path] = number

    def overwrite(self, path: str, content: Content, *, size: int | None = None) -> None:
        """Other bytes in place."""
        old = self.inodes[self.files[path]]
        self.inodes[old.number] = replace(
            old, content=content, size=size or old.size, mtime_ns=self.stamp, ctime_ns=self.stamp
        )

    def set_mtime(self, path: str, mtime_ns: int) -> None:
        """``utime``: moves the ctime, as every change of an inode does."""
        old = self.inodes[self.files[path]]
        self.inodes[old.number] = replace(
            old, mtime_ns=mtime_ns // self.tick_ns * self.tick_ns, ctime_ns=self.stamp
        )

    def rename(self, source: str, target: str) -> None:
        number = self.files.pop(source)
        self.files[target] = number
        self.inodes[number] = replace(self.inodes[number], ctime_ns=self.stamp)

    def link(self, source: str, target: str) -> None:
        """A hard link."""
        number = self.files[source]
        self.files[target] = number
        self.inodes[number] = replace(self.inodes[number], ctime_ns=self.stamp)

    def remove(self, path: str) -> None:
        del self.files[path]

    def content(self, path: str) -> Content:
        return self.inodes[self.files[path]].content

    def stat(self, path: str) -> StatKey:
        inode = self.inodes[self.files[path]]
        return StatKey(
            inode.size,
            inode.mtime_ns,
            inode.ctime_ns if self.has_ctime else 0,
            inode.number if self.has_inodes else 0,
        )

    def scanned(self, path: str) -> ScannedFile:
        stat = self.stat(path)
        folder, _, name = f"/models/{path}".rpartition("/")
        return ScannedFile(
            self.root.root_id, path, self.root.kind, folder, name, stat.size, stat.mtime_ns, stat.ctime_ns,
            stat.inode, 1, partial=path in self.partial, set_aside=path.endswith(".corrupted"),
        )  # fmt: skip

    def scan(
        self, *, failed_dirs: tuple[str, ...] = (), skipped: tuple[Skipped, ...] = (), health: str = "healthy"
    ) -> RootScan:
        """A walk that could not look at ``failed_dirs`` and at what is ``skipped``."""
        hidden = {item.path for item in skipped}
        seen = [
            self.scanned(path)
            for path in sorted(self.files)
            if path not in hidden and not any(path.startswith(failed + "/") for failed in failed_dirs)
        ]
        if health == "unreachable":
            seen, failed_dirs = [], ("",)
        return RootScan(self.root, tuple(seen), skipped, failed_dirs, health, health)  # type: ignore[arg-type]

    def report(self, **how: object) -> ScanReport:
        return ScanReport((self.scan(**how),))  # type: ignore[arg-type]

    def sample(self, file: ScannedFile) -> str | None:
        return self.content(file.path).digests.sample

    def hash(self, pending: PendingFile) -> HashResult:
        """Reads the file as it is now; racy as ``hashing`` judges it."""
        stat = self.stat(pending.path)
        started = int(self.now * 1e9)
        racy = max(stat.mtime_ns, stat.ctime_ns) >= started - 3_000_000_000
        return HashResult(self.content(pending.path).digests, stat, stat.size, racy)


@dataclass
class Bench:
    """An index over a disk."""

    index: Index
    disk: Disk

    def scan(self, **how: object):
        return self.index.apply_scan(self.disk.report(**how), self.disk.now, sample=self.disk.sample)

    def hash_due(self) -> int:
        """Hashes whatever may be hashed now; how many."""
        now = self.disk.now
        pending = self.index.pending_hashes(now)
        due = [item for item in pending if item.not_before <= now and item.path in self.disk.files]
        for item in due:
            self.index.record_hash(item, self.disk.hash(item), {"title": item.path}, ())
        return len(due)

    def settle(self) -> None:
        """Lets the quiet period pass; scans and hashes until nothing is left to do."""
        for _ in range(4):
            self.disk.pass_time(10)
            self.scan()
            self.hash_due()

    def row(self, path: str) -> IndexRow | None:
        return self.index.row(self.disk.root.root_id, path)

    def wrong_rows(self) -> list[str]:
        """Paths of ready rows whose digest is not that of the bytes there now."""
        return [
            row.path
            for row in self.index.rows()
            if row.state == "ready"
            and (row.path not in self.disk.files or row.sha256 != self.disk.content(row.path).digests.sha256)
        ]

    def tombstones(self) -> int:
        return len(self.index.delta(self.index.acked("hub") or 0).removals)


class Hub:
    """What a hub has of one inventory, as the contract says."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str | None], dict[str, object]] = {}
        self.index_id, self.sequence = "", 0

    def take(self, index: Index, *, acknowledge: bool = True) -> str:
        """Takes over what the index has to say, as an agent would send it; the mode."""
        base = index.acked("hub")
        content = index.full() if base is None else index.delta(base)
        if content.mode == "delta" and (self.index_id, self.sequence) != (content.index_id, base):
            same = self.index_id == content.index_id
            content = index.delta(self.sequence) if same else index.full()
        if content.mode == "full":
            self.entries = {}
        for root in content.roots:
            self.entries[root.root, None] = entry_dict(root)
        for entry in content.upserts:
            self.entries[entry.root, entry.path] = entry_dict(entry)
        for removal in content.removals:
            self.entries.pop((removal.root, removal.path), None)  # it may have come and gone between
        self.index_id, self.sequence = content.index_id, content.sequence
        assert digest_sum(row_digest(entry) for entry in self.entries.values()) == content.digest
        if acknowledge:
            index.acknowledge("hub", content.index_id, content.sequence)
        return content.mode


def make_disk(count: int = 0, *, kind: Kind = "checkpoint", seed: int = 0) -> Disk:
    disk = Disk(root=Root(f"root{seed:04}", kind, "/models", "models"))
    for number in range(count):
        folder = f"d{number % 4}/" if number % 5 else ""
        disk.write(f"{folder}f{number:05}.safetensors", Content(f"c{number}"), size=1000 + number)
    return disk


@pytest.fixture
def new_disk() -> Callable[..., Disk]:
    """``new_disk(count, kind=..., seed=...)``: a disk with that many files in five folders."""
    return make_disk


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """An empty disk and an index over it, both on one clock."""
    disk = make_disk()
    index = open_index(tmp_path / "data", clock=lambda: disk.now)
    yield Bench(index, disk)
    index.close()


@pytest.fixture
def make_bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """``make_bench(disk, name, **how)``: another index (in a folder called ``name``) over ``disk``."""
    opened: list[Index] = []

    def make(disk: Disk, name: str = "data", cls: type[Index] = Index, **how: object) -> Bench:
        index = open_index(tmp_path / name, clock=lambda: disk.now, **how)  # type: ignore[arg-type]
        index.__class__ = cls
        opened.append(index)
        return Bench(index, disk)

    yield make
    for index in opened:
        index.close()


@pytest.fixture
def hub() -> Hub:
    return Hub()


@pytest.fixture
def content() -> type[Content]:
    return Content


@pytest.fixture
def rng() -> random.Random:
    """Seeded, so that a failure can be replayed."""
    return random.Random(20240607)
