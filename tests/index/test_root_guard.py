"""R7: what is out of sight is not gone. Real folders, and the same faults the walk would meet on a NAS."""

from __future__ import annotations

import errno
import functools
import os
import shutil
import time

import pytest

from stablequeue_client.files.file_io import ScanIO
from stablequeue_client.files.scanner import make_root, scan_roots
from stablequeue_client.index.index import Index
from stablequeue_client.index.reconcile import plan_scan
from stablequeue_client.shared.wire.inventory import Removal

FILES = 60
LATER = 3600.0


class FaultyIO(ScanIO):
    """Fails for the folders in ``broken`` (native paths), and below them."""

    def __init__(self) -> None:
        self.broken: dict[str, int] = {}
        self.after: int | None = None  # listings that still work, then every one fails

    def _check(self, path: str) -> None:
        for broken, number in self.broken.items():
            if path == broken or path.startswith(broken + os.sep):
                raise OSError(number, os.strerror(number), path)

    def scandir(self, path):
        self._check(path)
        if self.after is not None:
            self.after -= 1
            if self.after < 0:
                raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return super().scandir(path)

    def stat(self, path):
        self._check(path)
        return super().stat(path)


class Library:
    """A real folder with 60 files in six sub-folders, scanned into an index and hashed."""

    def __init__(self, folder, index: Index, bench) -> None:
        self.path, self.index = str(folder / "models"), index
        for number in range(FILES):
            target = folder / "models" / f"d{number % 6}" / f"{number}.safetensors"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(f"content {number}".encode())
        self.root = make_root("lora", self.path)
        self.io = FaultyIO()
        self.now = time.time() + LATER
        self.scan()
        for pending in index.pending_hashes(self.now):
            result = bench.disk_hash(pending)
            index.record_hash(pending, result, {}, ())
        self.index.acknowledge("hub", self.index.index_id, self.index.sequence())

    def scan(self, **how):
        return self.index.apply_scan(scan_roots([self.root], io=self.io), self.now, **how)

    def removals(self) -> tuple[Removal, ...]:
        return self.index.delta(self.index.acked("hub")).removals

    def states(self) -> dict[str, str]:
        return {row.path: row.state for row in self.index.rows()}

    @property
    def health(self) -> str:
        return self.index.roots()[0].health


class _RealHash:
    @staticmethod
    def disk_hash(pending):
        from stablequeue_client.files.hashing import hash_file

        result = hash_file(pending.native)
        return type(result)(result.digests, result.stat, result.bytes_read, False)


@pytest.fixture
def library(tmp_path, bench):
    return Library(tmp_path, bench.index, _RealHash)


def _trusting(scan, root, lost, rows, now_ms, accept):
    """The broken variant: no guard at all."""
    return root._replace(health="healthy", missing=0)


class Trusting(Index):
    plan = staticmethod(functools.partial(plan_scan, judge=_trusting))


def _root_missing(library):
    os.rename(library.path, library.path + ".away")
    return lambda: os.rename(library.path + ".away", library.path)


def _empty_mount_point(library):
    os.rename(library.path, library.path + ".away")
    os.mkdir(library.path)

    def heal():
        os.rmdir(library.path)
        os.rename(library.path + ".away", library.path)

    return heal


def _mount_point_with_a_readme(library):
    heal = _empty_mount_point(library)
    readme = os.path.join(library.path, "Put models here.txt")
    open(readme, "w").close()

    def heal_too():
        os.remove(readme)
        heal()

    return heal_too


def _eio_half_way(library):
    library.io.after = 3

    def heal():
        library.io.after = None

    return heal


def _half_the_folders(number):
    def fault(library):
        library.io.broken = {os.path.join(library.path, f"d{at}"): number for at in range(3)}
        return library.io.broken.clear

    return fault


def _other_disk_there(library):
    heal = _empty_mount_point(library)
    with open(os.path.join(library.path, "other.safetensors"), "wb") as file:
        file.write(b"another disk")

    def heal_too():
        os.remove(os.path.join(library.path, "other.safetensors"))
        heal()

    return heal_too


FAULTS = {
    "root missing": _root_missing,
    "empty mount point": _empty_mount_point,
    "mount point with a readme": _mount_point_with_a_readme,
    "EIO half way": _eio_half_way,
    "half the folders EACCES": _half_the_folders(errno.EACCES),
    "half the folders ETIMEDOUT": _half_the_folders(errno.ETIMEDOUT),
    "another disk in its place": _other_disk_there,
}


@pytest.mark.fault
@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_out_of_sight_is_never_reported_as_removed(library, fault):
    before = library.states()
    heal = FAULTS[fault](library)
    for _ in range(4):
        library.scan()
        assert {path: library.states()[path] for path in before} == before
        assert library.removals() == ()
        library.now += 60
    heal()
    library.now += LATER
    outcome = library.scan()
    assert library.health == "healthy"
    assert {path: state for path, state in library.states().items() if path in before} == before
    assert (outcome.added, outcome.changed) == (0, 0)
    assert len(library.removals()) <= 1  # the other disk's file


