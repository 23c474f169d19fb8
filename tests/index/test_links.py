"""Several names of one file: each is listed, one counts as the file itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stablequeue_client.files.scanner import ScanReport, make_root, scan_root
from stablequeue_client.index.index import open_index
from stablequeue_client.index.inventory import file_entry


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows that tests do not have")
def test_symbolic_and_hard_links_are_told_from_the_file_itself_and_from_copies(tmp_path: Path) -> None:
    folder = tmp_path / "Lora"
    folder.mkdir()
    (folder / "m.safetensors").write_bytes(b"x" * 100)
    os.link(folder / "m.safetensors", folder / "z hard.safetensors")
    os.symlink(folder / "m.safetensors", folder / "a soft.safetensors")
    (folder / "copy.safetensors").write_bytes(b"x" * 100)
    index = open_index(tmp_path)
    index.apply_scan(ScanReport((scan_root(make_root("lora", str(folder))),)))
    links = {row.path: file_entry(row).link for row in index.rows()}
    assert links == {
        "a soft.safetensors": True,
        "copy.safetensors": False,
        "m.safetensors": False,
        "z hard.safetensors": True,
    }
    (folder / "m.safetensors").unlink()
    index.apply_scan(ScanReport((scan_root(make_root("lora", str(folder))),)))
    links = {row.path: file_entry(row).link for row in index.rows()}
    assert links["z hard.safetensors"] is False
    index.close()
