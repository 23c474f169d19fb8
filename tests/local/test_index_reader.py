"""The snapshot that a WebUI has of its index: always what the agent wrote, never at the generation's cost."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stablequeue_client.index.checked_tables import set_facts
from stablequeue_client.index.snapshot import CHUNK, COMPARE_PAUSE_S, READ_PAUSE_S, IndexReader, Snapshot
from stablequeue_client.shared.errors import DataFolderError, NotFoundError
from stablequeue_client.shared.wire.inventory import Activity

from ..slowness import slowness
from .synthetic_index import SyntheticIndex, file, library, make_index, root


def order_until_it_fails(models: IndexReader) -> None:
    for _ in range(2000):
        models.order("rescan")


def look(models: IndexReader) -> bool:
    return models.refresh(max_age_s=0)


def as_stored(index: SyntheticIndex) -> set[object]:
    return set(index.index.rows())


def test_before_the_first_scan_there_is_nothing_and_no_problem(tmp_path: Path) -> None:
    models = IndexReader(tmp_path / "never")
    assert not look(models)
    assert (models.version, models.rows, models.problem, models.progress) == (0, (), None, None)
    assert not (tmp_path / "never").exists()
    with pytest.raises(NotFoundError, match="has not started"):
        models.order("rescan")


def test_an_index_that_appears_later_is_taken_over(tmp_path: Path) -> None:
    models = IndexReader(tmp_path, pause=lambda _: None)
    assert not look(models)
    index = make_index(tmp_path, 3)
    assert look(models)
    assert set(models.rows) == as_stored(index)
    assert len(models.roots) == 4
    index.close()


def test_every_change_is_seen_whatever_the_agent_does(index: SyntheticIndex, models: IndexReader) -> None:
    choose = random.Random(20_261_122)
    known = {row.key: row for row in library(40, unread=10)}
    index.put(list(known.values()))
    for _ in range(60):
        look(models)
        kind = choose.choice(("add", "change", "remove", "quietly"))
        row = choose.choice(list(known.values()))
        if kind == "add":
            row = file("lora", f"new/{choose.random()}.safetensors", content=choose.choice((None, "same")))
            index.put([row])
        elif kind == "change":
            row = file(row.kind, row.path, state=choose.choice(("ready", "corrupt", "unhashed")), reason="x")
            index.put([row])
        elif kind == "remove":
            index.remove([row])
        else:  # what no hub hears of, so that it has no sequence of its own
            row = row._replace(reason=str(choose.random()), todo=1)
            index.put([row])
        known.pop(row.key, None)
        if kind != "remove":
            known[row.key] = row
        assert look(models)
        stored = as_stored(index)
        assert set(models.rows) == stored
        anew = IndexReader(models._path.parent, pause=lambda _: None)
        look(anew)
        assert dict(models.snapshot.models) == dict(anew.snapshot.models)
        assert dict(models.snapshot.names) == dict(anew.snapshot.names)
        anew.close()


def test_a_snapshot_that_was_taken_does_not_change(index: SyntheticIndex, models: IndexReader) -> None:
    index.put(library(5))
    look(models)
    taken = models.snapshot
    rows = taken.rows
    index.remove(rows[:2])
    look(models)
    assert taken.rows == rows
    assert len(models.rows) == 3
    assert models.version == taken.version + 1


def test_without_a_change_nothing_is_read_again(index: SyntheticIndex, models: IndexReader) -> None:
    index.put(library(5))
    assert look(models)
    before = models.snapshot
    index.index.write_progress(Activity(phase="hashing", files_total=5))
    assert not look(models)
    assert models.snapshot is before
    assert models.progress is not None
    assert models.progress.files_total == 5


def test_looks_within_a_second_cost_nothing(index: SyntheticIndex, tmp_path: Path) -> None:
    clock = [100.0]
    models = IndexReader(tmp_path, pause=lambda _: None, clock=lambda: clock[0])
    index.put(library(2))
    assert models.refresh()
    index.put([file("vae", "later.safetensors")])
    clock[0] += 0.9
    assert not models.refresh()
    clock[0] += 0.2
    assert models.refresh()
    models.close()


def test_the_gil_is_given_up_after_each_piece(tmp_path: Path) -> None:
    pauses: list[float] = []
    models = IndexReader(tmp_path, pause=pauses.append)
    count = 3 * CHUNK + 7
    index = make_index(tmp_path, count)
    look(models)
    assert len(models.rows) == count
    assert pauses.count(READ_PAUSE_S) >= 4 * (count // CHUNK)
    pauses.clear()
    index.put([file("vae", "one.safetensors")])
    look(models)
    assert sorted(pauses) == [COMPARE_PAUSE_S] * 3 + [READ_PAUSE_S]
    index.close()
    models.close()


def test_readers_see_whole_snapshots_while_the_index_changes(index: SyntheticIndex, tmp_path: Path) -> None:
    models = IndexReader(tmp_path)
    stop = threading.Event()
    wrong: list[Snapshot] = []

    def reader() -> None:
        while not stop.is_set():
            snapshot = models.snapshot
            if any(row.key not in snapshot.files for found in snapshot.names.values() for row in found):
                wrong.append(snapshot)
            models.refresh(max_age_s=0)

    threads = [threading.Thread(target=reader) for _ in range(3)]
    for thread in threads:
        thread.start()
    rows = library(60)
    for start in range(0, 60, 5):
        index.put(rows[start : start + 5])
        index.remove(rows[max(0, start - 10) : start - 5])
    stop.set()
    for thread in threads:
        thread.join(10)
    look(models)
    assert not wrong
    assert set(models.rows) == as_stored(index)
    models.close()


@pytest.mark.parametrize("seed", range(20))
def test_what_the_agent_writes_between_two_readings_is_neither_lost_nor_kept(
    index: SyntheticIndex, models: IndexReader, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    choose = random.Random(seed)
    rows = library(12)
    index.put(rows[:6])
    look(models)
    database = models._database
    assert database is not None
    read = database.read

    @contextlib.contextmanager
    def read_then_written() -> Iterator[sqlite3.Connection]:
        with read() as connection:
            yield connection
        for row in choose.sample(rows, 3):
            stored = {found.key: found for found in index.index.rows()}
            index.remove([stored[row.key]]) if row.key in stored else index.put([row])

    monkeypatch.setattr(database, "read", read_then_written)
    for _ in range(10):
        index.put([choose.choice(rows)])
        look(models)
    monkeypatch.undo()
    look(models)
    assert set(models.rows) == as_stored(index)


# --- names ------------------------------------------------------------------------------------------------


def test_files_are_found_by_stem_name_or_path(index: SyntheticIndex, models: IndexReader) -> None:
    paths = ["a/Foo.safetensors", "b/foo.ckpt", "b/foo bar.safetensors", "b/v1.5.safetensors", "Мир.pt"]
    index.put([file("lora", path) for path in paths])
    index.put([file("checkpoint", "a/foo.safetensors")])
    look(models)

    def found(name: str) -> list[str]:
        return sorted(row.path for row in models.find("lora", name))

    assert found("foo") == found("FOO.safetensors") == ["a/Foo.safetensors", "b/foo.ckpt"]
    assert found("b/foo") == found("b/foo.ckpt") == ["b/foo.ckpt"]
    assert found("c/foo") == found("fo") == []
    assert found("v1.5") == ["b/v1.5.safetensors"]
    assert found("мир") == ["Мир.pt"]
    assert "foo bar" in models.names("lora")
    assert models.names("checkpoint") == ("foo",)


def test_one_content_in_two_files_is_one_model(index: SyntheticIndex, models: IndexReader) -> None:
    first, second = (file("lora", path, content="x") for path in ("a.safetensors", "b.safetensors"))
    index.put([first, second])
    look(models)
    assert [row.path for row in models.by_sha256(first.sha256 or "")] == ["a.safetensors", "b.safetensors"]
    index.remove(models.find("lora", "a"))
    look(models)
    assert [row.path for row in models.by_sha256(first.sha256 or "")] == ["b.safetensors"]
    assert models.by_sha256("0" * 64) == ()


def test_a_model_is_called_by_the_shortest_of_its_names(index: SyntheticIndex, models: IndexReader) -> None:
    paths = ("dream (1).safetensors", "zz/dream.safetensors", "a copy of dream.safetensors")
    files = [file("lora", path, content="x") for path in paths]
    index.put(files)
    look(models)
    assert models.snapshot.models[files[0].sha256 or ""].name == "dream"


# --- orders -----------------------------------------------------------------------------------------------


def test_orders_reach_the_agent(index: SyntheticIndex, models: IndexReader) -> None:
    models.order("rescan")
    models.order("hashing", mode="pause", until_s=60)
    taken = [(order.kind, dict(order.fields)) for order in index.index.take_orders()]
    assert taken == [("rescan", {}), ("hashing", {"mode": "pause", "until_s": 60})]


# --- what goes wrong --------------------------------------------------------------------------------------


def test_an_index_that_was_replaced_is_opened_again(tmp_path: Path) -> None:
    models = IndexReader(tmp_path, pause=lambda _: None)
    first = make_index(tmp_path, 30)
    look(models)
    first.close()
    for name in ("index.sqlite", "index.sqlite-wal", "index.sqlite-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    second = make_index(tmp_path, 0)
    second.put([file("vae", "only.safetensors")])
    look(models)
    look(models)
    assert [row.path for row in models.rows] == ["only.safetensors"]
    assert models.problem is None
    assert models.snapshot.index_id == second.index.index_id
    second.close()


def test_a_new_identity_keeps_the_rows(index: SyntheticIndex, models: IndexReader) -> None:
    index.put(library(5))
    look(models)
    index.index.new_identity()
    assert look(models)
    assert models.snapshot.index_id == index.index.index_id
    assert set(models.rows) == as_stored(index)


@pytest.mark.parametrize("damage", ["zeroed", "truncated", "emptied", "flipped"])
def test_a_damaged_index_is_told_and_what_was_known_stands(tmp_path: Path, damage: str) -> None:
    models = IndexReader(tmp_path, pause=lambda _: None)
    index = make_index(tmp_path, 300)
    look(models)
    index.close()
    models.close()
    path = tmp_path / "index.sqlite"
    content = bytearray(path.read_bytes())
    if damage == "zeroed":
        content[:100] = bytes(100)
    elif damage == "truncated":
        content = content[: len(content) // 2]
    elif damage == "emptied":
        content = bytearray()
    else:
        at = content.index(b"safetensors")
        content[at] ^= 1
        assert models.snapshot.rows
        models = IndexReader(tmp_path, pause=lambda _: None)  # one that has to read the damaged row
    path.write_bytes(content)
    before = models.snapshot
    assert not look(models)
    assert models.problem is not None
    assert "rebuilt" in models.problem.remedy
    assert models.snapshot is before
    repaired = SyntheticIndex(tmp_path)
    repaired.put([file("vae", "again.safetensors")])
    look(models)
    assert models.problem is None
    assert [row.path for row in models.rows] == ["again.safetensors"]
    repaired.close()


def test_an_index_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    index = make_index(tmp_path, 1)
    with index.database.write() as connection:
        connection.execute("PRAGMA user_version = 99")
        set_facts(connection, {"schema_version": "99"})
    index.close()
    models = IndexReader(tmp_path)
    assert not look(models)
    assert models.problem is not None
    assert "newer version" in models.problem.message


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="mounts a small file system")
def test_a_full_disk_is_told_and_passes(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    if os.system(f"mount -t tmpfs -o size=4m tmpfs {folder} 2>/dev/null") != 0:
        pytest.skip("no small file system can be mounted here")
    try:
        index = make_index(folder, 20)
        models = IndexReader(folder, pause=lambda _: None)
        assert look(models)
        filler = folder / "filler"
        with filler.open("wb", buffering=0) as out:
            while True:
                try:
                    out.write(bytes(4096))
                except OSError:
                    break
        look(models)
        assert models.problem is not None
        assert "is full" in models.problem.message
        assert "Free" in models.problem.remedy
        assert len(models.rows) == 20
        with pytest.raises(DataFolderError, match="full"):
            order_until_it_fails(models)
        filler.unlink()
        look(models)
        assert models.problem is None
        models.order("rescan")
        models.close()
        index.close()
    finally:
        os.system(f"umount {folder}")


def test_a_folder_that_vanished_does_not_raise(index: SyntheticIndex, models: IndexReader) -> None:
    index.put(library(3))
    look(models)
    shutil.rmtree(models._path.parent)
    assert not look(models)
    assert models.problem is not None
    assert len(models.rows) == 3


def test_ten_thousand_models_cost_a_refresh_few_milliseconds_of_the_gil(tmp_path: Path) -> None:
    index = make_index(tmp_path, 10_000)
    models = IndexReader(tmp_path)
    look(models)
    index.put([file("vae", "one.safetensors")])
    began = time.thread_time()
    assert look(models)
    spent = time.thread_time() - began
    assert spent < 0.2 * slowness(), f"{spent * 1000:.0f} ms"  # about 30 ms here; a full reading takes 400
    index.close()
    models.close()


def test_a_root_in_doubt_is_seen(index: SyntheticIndex, models: IndexReader) -> None:
    look(models)
    index.put_roots([root("lora", health="suspect", missing=30, reason="the folder is empty")])
    assert look(models)
    (doubtful,) = [row for row in models.roots if row.health != "healthy"]
    assert (doubtful.root_id, doubtful.missing) == ("r-lora", 30)
