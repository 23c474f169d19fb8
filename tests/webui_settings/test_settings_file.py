"""stablequeue.toml of a WebUI, also while it cannot be read: it may name what is private."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stablequeue_client.webui.host.compat import Host
from stablequeue_client.webui.settings.source import SettingsSource, TomlFile

BROKEN = pytest.mark.parametrize("broken", [b'private = ["secret/*', b"\xff\xfe", b'alias = "x'])


@dataclass(frozen=True)
class AlwaysHost(Host):
    """A WebUI whose settings page says that everything may be done."""

    def option(self, name: str, default: Any = None) -> Any:
        said = {"stablequeue_works_for_others": "always", "stablequeue_hashing": "now"}
        return said.get(name, default)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "stablequeue.toml"


def write(file: Path, content: bytes) -> None:
    before = file.stat().st_mtime_ns if file.exists() else 0
    file.write_bytes(content)
    os.utime(file, ns=(before + 10**9, before + 10**9))


@BROKEN
def test_what_a_file_said_before_it_was_damaged_still_counts(file: Path, broken: bytes) -> None:
    settings = SettingsSource(AlwaysHost("forge", 4), TomlFile(file))
    write(file, b'private = ["secret/*"]\nworks_for_others = "idle"\n')
    assert (settings().private, settings().works_for_others) == (("secret/*",), "idle")
    write(file, broken)
    assert (settings().private, settings().works_for_others) == (("secret/*",), "idle")
    assert "its previous values apply" in settings().mistakes[0]
    write(file, b'private = ["other/*"]\n')
    assert (settings().private, settings().mistakes) == (("other/*",), ())


@BROKEN
def test_while_nobody_knows_what_a_file_says_nothing_is_told_to_anybody(file: Path, broken: bytes) -> None:
    write(file, broken)
    now = SettingsSource(AlwaysHost("forge", 4), TomlFile(file))()
    assert (now.hashing, now.sync, now.sync_on_start, now.works_for_others) == (
        "later",
        "manual",
        False,
        "never",
    )
    assert "it may name private files" in now.mistakes[0]


def test_a_file_that_was_removed_says_nothing_any_more(file: Path) -> None:
    settings = SettingsSource(AlwaysHost("forge", 4), TomlFile(file))
    write(file, b'private = ["secret/*"]\n')
    assert settings().private == ("secret/*",)
    file.unlink()
    assert (settings().private, settings().mistakes) == ((), ())
