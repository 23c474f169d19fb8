"""R1, R5, R18 and full disks: whatever fails, whenever the process dies, a change is whole or not there.

Counts here and in a long run: kills 120 / 3,000 (STABLEQUEUE_TEST_KILLS), every k-th database call for three
errors, 4 processes x 150 / 10,000 transactions (STABLEQUEUE_TEST_TRANSACTIONS).
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from itertools import count

import pytest

from stablequeue_client.index.checked_tables import DamagedDatabaseError
from stablequeue_client.index.index import open_index
from stablequeue_client.shared.errors import DataFolderError, StableQueueError
from stablequeue_client.shared.wire.inventory import Activity

KILLS = int(os.environ.get("STABLEQUEUE_TEST_KILLS", "120"))
TRANSACTIONS = int(os.environ.get("STABLEQUEUE_TEST_TRANSACTIONS", "150"))

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")


class Faulty(sqlite3.Connection):
    """SQLite, but the k-th call after ``arm`` does ``fault``. Not ``atomic``: without transactions."""

    calls = 0
    fail_at = 0
    atomic = True

    @staticmethod
    def fault() -> None:
        raise sqlite3.OperationalError("disk I/O error")

    def arm(self, fail_at: int) -> None:
        self.calls, self.fail_at = 0, fail_at

    def _call(self) -> None:
        self.calls += 1
        if self.calls == self.fail_at:
            self.fault()

    def execute(self, sql, *values):
        if not self.atomic and sql in ("BEGIN", "BEGIN IMMEDIATE", "COMMIT", "ROLLBACK"):
            sql = "SELECT 1"
        self._call()
        return super().execute(sql, *values)

    def executemany(self, sql, rows):
        if self.atomic:
            self._call()
            return super().executemany(sql, rows)
        for row in list(rows):
            self._call()
            super().execute(sql, row)
        return None


class NotAtomic(Faulty):
    """The broken variant."""

    atomic = False


def faulty(cls):
    def connect(path, **how):
        return sqlite3.connect(path, factory=cls, **how)

    return connect


def work(bench, content, round_: int) -> None:
    """One round of all that writes: new, changed, moved and removed files, hashes, sync, orders, progress."""
    disk, index = bench.disk, bench.index
    for number in range(4):
        disk.write(f"r{round_}/{number}.safetensors", content(f"{round_} {number}"))
    disk.pass_time(10)
    bench.scan()
    bench.hash_due()
    index.acknowledge("hub", index.index_id, index.sequence())
    disk.rename(f"r{round_}/0.safetensors", f"r{round_}/moved.safetensors")
    disk.overwrite(f"r{round_}/1.safetensors", content(f"{round_} changed"))
    disk.remove(f"r{round_}/2.safetensors")
    disk.pass_time(10)
    bench.scan()
    index.add_order("rescan", {}, 60)
    index.write_progress(Activity(files_done=round_))
    for order in index.take_orders():
        index.order_done(order.id)
    bench.hash_due()


def consistent(folder) -> tuple[bool, str]:
    """Opens the index anew: whether it was sound, and its notice."""
    index = open_index(folder)
    try:
        assert index.full().digest == index.digest()
        return index.repaired is None, index.repaired or ""
    finally:
        index.close()


def calls_of_a_round(make_bench, new_disk, content, cls) -> int:
    bench = make_bench(new_disk(), "count", connect=faulty(cls))
    bench.index._database._connection.arm(0)
    work(bench, content, 0)
    return bench.index._database._connection.calls


@pytest.mark.fault
@pytest.mark.parametrize("error", ["disk I/O error", "database or disk is full", "database is locked"])
def test_every_single_database_call_may_fail(make_bench, new_disk, content, error):
    class Failing(Faulty):
        @staticmethod
        def fault():
            raise sqlite3.OperationalError(error)

    total = calls_of_a_round(make_bench, new_disk, content, Faulty)
    assert total > 100
    bench = make_bench(new_disk(), connect=faulty(Failing))
    connection = bench.index._database._connection
    errors: list[StableQueueError] = []
    for fail_at in range(1, total + 1):
        connection.arm(fail_at)
        try:
            work(bench, content, fail_at)
        except StableQueueError as raised:
            errors.append(raised)
        connection.arm(0)
        assert not connection.in_transaction
        work(bench, content, -fail_at)  # it works again without being opened anew
        bench.disk.files.clear()
        bench.index.forget_root(bench.disk.root.root_id)
    assert len(errors) > total * 0.9
    assert all(raised.remedy and not isinstance(raised, DamagedDatabaseError) for raised in errors)
    bench.index.close()
    assert consistent(os.path.dirname(bench.index._database.path)) == (True, "")


def kill_points(make_bench, new_disk, content, cls, points) -> tuple[int, int]:
    """Kills a process at its k-th database call for each k; indexes found unsound, and lost changes."""
    unsound = lost = 0
    for number in points:
        disk = new_disk()
        bench = make_bench(disk, f"kill{cls.__name__}{number}", connect=faulty(cls))
        work(bench, content, 0)
        bench.index.close()
        folder = os.path.dirname(bench.index._database.path)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            _die_at(folder, disk, content, cls, number, writing, type(bench))
        os.close(writing)
        acked = os.read(reading, 65536).decode().split("\n")[:-1]
        os.close(reading)
        os.waitpid(child, 0)
        sound, _ = consistent(folder)
        unsound += not sound
        index = open_index(folder)
        lost += sound and bool(acked) and int(acked[-1]) > index.sequence()
        index.close()
    return unsound, lost


def _die_at(folder, disk, content, cls, number, pipe, bench_class) -> None:
    """In the child: works on, tells what was committed, and is killed."""
    index = open_index(folder, clock=lambda: disk.now, connect=faulty(cls))
    cls.fault = staticmethod(lambda: os.kill(os.getpid(), signal.SIGKILL))
    index._database._connection.arm(number)
    bench = bench_class(index, disk)
    try:
        for round_ in count(1):
            work(bench, content, round_)
            sequence = index.sequence()
            os.write(pipe, f"{sequence}\n".encode())
    finally:
        os._exit(1)


@needs_fork
@pytest.mark.fault
def test_a_kill_at_any_database_call_loses_nothing(make_bench, new_disk, content):
    class Killed(Faulty):
        """A class of its own: the child changes its fault."""

    total = calls_of_a_round(make_bench, new_disk, content, Faulty)
    points = range(1, 2 * total, max(1, 2 * total // (KILLS // 2)))
    assert kill_points(make_bench, new_disk, content, Killed, points) == (0, 0)


@needs_fork
@pytest.mark.fault
def test_without_transactions_a_kill_leaves_half_a_change(make_bench, new_disk, content):
    class Killed(NotAtomic):
        """A class of its own: the child changes its fault."""

    unsound, _ = kill_points(make_bench, new_disk, content, Killed, range(8, 200, 4))
    assert unsound > 5


@needs_fork
@pytest.mark.fault
def test_a_kill_at_any_time_loses_nothing(bench, content, tmp_path, rng):
    """One index, killed again and again; what was told as committed is always there afterwards."""
    folder = str(tmp_path / "data")
    work(bench, content, 0)
    bench.index.close()
    committed = 0
    for number in range(1, KILLS // 2 + 1):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                mine = type(bench)(open_index(folder, clock=lambda: bench.disk.now), bench.disk)
                os.write(writing, b"0\n")
                for round_ in count(number * 1000):
                    work(mine, content, round_)
                    os.write(writing, f"{mine.index.sequence()}\n".encode())
            finally:
                os._exit(1)
        os.close(writing)
        told = os.read(reading, 100)  # the child is at work
        time.sleep(rng.random() * 0.03)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        while chunk := os.read(reading, 65536):
            told += chunk
        os.close(reading)
        committed = max(committed, *(int(line) for line in told.split(b"\n")[:-1]))
        index = open_index(folder)
        assert index.repaired is None
        assert index.sequence() >= committed
        index.close()
    assert committed > 100


@pytest.mark.fault
def test_a_full_disk_loses_nothing_and_ends_by_itself(make_bench, new_disk, content):
    bench = make_bench(new_disk())
    bench.disk.write("a.safetensors", content("a"))
    bench.settle()
    rows, position = bench.index.rows(), bench.index.position()
    connection = bench.index._database._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    for number in range(100):
        bench.disk.write(f"{number}.safetensors", content(str(number)))
    with pytest.raises(DataFolderError, match="full") as raised:
        bench.scan()
    assert "Free disk space" in raised.value.remedy
    assert (bench.index.rows(), bench.index.position()) == (rows, position)
    connection.execute("PRAGMA max_page_count = 1000000")
    assert bench.scan().added == 100


def _mounted_small(folder) -> bool:
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "none", str(folder)], capture_output=True, check=False
    )
    return done.returncode == 0


@pytest.mark.fault
def test_a_file_system_that_is_really_full_behaves_the_same(tmp_path, new_disk, content, make_bench):
    folder = tmp_path / "small"
    folder.mkdir()
    if not _mounted_small(folder):
        pytest.skip("mounting is not allowed here")
    try:
        bench = make_bench(new_disk(), "small")
        bench.disk.write("a.safetensors", content("a"))
        bench.settle()
        rows = bench.index.rows()
        filler = folder / "filler"
        with pytest.raises(OSError, match="space"):
            filler.write_bytes(bytes(1_000_000))
        for number in range(300):
            bench.disk.write(f"{number}.safetensors", content(str(number)))
        with pytest.raises(DataFolderError) as raised:
            bench.scan()
        assert raised.value.remedy
        assert bench.index.rows() == rows
        filler.unlink()
        assert bench.scan().added == 300
        bench.index.close()
        assert consistent(folder) == (True, "")
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


WRITER = """
import sqlite3, sys
from stablequeue_client.shared.errors import DataFolderError
from stablequeue_client.index.index import open_index
from stablequeue_client.shared.wire.inventory import Activity

