"""Messages name a command as it can be typed here."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from stablequeue_client.commands.terminal import say_error
from stablequeue_client.shared.errors import UsageError


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.mark.skipif(os.name == "nt", reason="file names without an ending")
def test_a_remedy_names_the_program_as_it_is_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = executable(tmp_path / "my venv" / "stablequeue")

    def remedy() -> str:
        say_error(UsageError("No hub.", remedy="Start one with `stablequeue up`."), as_json=False)
        return capsys.readouterr().err

    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setattr(sys, "argv", [str(program)])
    assert remedy() == f"stablequeue: No hub. Start one with `'{program}' up`.\n"
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "stablequeue_client" / "__main__.py")])
    assert f"`{sys.executable} -m stablequeue_client up`" in remedy()
    monkeypatch.setenv("PATH", str(program.parent))
    assert remedy() == "stablequeue: No hub. Start one with `stablequeue up`.\n"
