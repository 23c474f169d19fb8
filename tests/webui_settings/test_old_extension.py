"""What the old StableQueue extension left behind moves out of config.json, and none of it gets lost."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from stablequeue_client.webui.settings.old_extension import (
    FILE_NAME,
    OldConnection,
    old_connection,
    other_copies,
    take_over,
)

from ..local.still_webui import StillHost

OLD = {
    "stablequeue_url": " http://192.168.1.20:3000 ",
    "stablequeue_api_key": "key-1",
    "stablequeue_api_secret": "secret-1",
}


def host_with(data: dict[str, Any]) -> StillHost:
    return StillHost("classic", 3, data={**data, "sd_model_checkpoint": "x"})


def test_the_options_move_into_a_private_file_and_leave_config_json(tmp_path: Path) -> None:
    host = host_with(OLD)
    take_over(host, tmp_path / "server")
    assert old_connection(tmp_path / "server") == OldConnection(
        "http://192.168.1.20:3000", "key-1", "secret-1"
    )
    assert host.saved == [{"sd_model_checkpoint": "x"}]
    if os.name == "posix":
        assert stat.S_IMODE((tmp_path / "server" / FILE_NAME).stat().st_mode) == 0o600
    assert "secret-1" not in repr(old_connection(tmp_path / "server"))


def test_a_second_start_finds_nothing_and_keeps_what_was_kept(tmp_path: Path) -> None:
    host = host_with(OLD)
    take_over(host, tmp_path)
    take_over(host, tmp_path)
    assert len(host.saved) == 1
    assert old_connection(tmp_path) is not None


def test_without_the_old_extension_nothing_is_written(tmp_path: Path) -> None:
    host = host_with({})
    take_over(host, tmp_path / "server")
    assert host.saved == []
    assert not (tmp_path / "server").exists()


def test_empty_options_are_dropped_and_not_kept(tmp_path: Path) -> None:
    host = host_with({"stablequeue_url": "", "stablequeue_api_key": ""})
    take_over(host, tmp_path / "server")
    assert host.saved == [{"sd_model_checkpoint": "x"}]
    assert not (tmp_path / "server").exists()


def test_the_old_extensions_defaults_never_replace_what_was_kept(tmp_path: Path) -> None:
    defaults = {
        "stablequeue_url": "http://localhost:8083",
        "stablequeue_api_key": "",
        "stablequeue_api_secret": "",
    }
    installed = StillHost("forge", 4, data={**defaults, **OLD}, defaults=defaults)
    take_over(installed, tmp_path)
    kept = old_connection(tmp_path)
    assert kept is not None
    take_over(StillHost("forge", 4, data=dict(defaults), defaults=defaults), tmp_path)
    assert old_connection(tmp_path) == kept


def test_values_of_a_wrong_type_do_no_harm(tmp_path: Path) -> None:
    take_over(host_with({"stablequeue_url": 5, "stablequeue_api_key": ["k"]}), tmp_path)
    assert old_connection(tmp_path) is None


class DyingHost(StillHost):
    """The process ends before config.json is saved."""

    def drop_options(self, names: Iterable[str]) -> None:
        raise KeyboardInterrupt


def test_a_process_that_dies_in_between_loses_nothing(tmp_path: Path) -> None:
    dying = DyingHost("forge", 4, data=dict(OLD))
    with pytest.raises(KeyboardInterrupt):
        take_over(dying, tmp_path)
    kept = old_connection(tmp_path)
    assert kept is not None
    assert dying.data == OLD
    again = host_with(OLD)
    take_over(again, tmp_path)
    assert old_connection(tmp_path) == kept
    assert again.saved == [{"sd_model_checkpoint": "x"}]


def test_what_cannot_be_kept_stays_in_config_json(tmp_path: Path) -> None:
    (tmp_path / "server").write_text("a file where the folder should be")
    host = host_with(OLD)
    with pytest.raises(OSError, match=r"exist|Not a directory"):
        take_over(host, tmp_path / "server")
    assert host.saved == []
    assert host.data["stablequeue_api_secret"] == "secret-1"


@pytest.mark.parametrize("content", ["", "{", "[]", "5", '{"url": 5}'])
def test_a_damaged_suggestion_is_no_suggestion(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE_NAME).write_text(content)
    found = old_connection(tmp_path)
    assert found is None or found == OldConnection("")


def extension(folder: Path, name: str, script: str) -> str:
    (folder / name / "scripts").mkdir(parents=True)
    (folder / name / "scripts" / "main.py").write_text(script)
    return str(folder / name)


def test_other_copies_are_found_by_what_is_in_them_not_by_their_name(tmp_path: Path) -> None:
    own = extension(tmp_path, "stablequeue", "register()")
    old = extension(tmp_path, "mobile-queue", 'OptionInfo("", "URL"); opts.stablequeue_api_key')
    twin = extension(tmp_path, "stablequeue-main", "register()")
    (Path(twin) / "stablequeue_client" / "webui").mkdir(parents=True)
    (Path(twin) / "stablequeue_client" / "webui" / "__init__.py").write_text("")
    other = extension(tmp_path, "stablequeue-theme", "print('nothing of ours')")
    link = tmp_path / "link"
    link.symlink_to(own)
    gone = str(tmp_path / "gone")
    found = other_copies([own, old, twin, other, str(link), gone], Path(own))
    assert found == [Path(old), Path(twin)]