@pytest.mark.fault
@pytest.mark.parametrize("fault", ["root missing", "empty mount point", "mount point with a readme"])
def test_time_alone_never_ends_the_doubt(library, fault):
    FAULTS[fault](library)
    for _ in range(30):
        outcome = library.scan()
        library.now += 86_400
    assert (outcome.kept, library.health, library.removals()) == (FILES, "suspect", ())


@pytest.mark.fault
@pytest.mark.parametrize("fault", ["root missing", "empty mount point", "another disk in its place"])
def test_without_the_guard_the_same_faults_delete(library, fault):
    library.index.__class__ = Trusting
    FAULTS[fault](library)
    library.scan()
    assert len(library.removals()) > 50


def _delete(library, share: float) -> None:
    for number in range(int(FILES * share)):
        os.remove(os.path.join(library.path, f"d{number % 6}", f"{number}.safetensors"))


@pytest.mark.fault
def test_a_mass_loss_needs_two_agreeing_scans_ten_minutes_apart(library):
    _delete(library, 0.6)
    outcome = library.scan()
    [suspect] = outcome.suspects
    assert (outcome.removed, outcome.kept, suspect.missing, library.health) == (0, 36, 36, "suspect")
    library.now += 599
    assert library.scan().removed == 0
    library.now += 2
    assert library.scan().removed == 36
    assert (library.health, len(library.removals())) == ("healthy", 36)


@pytest.mark.fault
def test_scans_that_miss_different_files_do_not_agree(library):
    _delete(library, 0.5)
    library.scan()
    library.now += 700
    _delete_more = os.path.join(library.path, "d5", "59.safetensors")
    os.remove(_delete_more)
    assert library.scan().removed == 0
    library.now += 500
    assert library.scan().removed == 0
    library.now += 101
    assert library.scan().removed == 31


@pytest.mark.fault
def test_a_clock_that_jumps_back_does_not_make_scans_agree(library):
    _delete(library, 0.6)
    library.scan()
    library.now -= 10_000
    assert library.scan().removed == 0
    library.now += 599
    assert library.scan().removed == 0


@pytest.mark.fault
def test_an_unplugged_disk_and_then_another_one_are_no_two_agreeing_scans(library):
    _root_missing(library)
    library.scan()
    library.now += LATER
    os.mkdir(library.path)
    with open(os.path.join(library.path, "other.safetensors"), "wb") as file:
        file.write(b"another disk")
    assert library.scan().removed == 0


def test_a_small_loss_is_believed_at_once(library):
    _delete(library, 0.3)
    assert library.scan().removed == 18
    assert len(library.removals()) == 18


def test_a_renamed_folder_is_no_loss(library):
    for at in range(5):
        os.rename(os.path.join(library.path, f"d{at}"), os.path.join(library.path, f"e{at}"))
    outcome = library.scan()
    assert (outcome.renamed, outcome.removed, outcome.kept) == (50, 0, 0)
    assert (library.health, set(library.states().values())) == ("healthy", {"ready"})


def test_the_owner_accepts_what_is_missing_now_and_nothing_else(library):
    _delete(library, 0.6)
    assert library.index.accept_removals(library.root.root_id) is False, "nothing is missing yet"
    library.scan()
    assert library.index.accept_removals(library.root.root_id) is True
    heal = _root_missing(library)  # between the order and the scan the disk goes
    assert library.scan().removed == 0
    heal()
    assert library.scan().removed == 36
    assert library.health == "healthy"


def test_the_owner_accepts_an_emptied_folder(library):
    shutil.rmtree(library.path)
    os.mkdir(library.path)
    assert library.scan().kept == FILES
    library.index.accept_removals(library.root.root_id)
    assert library.scan().removed == FILES
    assert (library.health, library.states()) == ("healthy", {})


def test_the_owner_accepts_a_folder_that_is_gone_with_the_scan_itself(library):
    shutil.rmtree(library.path)
    assert library.scan(accept=[library.root.root_id]).removed == FILES
    assert library.health == "unreachable"


def test_files_that_appear_in_a_suspect_folder_are_taken_in(library):
    _delete(library, 0.6)
    library.scan()
    with open(os.path.join(library.path, "new.safetensors"), "wb") as file:
        file.write(b"new")
    outcome = library.scan()
    assert (outcome.added, outcome.removed, library.health) == (1, 0, "suspect")


def test_removing_a_folder_from_the_settings_is_no_disappearance(library):
    rows = len(library.states())
    library.index.forget_root(library.root.root_id)
    assert (library.index.rows(), library.index.roots()) == ([], [])
    assert len(library.removals()) == rows + 1
    assert library.index.digest() == 0


def test_a_folder_that_was_never_there_is_unreachable(bench, tmp_path):
    report = scan_roots([make_root("vae", str(tmp_path / "nowhere"))])
    bench.index.apply_scan(report)
    [root] = bench.index.roots()
    assert root.health == "unreachable"
    assert root.reason.startswith("the folder is not connected")
