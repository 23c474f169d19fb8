"""The store: one writer, snapshots for readers, one hub per store, and no password in any message."""

from __future__ import annotations

import os
import stat
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from stablequeue_client.shared.errors import (
    AlreadyRunningError,
    BusyError,
    DataFolderError,
    InvalidValueError,
    StableQueueError,
    StoreUnavailableError,
)
from stablequeue_hub.jobs.picture_files import PictureFiles
from stablequeue_hub.store.engine import Store, open_store
from stablequeue_hub.store.lock import hold_store_lock
from stablequeue_hub.store.tables import hub_facts, servers

PICTURE = b"".join(
    (
        b"\x89PNG\r\n\x1a\n",
        *(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in (
                (b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)),
                (b"IDAT", zlib.compress(b"\0\0")),
                (b"IEND", b""),
            )
        ),
    )
)
COUNT = sa.select(sa.func.count()).select_from(hub_facts)


def _add(store: Store, name: str) -> None:
    with store.write() as connection:
        connection.execute(hub_facts.insert(), {"name": name, "value": "1"})


def test_what_is_written_is_there_for_readers_after_the_commit_only(store: Store) -> None:
    with store.write() as connection:
        connection.execute(hub_facts.insert(), {"name": "a", "value": "1"})
        with store.read() as reader:
            assert reader.scalar(COUNT) == 0
    with store.read() as reader:
        assert reader.scalar(COUNT) == 1


def test_an_exception_takes_back_the_whole_transaction(store: Store) -> None:
    with pytest.raises(RuntimeError), store.write() as connection:  # noqa: PT012
        connection.execute(hub_facts.insert(), {"name": "a", "value": "1"})
        raise RuntimeError
    with store.read() as reader:
        assert reader.scalar(COUNT) == 0


def test_a_reader_sees_one_moment_however_often_it_asks(store: Store) -> None:
    with store.read() as reader:
        assert reader.scalar(COUNT) == 0
        _add(store, "a")
        assert reader.scalar(COUNT) == 0


def test_a_reader_cannot_write(store: Store) -> None:
    with pytest.raises((StableQueueError, sa.exc.DBAPIError)), store.read() as reader:  # noqa: PT012
        reader.execute(hub_facts.insert(), {"name": "a", "value": "1"})
        reader.commit()
    with store.read() as reader:
        assert reader.scalar(COUNT) == 0


def test_writers_that_read_first_never_fail_and_lose_nothing(store: Store) -> None:
    """Deferred transactions that read and then write fail at once, or overwrite each other's count."""
    with store.write() as connection:
        connection.execute(hub_facts.insert(), {"name": "count", "value": "0"})
    failures: list[BaseException] = []

    def count_up() -> None:
        try:
            for _ in range(25):
                with store.write() as connection:
                    value = connection.scalar(sa.select(hub_facts.c.value))
                    connection.execute(hub_facts.update().values(value=str(int(value or 0) + 1)))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=count_up) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with store.read() as reader:
        assert reader.scalar(sa.select(hub_facts.c.value)) == "150"


def test_another_process_writes_in_turn(store: Store) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from stablequeue_hub.store.engine import open_store\n"
        "from stablequeue_hub.store.tables import hub_facts\n"
        "store = open_store(sys.argv[1], Path(sys.argv[2]))\n"
        "for i in range(30):\n"
        "    with store.write() as connection:\n"
        "        connection.execute(hub_facts.insert(), {'name': f'{sys.argv[3]}-{i}', 'value': ''})\n"
    )
    url = store.url.render_as_string(hide_password=False)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    children = [
        subprocess.Popen([sys.executable, "-c", code, url, str(store.data_dir), name], env=environment)
        for name in ("a", "b")
    ]
    for i in range(30):
        _add(store, f"c-{i}")
    assert [child.wait(60) for child in children] == [0, 0]
    with store.read() as reader:
        assert reader.scalar(COUNT) == 90


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process")
def test_a_forked_child_uses_connections_of_its_own(store: Store) -> None:
    _add(store, "parent")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            _add(store, "child")
            with store.read() as reader:
                code = 0 if reader.scalar(COUNT) == 2 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    _add(store, "parent again")
    with store.read() as reader:
        assert reader.scalar(COUNT) == 3


def test_foreign_keys_are_enforced(store: Store) -> None:
    with pytest.raises(sa.exc.IntegrityError), store.write() as connection:
        connection.exec_driver_sql(
            "INSERT INTO replaced_indexes (server_id, index_id, replaced_ms) VALUES ('nobody', 'i', 1)"
        )


def test_errors_do_not_repeat_the_values_of_a_statement(store: Store) -> None:
    with pytest.raises(sa.exc.IntegrityError) as error, store.write() as connection:  # noqa: PT012
        row = {"server_id": "s", "alias": "hidden words", "alias_key": None, "joined_ms": 1}
        connection.execute(servers.insert(), row)
    assert "hidden words" not in str(error.value).split("DETAIL")[0]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
@pytest.mark.parametrize("value", [2**63, 2**70])
def test_a_number_that_no_database_can_hold_is_an_invalid_value(store: Store, value: int) -> None:
    row = {"server_id": "one", "alias": "x", "alias_key": "x", "joined_ms": value}
    with pytest.raises(InvalidValueError), store.write() as connection:
        connection.execute(servers.insert(), row)


def test_the_data_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    store = open_store(None, tmp_path / "data")
    with store.write() as connection:
        connection.exec_driver_sql("CREATE TABLE t (a)")
        modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data").iterdir()}
    assert modes == {0o600}
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    store.close()


