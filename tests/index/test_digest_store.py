"""The machine's store of computed digests: it saves time, and its loss costs nothing else."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from stablequeue_client.index.digest_store import open_digest_store
from stablequeue_client.shared.model_files.model_file import Digests, StatKey

STAT = StatKey(10, 20, 30, 2**64 - 1)
DIGESTS = Digests("ab" * 32, "cd" * 32, "12345678", None, "ef" * 32)


@pytest.fixture
def store(tmp_path):
    store = open_digest_store(tmp_path)
    yield store
    store.close()


def test_digests_come_back_for_the_same_path_and_stamps_only(store, tmp_path):
    path = str(tmp_path / "a")
    store.put(path, STAT, DIGESTS)
    assert store.get(path, STAT) == DIGESTS
    for field in ("size", "mtime_ns", "ctime_ns", "inode"):
        assert store.get(path, replace(STAT, **{field: 5})) is None
    assert store.get(path + "b", STAT) is None


def test_a_link_finds_what_was_computed_of_its_target(store, tmp_path):
    target, link = tmp_path / "a\udcff", tmp_path / "link"
    target.write_bytes(b"")
    link.symlink_to(target)
    store.put(str(target), STAT, DIGESTS)
    assert store.get(str(link), STAT) == DIGESTS


def test_two_servers_share_the_store(store, tmp_path):
    other = open_digest_store(tmp_path)
    store.put("/a", STAT, DIGESTS)
    assert other.get("/a", STAT) == DIGESTS
    other.close()


def test_a_damaged_store_is_moved_aside(tmp_path, caplog):
    (tmp_path / "digests.sqlite").write_bytes(b"no database")
    store = open_digest_store(tmp_path)
    store.put("/a", STAT, DIGESTS)
    assert store.get("/a", STAT) == DIGESTS
    assert (tmp_path / "digests.sqlite.damaged-1").exists()
    assert [record.action for record in caplog.records] == ["digest_store_repaired"]
    store.close()


def test_a_changed_byte_is_never_a_digest(store, tmp_path):
    store.put("/a", STAT, DIGESTS)
    store.close()
    path = tmp_path / "digests.sqlite"
    data = path.read_bytes()
    assert b"ab" * 32 in data
    path.write_bytes(data.replace(b"ab" * 32, b"ab" * 31 + b"ac"))
    again = open_digest_store(tmp_path)
    assert again.get("/a", STAT) is None
    again.close()


def test_a_store_that_cannot_be_used_knows_nothing_and_raises_nothing(tmp_path):
    (tmp_path / "file").write_text("no folder")
    store = open_digest_store(tmp_path / "file")
    store.put("/a", STAT, DIGESTS)
    assert store.get("/a", STAT) is None
    store.close()


def test_a_store_that_goes_away_raises_nothing(store, tmp_path):
    store.put("/a", STAT, DIGESTS)
    os.remove(tmp_path / "digests.sqlite")
    store.put("/b", STAT, DIGESTS)
    assert store.get("/a", STAT) is None


def test_only_the_newest_entries_are_kept(tmp_path):
    times = iter(range(100))
    store = open_digest_store(tmp_path, clock=lambda: next(times))
    for number in range(30):
        store.put(f"/{number}", STAT, DIGESTS)
    store.prune(keep=11)
    kept = [number for number in range(30) if store.get(f"/{number}", STAT)]
    assert kept == list(range(19, 30))
    store.close()
