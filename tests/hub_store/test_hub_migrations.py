"""The schema goes up, down and up again; data is copied first, and newer data is refused."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from stablequeue_client.shared.errors import BackupNeededError, NewerDataError
from stablequeue_hub.store.engine import Store, open_store
from stablequeue_hub.store.lock import hold_store_lock
from stablequeue_hub.store.migrate import current_revision, downgrade, migrate, newest_revision
from stablequeue_hub.store.tables import (
    hub_facts,
    keys,
    metadata,
    model_server_availability,
    models,
    server_files,
    servers,
)


def _differences(store: Store) -> list[object]:
    with store.read() as connection:
        # Alembic takes SQLite's DEFAULT '' for another default than the one it was made from.
        context = MigrationContext.configure(connection, opts={"compare_server_default": not store.is_sqlite})
        return list(compare_metadata(context, metadata))


def test_up_makes_exactly_the_tables_that_the_code_knows_and_down_takes_them_away(
    empty_url: str | None, tmp_path: Path
) -> None:
    store = open_store(empty_url, tmp_path)
    migrate(store)
    assert current_revision(store) == newest_revision()
    assert _differences(store) == []
    downgrade(store, "base", backup_confirmed=True)
    with store.read() as connection:
        assert set(sa.inspect(connection).get_table_names()) <= {"alembic_version"}
    migrate(store)
    assert _differences(store) == []
    store.close()


def test_an_order_id_is_never_used_twice_also_after_a_migration(tmp_path: Path) -> None:
    store = open_store(None, tmp_path)
    migrate(store)
    with store.read() as connection:
        sql = connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE name = 'orders'").scalar_one()
    assert "AUTOINCREMENT" in sql
    store.close()


def test_migrating_twice_changes_nothing_and_copies_nothing(empty_url: str | None, tmp_path: Path) -> None:
    store = open_store(empty_url, tmp_path)
    migrate(store)
    before = sorted(os.listdir(tmp_path))
    migrate(store)
    assert sorted(os.listdir(tmp_path)) == before
    assert not [name for name in before if "backup" in name]
    store.close()


def test_data_is_copied_before_its_schema_changes(tmp_path: Path) -> None:
    store = open_store(None, tmp_path)
    migrate(store)
    with store.write() as connection:
        connection.execute(hub_facts.insert(), {"name": "kept", "value": "yes"})
    downgrade(store, "base")
    store.close()
    copy = tmp_path / f"hub.sqlite.backup-{newest_revision()}"
    assert os.name == "nt" or copy.stat().st_mode & 0o077 == 0
    with sqlite3.connect(copy) as connection:
        assert connection.execute("SELECT value FROM hub_facts").fetchall() == [("yes",)]


def test_a_hub_of_the_first_schema_keeps_its_data_and_a_copy_of_it(store: Store) -> None:
    server = {"server_id": "s" * 8, "alias": "attic", "alias_key": "attic", "joined_ms": 1}
    key = {
        "key_id": "s" * 8,
        "secret_hash": "x",
        "scope": "server",
        "server_id": "s" * 8,
        "created_ms": 1,
    }
    with store.write() as connection:
        connection.execute(servers.insert(), server)
        connection.execute(keys.insert(), key)
    downgrade(store, "0001", backup_confirmed=True)
    assert _columns(store) == {column.name for column in servers.c} - {
        *("capabilities_json", "jobs_paused", "api_url", "transfer_policy_json")
    }
    migrate(store, backup_confirmed=True)
    assert _differences(store) == []
    with store.read() as connection:
        row = connection.execute(sa.select(servers)).one()
        assert (row.alias, row.capabilities_json) == ("attic", None)
        assert connection.scalar(sa.select(sa.func.count()).select_from(keys)) == 1
    assert (store.data_dir / "hub.sqlite.backup-0001").is_file() == store.is_sqlite


def test_names_in_headers_that_were_known_before_are_found_after_an_update(store: Store) -> None:
    with store.write() as connection:
        for model_id, text in enumerate(('{"ss_output_name": "Ink"}', "{}", None), 1):
            values = {"name": "x", "type": "lora", "search_key": "x", "created_ms": 1, "source": "sync"}
            connection.execute(models.insert(), {**values, "id": model_id, "metadata_json": text})
    downgrade(store, "0002", backup_confirmed=True)
    migrate(store, backup_confirmed=True)
    with store.read() as connection:
        found = connection.scalars(sa.select(models.c.output_key).order_by(models.c.id)).all()
    assert found == ["ink", None, None]


def test_models_get_their_natural_names_by_an_update(store: Store) -> None:
    server = {"server_id": "s" * 8, "alias": "attic", "alias_key": "attic", "joined_ms": 1}
    lora = {"type": "lora", "created_ms": 1}
    file = {"server_id": "s" * 8, "root_id": "r", "kind": "lora", "size": 1, "state": "ready"}
    with store.write() as connection:
        connection.execute(servers.insert(), server)
        for model_id, source in enumerate(("sync", "registered", "sync"), 1):
            values = {**lora, "id": model_id, "name": "hat (1)", "search_key": "hat (1)", "source": source}
            connection.execute(models.insert(), values)
            for name in ("hat (1)", "Hat") if model_id < 3 else ():
                path = {"path": f"{model_id}/{name}.pt", "name": name, "name_key": name.lower()}
                row = {**file, **path, "row_digest": b"", "model_id": model_id, "changed_ms": 1}
                connection.execute(server_files.insert(), row)
    downgrade(store, "0006", backup_confirmed=True)
    migrate(store, backup_confirmed=True)
    with store.read() as connection:
        found = connection.execute(sa.select(models.c.name, models.c.search_key).order_by(models.c.id)).all()
    assert [tuple(row) for row in found] == [("Hat", "hat"), ("hat (1)", "hat (1)"), ("hat (1)", "hat (1)")]


def test_models_that_were_gone_before_an_update_are_known_as_gone_after_it(store: Store) -> None:
    server = {"server_id": "s" * 8, "alias": "attic", "alias_key": "attic", "joined_ms": 1}
    held = {"server_id": "s" * 8, "last_seen": 5, "files": 1}
    model = {"type": "lora", "search_key": "x", "created_ms": 1}
    with store.write() as connection:
        connection.execute(servers.insert(), server)
        for name, source, availability in (
            ("here", "sync", "available"),
            ("perhaps here", "sync", "unhashed"),
            ("removed", "sync", "unavailable"),
            ("forgotten", "sync", None),
            ("stated", "registered", None),
        ):
            added = connection.execute(models.insert(), {**model, "name": name, "source": source})
            model_id = added.inserted_primary_key[0]
            if availability:
                row = {**held, "model_id": model_id, "availability": availability, "since_ms": 7}
                connection.execute(model_server_availability.insert(), row)
    downgrade(store, "0003", backup_confirmed=True)
    migrate(store, backup_confirmed=True)
    with store.read() as connection:
        found = connection.execute(sa.select(models.c.name, models.c.gone_ms)).all()
    assert dict(map(tuple, found)) == {
        "here": None, "perhaps here": None, "removed": 7, "forgotten": 1, "stated": None,
    }  # fmt: skip


def _columns(store: Store) -> set[str]:
    with store.read() as connection:
        return {column["name"] for column in sa.inspect(connection).get_columns("servers")}


@pytest.mark.postgresql
def test_postgresql_is_dumped_or_the_owner_says_that_there_is_a_backup(
    postgresql_url: str, new_store: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = new_store("postgresql")  # type: ignore[operator]
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BackupNeededError) as refused:
        downgrade(store, "base")
    assert "--backup-confirmed" in str(refused.value)
    assert current_revision(store) == newest_revision()
    monkeypatch.setenv("PATH", path + ":/usr/lib/postgresql/15/bin")
    downgrade(store, "base")
    dump = store.data_dir / f"hub.pgdump.backup-{newest_revision()}"
    assert dump.read_bytes()[:5] == b"PGDMP"


def test_data_of_a_newer_version_is_refused_and_left_alone(empty_url: str | None, tmp_path: Path) -> None:
    store = open_store(empty_url, tmp_path)
    migrate(store)
    with store.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(NewerDataError) as refused:
        migrate(store)
    assert "9999" in refused.value.message
    assert current_revision(store) == "9999"
    store.close()


def test_a_new_database_is_waited_for_while_another_process_switches_it_to_wal(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "hub.sqlite", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.5, lambda: other.execute("COMMIT"))
    release.start()
    store = open_store(None, tmp_path)
    assert current_revision(store) is None
    with store.write() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
    store.close()
    release.join()
    other.close()


def test_a_second_process_waits_for_the_hub_that_is_just_making_the_schema(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from stablequeue_hub.store.engine import open_store\n"
        "from stablequeue_hub.store.migrate import migrate\n"
        "store = open_store(None, Path(sys.argv[1])); print('started', flush=True); migrate(store)\n"
    )
    store = open_store(None, tmp_path)
    with hold_store_lock(store):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], env=environment, stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        child.stdout.readline()
        migrate(store)
        assert child.wait(30) == 0
        child.stdout.close()
    store.close()
