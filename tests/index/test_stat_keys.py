"""R9: an adversary of stamps. Whatever it does, a row is never ready with digests of other bytes for long.

A case is one file; its steps are random changes that try to leave the stamps alone. 400 cases x 6 steps on
each of five file systems here, 10,000 cases in a long run (STABLEQUEUE_TEST_STAT_CASES).
"""

from __future__ import annotations

import functools
import itertools
import os
from dataclasses import replace

import pytest

from stablequeue_client.files.scanner import RootScan
from stablequeue_client.index.index import Index
from stablequeue_client.index.reconcile import plan_scan
from stablequeue_client.index.rows import TODO_RECHECK

CASES = int(os.environ.get("STABLEQUEUE_TEST_STAT_CASES", "400"))
STEPS = 6
SECOND = 1_000_000_000

FILE_SYSTEMS = {
    "local": {},
    "stamps of 1 s": {"tick_ns": SECOND},
    "stamps of 2 s": {"tick_ns": 2 * SECOND},
    "no inodes": {"has_inodes": False},
    "no inodes, stamps of 2 s": {"has_inodes": False, "tick_ns": 2 * SECOND},
}


class Adversary:
    """Changes files and hides it as well as a user process can."""

    def __init__(self, disk, content, rng) -> None:
        self.disk, self.content, self.rng = disk, content, rng
        self.number = 0
        self.tricks = [
            self.in_place, self.replaced, self.older, self.future, self.renamed_over, self.moved_and_changed,
            self.nothing, self.nothing,
        ]  # fmt: skip

    def act(self, path: str) -> None:
        self.rng.choice(self.tricks)(path)

    def _new(self, path: str):
        """Other bytes, of which the sample may show nothing."""
        self.number += 1
        shown = self.disk.content(path).shown if self.rng.random() < 0.5 else f"s{self.number}"
        return self.content(shown, f"h{self.number}")

    def _keep_mtime(self, path: str, change) -> None:
        mtime = self.disk.inodes[self.disk.files[path]].mtime_ns
        change()
        self.disk.set_mtime(path, mtime)

    def nothing(self, path: str) -> None:
        """No change."""

    def in_place(self, path: str) -> None:
        self._keep_mtime(path, lambda: self.disk.overwrite(path, self._new(path)))

    def replaced(self, path: str) -> None:
        size = self.disk.stat(path).size
        number = self.disk.files[path]
        reuse = number if self.rng.random() < 0.5 else None  # the inode that just became free
        self._keep_mtime(path, lambda: self.disk.write(path, self._new(path), size=size, inode=reuse))

    def older(self, path: str) -> None:
        self.disk.overwrite(path, self._new(path))
        self.disk.set_mtime(path, self.rng.randrange(10**18, 16 * 10**17))

    def future(self, path: str) -> None:
        self.disk.overwrite(path, self._new(path))
        self.disk.set_mtime(path, int((self.disk.now + self.rng.choice([2, 3600, 10**8])) * 1e9))

    def renamed_over(self, path: str) -> None:
        size = self.disk.stat(path).size
        self.disk.write(path + ".new", self._new(path), size=size)
        self.disk.set_mtime(path + ".new", self.disk.inodes[self.disk.files[path]].mtime_ns)
        self.disk.rename(path + ".new", path)

    def moved_and_changed(self, path: str) -> None:
        self._keep_mtime(path, lambda: self.disk.overwrite(path, self._new(path)))
        self.disk.rename(path, "moved/" + path)
        self.disk.rename("moved/" + path, path)


def missed_changes(bench, content, rng) -> list[str]:
    """Files whose change was not noticed, over all steps."""
    disk = bench.disk
    adversary = Adversary(disk, content, rng)
    paths = [f"{number:05}.safetensors" for number in range(CASES)]
    for path in paths:
        disk.write(path, content(path))
    missed: list[str] = []
    for _ in range(STEPS):
        bench.scan()
        disk.pass_time(rng.choice([0.0, 0.4, 1.0]))
        bench.hash_due()
        for path in paths:  # some of them in the very tick of the hash
            adversary.act(path)
        bench.scan()
        disk.pass_time(rng.choice([0.1, 1.0, 10.0]))
        bench.hash_due()
        disk.pass_time(10)
        bench.scan()
        bench.hash_due()
        missed += bench.wrong_rows()
    return missed