def test_one_hub_per_store(store: Store) -> None:
    other = open_store(store.url.render_as_string(hide_password=False), store.data_dir)
    with hold_store_lock(store) as lock:
        assert lock.still_held()
        with pytest.raises(AlreadyRunningError) as refused:
            hold_store_lock(other)
        assert "--data" in str(refused.value)
        _add(other, "keys are made while the hub runs")
    with hold_store_lock(other, wait_s=10):  # PostgreSQL frees it when it has ended the session
        pass
    other.close()


def test_the_lock_of_a_killed_process_is_free(store: Store) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from stablequeue_hub.store.engine import open_store\n"
        "from stablequeue_hub.store.lock import hold_store_lock\n"
        "lock = hold_store_lock(open_store(sys.argv[1], Path(sys.argv[2])))\n"
        "print('held', flush=True); sys.stdin.read()\n"
    )
    url = store.url.render_as_string(hide_password=False)
    child = subprocess.Popen(
        [sys.executable, "-c", code, url, str(store.data_dir)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stdin is not None
    assert child.stdout.readline().strip() == b"held"
    with pytest.raises(AlreadyRunningError):
        hold_store_lock(store)
    child.kill()
    child.wait()
    child.stdin.close()
    child.stdout.close()
    hold_store_lock(store, wait_s=10).release()


@pytest.mark.postgresql
def test_a_long_transaction_keeps_no_plan_from_when_its_tables_were_empty(
    new_store: Callable[[str], Store],
) -> None:
    """Else the look-ups of a first inventory read whole tables: 50,000 rows took minutes."""
    lookup = sa.select(hub_facts.c.value).where(hub_facts.c.name.in_([str(n) for n in range(500)]))
    with new_store("postgresql").write() as connection:
        for count in (0, 20_000):
            rows = [{"name": f"row {n}", "value": "1"} for n in range(count)]
            if rows:
                connection.execute(hub_facts.insert(), rows)
            for _ in range(20):
                connection.execute(lookup)
        kept = "SELECT sum(generic_plans), sum(custom_plans) FROM pg_prepared_statements WHERE statement LIKE"
        generic, custom = connection.exec_driver_sql(f"{kept} 'SELECT hub_facts.value%%'").one()
    assert (generic, custom > 20) == (0, True)


@pytest.mark.postgresql
def test_a_hub_notices_that_postgresql_dropped_its_lock(new_store: Callable[[str], Store]) -> None:
    store = new_store("postgresql")
    with hold_store_lock(store) as lock:
        with store.write() as connection:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_locks"
                " WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
            )
        assert not lock.still_held()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://someone:s3cr3t-word@127.0.0.1:1/hub",
        "postgres://someone:s3cr3t-word@127.0.0.1:1/hub",
        "postgresql://someone:s3cr3t-word@no.such.host.invalid/hub",
    ],
)
def test_no_password_in_the_message_of_a_database_that_cannot_be_reached(url: str, tmp_path: Path) -> None:
    store = open_store(url, tmp_path)
    with pytest.raises(StoreUnavailableError) as error, store.read():
        pass
    assert "s3cr3t-word" not in f"{error.value} {error.value.as_wire()}"
    assert "someone" in error.value.message


@pytest.mark.parametrize(
    "url",
    ["postgresql://u:s3cr3t-word@host:port/x", "s3cr3t-word", "mysql://u:s3cr3t-word@h/x", "sqlite://"],
)
def test_a_wrong_url_is_refused_without_repeating_its_password(url: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError) as error:
        open_store(url, tmp_path)
    assert "s3cr3t-word" not in str(error.value)
    assert "postgresql://USER" in str(error.value)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataFolderError) as error:
        open_store(None, tmp_path / "file" / "data")
    assert "file/data" in error.value.message or "file\\data" in error.value.message


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "hub.sqlite").write_bytes(b"no database at all" * 100)
    store = open_store(None, tmp_path)
    with pytest.raises(StoreUnavailableError) as error, store.read():
        pass
    assert "hub.sqlite" in error.value.message


def test_a_store_held_by_another_writer_is_busy_not_broken(tmp_path: Path) -> None:
    store, other = open_store(None, tmp_path), open_store(None, tmp_path)
    with store.write() as connection:
        connection.exec_driver_sql("CREATE TABLE t (a)")
        held = other.dedicated_connection()
        held.connection.dbapi_connection.execute("PRAGMA busy_timeout=10")  # type: ignore[union-attr]
        with pytest.raises(sa.exc.OperationalError) as locked:
            held.begin()
        held.close()
    assert isinstance(store._explained(str(locked.value.orig)), BusyError)
    store.close()
    other.close()


def test_a_database_that_lost_its_content_is_refused_and_a_first_start_that_ended_early_is_not(
    tmp_path: Path,
) -> None:
    database = tmp_path / "hub.sqlite"
    database.touch()
    open_store(None, tmp_path).close()
    assert database.stat().st_size == 0

    (tmp_path / "admin.key").write_text("sq_a_b\n")
    with pytest.raises(StoreUnavailableError) as refusal:
        open_store(None, tmp_path)
    assert "is empty" in str(refusal.value)
    assert database.stat().st_size == 0, "left as it was found"

    database.unlink()
    open_store(None, tmp_path).close()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_nobody_else_can_look_into_the_folder_of_pictures(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        PictureFiles(tmp_path).stage("job", 1, 0, PICTURE)
        folders = [tmp_path / "pictures", tmp_path / "pictures" / "job"]
        assert [stat.S_IMODE(folder.stat().st_mode) for folder in folders] == [0o700, 0o700]

        folders[0].chmod(0o755)
        PictureFiles(tmp_path).stage("job", 1, 1, PICTURE)
        assert stat.S_IMODE(folders[0].stat().st_mode) == 0o700, "as an earlier version left it"
    finally:
        os.umask(before)
