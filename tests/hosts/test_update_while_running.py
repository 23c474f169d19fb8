"""The extension's files change under a running WebUI: an update by hand, or by the Extensions tab."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
import requests

from .running_host import HERE, FakeHost, StartHost

ROOT = HERE.parents[1]
SENTENCE = "StableQueue was updated while this WebUI ran."
TEMPLATES = "stablequeue_client/shared/views/templates"


@pytest.fixture
def extension(tmp_path: Path) -> Path:
    """A copy of the checkout where the host looks for it."""
    folder = tmp_path / "webui" / "extensions" / "stablequeue"
    folder.mkdir(parents=True)
    for name in ("scripts", "javascript", "stablequeue_client"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("install.py", "style.css", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture
def running(family: str, start_host: StartHost, tmp_path: Path, extension: Path) -> FakeHost:
    host = start_host(family, tmp_path / "webui")
    assert "sq-first-line" in host.tab()
    return host


def says_to_start_again(host: FakeHost) -> None:
    assert SENTENCE in host.tab()
    assert "Generate" in requests.get(host.url + "/config", timeout=30).text


def test_reload_ui_after_an_update_says_to_start_the_webui_again(running: FakeHost, extension: Path) -> None:
    (extension / "stablequeue_client" / "cli.py").write_text("NEWER = True\n")
    assert "sq-first-line" in running.tab()  # what is loaded goes on until then
    for _ in range(2):
        running.reload()
        says_to_start_again(running)
    assert "Traceback" not in running.log


def test_an_update_that_moves_templates_says_so_before_reload_ui(running: FakeHost, extension: Path) -> None:
    (extension / TEMPLATES).rename(extension / "moved")
    deadline = time.monotonic() + 30
    while SENTENCE not in running.tab():  # templates are looked for again once a page asks for one
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_a_former_version_in_memory_is_not_started_by_the_newer_script(running: FakeHost) -> None:
    running.run("from stablequeue_client import webui; webui.start = webui.__dict__.pop('start_or_tell')")
    running.reload()
    says_to_start_again(running)
    assert "Traceback" not in running.log


def test_reload_ui_without_an_update_starts_as_ever(running: FakeHost) -> None:
    running.reload()
    assert "sq-first-line" in running.tab()