class Deferred(sqlite3.Connection):
    def execute(self, sql, *values):
        return super().execute("BEGIN" if sql == "BEGIN IMMEDIATE" else sql, *values)

folder, transactions, deferred = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "deferred"
how = {"factory": Deferred} if deferred else {}
index = open_index(folder, connect=lambda path, **more: sqlite3.connect(path, **more, **how))
failed = 0
for number in range(transactions):
    try:
        order = index.add_order("rescan", {"root": str(number)}, 600)
        index.write_progress(Activity(files_done=number))
        index.take_orders()
        if number % 2:
            index.order_done(order)
    except DataFolderError as error:
        failed += "held by another process" in str(error)
index.close()
print(failed)
"""


def busy_errors(folder, sort: str) -> list[int]:
    """How often each of four processes that write to one index was told "locked"."""
    open_index(folder).close()
    command = [sys.executable, "-c", WRITER, str(folder), str(TRANSACTIONS), sort]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    writers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(4)
    ]
    return [int(writer.communicate(timeout=120)[0]) for writer in writers]


@pytest.mark.fault
def test_four_processes_never_see_a_locked_index(tmp_path):
    assert busy_errors(tmp_path, "immediate") == [0, 0, 0, 0]
    index = open_index(tmp_path)
    orders = index.take_orders()
    assert len(orders) == 4 * TRANSACTIONS // 2
    assert len({order.id for order in orders}) == len(orders)
    index.close()


@pytest.mark.fault
def test_transactions_that_begin_as_reads_do_see_one(tmp_path):
    assert sum(busy_errors(tmp_path, "deferred")) > 10


class NoWal(sqlite3.Connection):
    """A file system without shared memory: SQLite stays with the rollback journal."""

    def execute(self, sql, *values):
        return super().execute("PRAGMA journal_mode" if "= WAL" in sql else sql, *values)


class LyingWal(sqlite3.Connection):
    """A share that promises WAL and then cannot do it."""

    wal = False

    def execute(self, sql, *values):
        self.wal = self.wal or "= WAL" in sql
        if self.wal and sql == "BEGIN IMMEDIATE":
            raise sqlite3.OperationalError("locking protocol")
        return super().execute(sql, *values)


@pytest.mark.parametrize("cls", [NoWal, LyingWal])
def test_without_wal_the_index_works_for_one_process(make_bench, new_disk, content, cls, tmp_path):
    bench = make_bench(new_disk(), connect=faulty(cls))
    bench.disk.write("a.safetensors", content("a"))
    bench.settle()
    assert bench.row("a.safetensors").state == "ready"
    assert not os.path.exists(tmp_path / "data" / "index.sqlite-wal")
    with pytest.raises(DataFolderError, match="held by another process"):
        open_index(tmp_path / "data", connect=faulty(cls), busy_s=0.1)


@needs_fork
def test_a_forked_child_gets_a_connection_of_its_own(bench, content):
    bench.disk.write("a.safetensors", content("a"))
    bench.scan()
    child = os.fork()
    if child == 0:
        bench.index.add_order("sync", {}, 60)
        os._exit(0 if len(bench.index.rows()) == 1 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [order.kind for order in bench.index.take_orders()] == ["sync"]
    bench.settle()
    assert bench.row("a.safetensors").state == "ready"


def test_a_data_folder_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(DataFolderError, match="file"):
        open_index(tmp_path / "file")