@pytest.mark.fault
@pytest.mark.parametrize("name", FILE_SYSTEMS)
def test_no_change_is_missed_where_there_is_a_ctime(make_bench, new_disk, content, rng, name):
    disk = replace(new_disk(), **FILE_SYSTEMS[name])
    assert missed_changes(make_bench(disk), content, rng) == []


class BlindToCtime(Index):
    """The broken variant: ctime and inode count for nothing."""

    @staticmethod
    def plan(known, scans, look, **how):
        def blind(scan: RootScan) -> RootScan:
            rows = {row.path: row for row in known.rows.values()}
            files = [
                type(file)(
                    **{field: getattr(file, field) for field in file.__struct_fields__}
                    | {"ctime_ns": rows[file.path].ctime_ns, "inode": rows[file.path].inode}
                )
                if file.path in rows
                else file
                for file in scan.files
            ]
            return replace(scan, files=tuple(files))

        return plan_scan(known, [blind(scan) for scan in scans], look, **how)


@pytest.mark.fault
def test_an_index_that_ignores_the_ctime_misses_changes(make_bench, new_disk, content, rng):
    bench = make_bench(new_disk(), cls=BlindToCtime)
    bench.index._interesting = lambda scans: list(scans)  # type: ignore[method-assign]
    assert len(missed_changes(bench, content, rng)) > 20


def racy_scenario(bench, content, *, racy: bool) -> list[str]:
    """Files written, hashed and written again within one tick of 2 s, with the mtime put back."""
    disk = bench.disk
    disk.tick_ns = 2 * SECOND
    paths = [f"{number}.safetensors" for number in range(50)]
    for path in paths:
        disk.write(path, content(path))
    bench.index.apply_scan(disk.report(), disk.now, quiet_s=0)
    disk.pass_time(0.5)
    for pending in bench.index.pending_hashes(disk.now):
        result = disk.hash(pending)
        assert result.racy
        bench.index.record_hash(pending, replace(result, racy=racy), {}, ())
    for path in paths:
        disk.overwrite(path, content("changed " + path))
    disk.pass_time(60)
    bench.scan()
    bench.hash_due()
    return bench.wrong_rows()


@pytest.mark.fault
def test_no_racy_entry_is_trusted(bench, content):
    assert racy_scenario(bench, content, racy=True) == []
    bench.settle()
    assert not any(row.racy for row in bench.index.rows())


@pytest.mark.fault
def test_without_the_racy_mark_the_same_writes_are_missed(bench, content):
    assert len(racy_scenario(bench, content, racy=False)) == 50


STAMPS = {
    "size": [0, 1],
    "mtime": [0, 1, -1, 10**18],
    "ctime": [0, 1],
    "inode": [0, 1],
    "sample": ["same", "other"],
    "place": ["here", "moved"],
}


@pytest.mark.parametrize("case", list(itertools.product(*STAMPS.values())), ids=str)
def test_every_combination_of_stamps_is_judged_by_the_rule(bench, content, case):
    size, mtime, ctime, inode, sample, place = case
    disk = bench.disk
    disk.write("a", content("same", "h"))
    bench.settle()
    disk.pass_time(100)
    old = disk.inodes.pop(disk.files.pop("a"))
    there = replace(
        old,
        content=content(sample, "h"),
        size=old.size + size,
        mtime_ns=old.mtime_ns + mtime,
        ctime_ns=old.ctime_ns + ctime,
        number=old.number + inode,
    )
    path = "a" if place == "here" else "b"
    disk.inodes[there.number], disk.files[path] = there, there.number
    bench.scan()
    row = bench.row(path)
    if place == "here":
        assert (row.sha256 is not None) == (case[:4] == (0, 0, 0, 0))
        assert row.todo != TODO_RECHECK
    else:
        carried = (size, mtime, inode, sample) == (0, 0, 0, "same")
        assert (row.sha256 is not None) == carried
        assert (row.todo == TODO_RECHECK) == carried
        assert bench.row("a") is None


def test_a_rename_is_only_believed_with_the_sample(make_bench, new_disk, content):
    """The broken variant: a planner that is told every sample agrees."""
    disk = new_disk()
    bench = make_bench(disk)
    disk.write("a", content("a"))
    bench.settle()
    [row] = bench.index.rows()
    disk.rename("a", "b")
    disk.inodes[disk.files["b"]] = replace(disk.inodes[disk.files["b"]], content=content("x"))
    agreeing = functools.partial(bench.index.apply_scan, sample=lambda file: row.sample)
    agreeing(disk.report(), disk.now)
    assert bench.wrong_rows() == ["b"]
