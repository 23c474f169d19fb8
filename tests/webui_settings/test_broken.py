"""What the tab of an extension that cannot run says: who is to blame, and a command that can be run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from stablequeue_client.webui.host.broken import explain

EXPLAIN = """
from stablequeue_client.webui.host import broken
try:
    from stablequeue_client.webui.parts import runtime
except ImportError as error:
    print(*broken.explain(error), sep="\\n")
"""


def test_a_package_that_fails_without_naming_itself_is_found(tmp_path: Path) -> None:
    (tmp_path / "msgspec.py").write_text("raise ImportError('wrong ELF class')")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    told = subprocess.run([sys.executable, "-c", EXPLAIN], env=environment, capture_output=True, text=True)
    sentence, remedy = told.stdout.splitlines()
    assert sentence == "StableQueue does not run: msgspec cannot be loaded (wrong ELF class)."
    assert "-m pip install --force-reinstall --no-deps msgspec==" in remedy


def test_what_no_requirement_of_ours_is_has_no_command_that_cannot_be_run() -> None:
    sentence, remedy = explain(ImportError("wrong ELF class"))
    assert "wrong ELF class" in sentence
    assert "pip" not in remedy


def test_an_extension_that_was_updated_by_half_is_installed_anew_and_not_by_pip() -> None:
    error = ImportError("cannot import name 'new'", name="stablequeue_client.index")
    sentence, remedy = explain(error)
    assert "its own files" in sentence
    assert "pip" not in remedy
    assert "extension's folder" in remedy
