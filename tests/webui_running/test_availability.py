"""When the runner may ask, and what of the memory it trusts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stablequeue_client.webui.host import loaded_files
from stablequeue_client.webui.runner.availability import Permission, Usage, permission


@pytest.mark.parametrize(
    ("moment", "ask", "others"),
    [
        (Usage(False, 0, "never"), True, False),
        (Usage(False, 0, "always"), True, True),
        (Usage(True, 0, "always"), False, False),
        (Usage(False, 599, "idle"), True, False),
        (Usage(False, 600, "idle"), True, True),
        (Usage(False, 9999, "idle", not_now_s=1), True, False),
        (Usage(False, 0, "always", not_now_s=1), True, False),
    ],
)
def test_nobody_else_s_job_runs_without_the_owner_s_word(moment: Usage, ask: bool, others: bool) -> None:
    assert permission(moment) == Permission(ask, others)


class Model:
    pass


def old_file(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


def test_memory_is_trusted_only_while_the_file_still_looks_as_it_was_read(tmp_path: Path) -> None:
    path = old_file(tmp_path / "a.safetensors", b"one")
    assert not loaded_files.is_fresh(path)
    seen = loaded_files.file_state(path)
    assert seen is not None
    loaded_files.confirm(path, seen)
    assert loaded_files.is_fresh(path)
    stamps = os.stat(path)
    old_file(tmp_path / "b", b"two")
    os.utime(tmp_path / "b", ns=(stamps.st_atime_ns, stamps.st_mtime_ns))
    os.replace(tmp_path / "b", path)
    assert not loaded_files.is_fresh(path)


def test_a_file_that_changed_shortly_before_it_was_loaded_is_not_trusted(tmp_path: Path) -> None:
    path = old_file(tmp_path / "a.safetensors", b"one")
    loaded_files.note(Model(), [path])
    assert not loaded_files.is_fresh(path)


def test_a_second_word_about_the_same_model_counts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = old_file(tmp_path / "a.safetensors", b"one")
    monkeypatch.setattr(loaded_files, "OLD_S", 0.0)
    model = Model()
    loaded_files.note(model, [path])
    assert loaded_files.is_fresh(path)
    old_file(Path(path), b"another")
    loaded_files.note(model, [path])  # as after a change of the VAE: the checkpoint was not read again
    assert not loaded_files.is_fresh(path)
