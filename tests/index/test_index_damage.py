"""R20: a damaged index never gives a wrong row; it is moved aside and rebuilt by itself.

300 mutations here, 5,000 in a long run (STABLEQUEUE_TEST_DAMAGES).
"""

from __future__ import annotations

import glob
import os
import shutil
import sqlite3
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from stablequeue_client.index.checked_tables import DamagedDatabaseError, Table
from stablequeue_client.index.database import open_database
from stablequeue_client.index.index import INDEX_SCHEMA, Index, open_index
from stablequeue_client.shared.errors import DataFolderError, NewerDataError

MUTATIONS = int(os.environ.get("STABLEQUEUE_TEST_DAMAGES", "300"))


class Crashed:
    """The files of an index as a kill left them, log and all, and every state that was ever committed."""

    def __init__(self, bench, content, folder) -> None:
        self.folder = folder
        self.states: dict[tuple[str, int], list] = {}
        self.source = os.path.dirname(bench.index._database.path)
        for number in range(120):
            bench.disk.write(f"d{number % 3}/{number}.safetensors", content(str(number)))
        bench.settle()
        self._remember(bench)
        bench.index.close()  # what was so far lies in the file itself
        bench.index = open_index(self.source, clock=lambda: bench.disk.now)
        bench.index.acknowledge("hub", bench.index.index_id, bench.index.sequence())
        self._remember(bench)
        for number in range(6):
            bench.disk.write(f"more/{number}.safetensors", content(f"more {number}"))
            bench.disk.remove(f"d0/{number * 3}.safetensors")
            bench.disk.pass_time(10)
            bench.scan()
            self._remember(bench)
            for pending in bench.index.pending_hashes(bench.disk.now):
                bench.index.record_hash(pending, bench.disk.hash(pending), {"a": "b"}, ())
                self._remember(bench)
        self.files = {
            name: Path(self.source, name).read_bytes()
            for name in ("index.sqlite", "index.sqlite-wal", "index.sqlite-shm")
        }

    def _remember(self, bench) -> None:
        position = bench.index.position()
        self.states[position.index_id, position.sequence] = bench.index.rows()

    def copy(self, name: str, files: dict[str, bytes]) -> str:
        target = os.path.join(self.folder, name)
        os.makedirs(target)
        for file, data in files.items():
            with open(os.path.join(target, file), "wb") as copy:
                copy.write(data)
        return target

    def mutated(self, rng) -> dict[str, bytes]:
        """The files with one piece of damage."""
        files = dict(self.files)
        name = rng.choice(["index.sqlite"] * 4 + ["index.sqlite-wal"])
        data = bytearray(files[name])
        sort = rng.choice(["bit", "bit", "bit", "bytes", "page", "swap", "truncated", "header", "lost log"])
        at, page = rng.randrange(len(data)), 4096
        if sort == "bit":
            data[at] ^= 1 << rng.randrange(8)
        elif sort == "bytes":
            data[at : at + 16] = rng.randbytes(min(16, len(data) - at))
        elif sort == "page":
            start = at // page * page
            data[start : start + page] = rng.choice([bytes(page), rng.randbytes(page)])
        elif sort == "swap":  # a write that went to the wrong place
            one, other = (rng.randrange(len(data) // page) * page for _ in range(2))
            data[one : one + page] = data[other : other + page]
        elif sort == "truncated":
            del data[at:]
        elif sort == "header":
            data[: rng.choice([16, 100, 4096])] = bytes(rng.choice([16, 100]))
        else:
            del files["index.sqlite-wal"]
            if rng.random() < 0.5:
                del files["index.sqlite-shm"]
            return files
        files[name] = bytes(data)
        return files

    def verdict(self, index) -> str:
        """What an opened index shows: a committed state, nothing at all, or something that never was."""
        position, rows = index.position(), index.rows()
        if not rows and (position.index_id, position.sequence) not in self.states:
            return "rebuilt"
        return "sound" if self.states.get((position.index_id, position.sequence)) == rows else "wrong"


@pytest.fixture
def crashed(bench, content, tmp_path):
    return Crashed(bench, content, str(tmp_path))


@pytest.mark.fault
def test_no_damage_ever_shows_a_wrong_row_and_all_of_it_heals_by_itself(crashed, rng):
    verdicts = {"sound": 0, "rebuilt": 0}
    for number in range(MUTATIONS):
        folder = crashed.copy(f"m{number}", crashed.mutated(rng))
        index = open_index(folder)
        verdict = crashed.verdict(index)
        assert verdict in verdicts, f"mutation {number} of the seed in conftest"
        assert (verdict == "rebuilt") == (index.repaired is not None)
        index.write_progress(_activity())  # it can be written again
        index.close()
        verdicts[verdict] += 1
        shutil.rmtree(folder)
    assert min(verdicts.values()) > MUTATIONS // 20, "both outcomes were tried"


def _activity():
    from stablequeue_client.shared.wire.inventory import Activity

    return Activity(phase="scanning")


class Unchecked(Table):
    """The broken variant: rows are believed as they are read."""

    def _checked(self, rows):
        return (row[:-1] for row in rows)


@pytest.mark.fault
def test_quick_check_alone_would_show_wrong_rows(crashed, rng):
    tables = tuple(Unchecked(table.name, table.columns, table.key) for table in INDEX_SCHEMA.tables)
    schema = replace(INDEX_SCHEMA, tables=tables, check=lambda connection: None)
    wrong = 0
    for number in range(150):
        folder = crashed.copy(f"m{number}", crashed.mutated(rng))
        try:
            database, _ = open_database(os.path.join(folder, "index.sqlite"), schema)
            with database.read() as connection:
                rows = tables[0].select(connection)
            known = {tuple(row) for rows in crashed.states.values() for row in rows}
            wrong += any(row not in known for row in rows)
            database.close()
        except (DataFolderError, UnicodeError):
            pass
    assert wrong > 5


@pytest.mark.fault
def test_rows_of_two_times_are_noticed_though_each_is_sound(crashed):
    """An older copy of one page: checksums and quick_check are content, the running digest is not."""
    folder = crashed.copy("old-row", crashed.files)
    connection = sqlite3.connect(os.path.join(folder, "index.sqlite"))
    connection.execute("DELETE FROM files WHERE path = 'more/1.safetensors'")
    connection.commit()
    connection.close()
    index = open_index(folder)
    assert "not those of its last change" in (index.repaired or "")
    assert index.rows() == []


def test_the_damaged_file_is_kept_aside_and_the_message_names_it(crashed):
    files = dict(crashed.files, **{"index.sqlite": b"\0" * 8192})
    folder = crashed.copy("zeroed", files)
    for number in (1, 2):
        index = open_index(folder)
        aside = os.path.join(folder, f"index.sqlite.damaged-{number}")
        assert aside in (index.repaired or "")
        assert os.path.exists(aside)
        index.close()
        with open(os.path.join(folder, "index.sqlite"), "wb") as file:
            file.write(b"this is no database")


def test_only_the_newest_damaged_copies_are_kept(tmp_path):
    for _ in range(8):
        (tmp_path / "index.sqlite").write_bytes(b"this is no database at all")
        open_index(tmp_path).close()
    assert len(glob.glob(str(tmp_path / "index.sqlite.damaged-*"))) == 3


def test_a_lost_log_is_damage(crashed):
    files = {name: data for name, data in crashed.files.items() if not name.endswith("-wal")}
    index = open_index(crashed.copy("no-log", files))
    assert "write-ahead log is missing" in (index.repaired or "")


def test_damage_leads_to_a_new_identity(crashed):
    before = {index_id for index_id, _ in crashed.states}
    index = open_index(crashed.copy("gone", dict(crashed.files, **{"index.sqlite": b"x" * 5000})))
    assert index.index_id not in before
    assert index.acked("hub") is None


def test_a_guest_leaves_a_damaged_index_to_its_owner(crashed):
    folder = crashed.copy("guest", {"index.sqlite": b"x" * 5000})
    with pytest.raises(DamagedDatabaseError):
        open_index(folder, repair=False)
    data = crashed.files["index.sqlite"].replace(b"d1/1.safetensors", b"d1/2.safetensors")
    folder = crashed.copy("row", {"index.sqlite": data})
    guest = open_index(folder, repair=False)
    with pytest.raises(DamagedDatabaseError):
        guest.rows()
    guest.close()
    assert not glob.glob(os.path.join(folder, "*damaged*"))


def test_an_index_of_a_newer_version_is_refused_and_left_alone(tmp_path):
    schema = replace(INDEX_SCHEMA, version=INDEX_SCHEMA.version + 1)
    open_database(str(tmp_path / "index.sqlite"), schema)[0].close()
    before = (tmp_path / "index.sqlite").read_bytes()
    with pytest.raises(NewerDataError) as raised:
        open_index(tmp_path)
    assert str(tmp_path) in raised.value.message
    assert raised.value.remedy
    assert (tmp_path / "index.sqlite").read_bytes() == before


def test_a_flipped_bit_in_the_version_is_damage_and_no_newer_version(crashed):
    data = bytearray(crashed.files["index.sqlite"])
    data[62] ^= 1  # user_version
    files = dict(crashed.files, **{"index.sqlite": bytes(data)})
    assert open_index(crashed.copy("version", {"index.sqlite": files["index.sqlite"]})).repaired


def test_a_migration_keeps_the_rows_and_a_backup_of_before(bench, content, tmp_path):
    bench.disk.write("a.safetensors", content("a"))
    bench.settle()
    rows = bench.index.rows()
    bench.index.close()
    extra = Table("extra", (("name", "TEXT NOT NULL"), ("value", "TEXT")))
    newer = replace(
        INDEX_SCHEMA,
        version=INDEX_SCHEMA.version + 1,
        tables=(*INDEX_SCHEMA.tables, extra),
        migrations={INDEX_SCHEMA.version: lambda connection: connection.execute(extra.create)},
    )
    path = str(tmp_path / "data" / "index.sqlite")
    database, repaired = open_database(path, newer)
    assert repaired is None
    assert Index(database, None, lambda: 0.0).rows() == rows
    database.close()
    backup = f"{path}.before-{newer.version}"
    assert stat.S_IMODE(os.stat(backup).st_mode) == 0o600
    os.rename(backup, path)
    again = open_index(tmp_path / "data")
    assert again.rows() == rows
    again.close()


def test_a_migration_that_fails_changes_nothing(bench, content, tmp_path):
    bench.disk.write("a.safetensors", content("a"))
    bench.scan()
    bench.index.close()

    def fails(connection):
        connection.execute("DELETE FROM files")
        raise sqlite3.OperationalError("disk I/O error")

    newer = replace(INDEX_SCHEMA, version=2, migrations={1: fails})
    with pytest.raises(DataFolderError):
        open_database(str(tmp_path / "data" / "index.sqlite"), newer)
    index = open_index(tmp_path / "data")
    assert (len(index.rows()), index.repaired) == (1, None)
    index.close()


def test_an_index_that_vanishes_while_it_is_used_says_so(bench):
    os.remove(bench.index._database.path)
    with pytest.raises(DamagedDatabaseError, match="replaced or deleted"):
        bench.scan()


@pytest.mark.skipif(os.name == "nt", reason="POSIX modes")
def test_nobody_else_can_read_the_index(bench, content, tmp_path):
    bench.disk.write("a.safetensors", content("a"))
    bench.scan()
    for name in os.listdir(tmp_path / "data"):
        assert stat.S_IMODE(os.stat(tmp_path / "data" / name).st_mode) == 0o600, name
    os.chmod(tmp_path / "data" / "index.sqlite", 0o644)
    open_index(tmp_path / "data").close()
    assert stat.S_IMODE(os.stat(tmp_path / "data" / "index.sqlite").st_mode) == 0o600
