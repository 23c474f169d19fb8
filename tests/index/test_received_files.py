"""A file that was written here, with digests computed meanwhile, is known at once and never read."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from stablequeue_client.files.file_io import stat_key
from stablequeue_client.files.hashing import HashResult, hash_file
from stablequeue_client.files.scanner import make_root, scan_roots
from stablequeue_client.index.index import Index, open_index
from stablequeue_client.shared.wire.inventory import digest_hex


def received(path: Path) -> HashResult:
    """As the writer gives it: its digests, the stamps of now, and nothing was read for it."""
    return HashResult(hash_file(str(path)).digests, stat_key(path.stat()), 0, False)


@pytest.mark.parametrize("walk_first", [False, True], ids=["before any walk", "after a walk saw it"])
def test_a_received_file_is_ready_and_no_walk_has_it_read(tmp_path: Path, walk_first: bool) -> None:
    folder = tmp_path / "loras"
    folder.mkdir()
    root = make_root("lora", str(folder))
    index: Index = open_index(tmp_path)
    index.apply_scan(scan_roots([root]))
    path = folder / "ink.safetensors"
    path.write_bytes(b"x" * 100)
    if walk_first:
        index.apply_scan(scan_roots([root]))
        assert [row.state for row in index.rows()] == ["partial"]
    result = received(path)
    assert index.record_received(root.root_id, "ink.safetensors", "lora", result, {"ss_tag": "ink"})
    (row,) = index.rows()
    assert (row.state, row.sha256, row.todo) == ("ready", result.digests.sha256, 0)
    assert index.metadata_of(str(row.sha256)) == {"ss_tag": "ink"}
    assert index.rows_with(str(row.sha256)) == [row]
    before = index.position()
    index.apply_scan(scan_roots([root]), now=time.time() + 60)
    assert index.position() == before
    assert index.pending_hashes() == []
    assert digest_hex(before.digest) != "0" * 64
    path.write_bytes(b"y" * 101)  # and a change of it is a change
    index.apply_scan(scan_roots([root]), now=time.time() + 60)
    assert len(index.pending_hashes()) == 1
    index.close()


def test_a_folder_that_is_none_of_ours_any_more_gets_no_row(tmp_path: Path) -> None:
    path = tmp_path / "ink.safetensors"
    path.write_bytes(b"x" * 100)
    index = open_index(tmp_path)
    assert not index.record_received("12345678", "ink.safetensors", "lora", received(path), {})
    assert index.rows() == []
    index.close()
