"""An environment that could not be made is named and never used."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stablequeue_client.own_hub import OwnHub
from stablequeue_client.own_hub.environments import EnvironmentRecord, Environments, read_source, replaces

from ..free_ports import free_port
from .making import ROOT, copy_checkout, settled


def unfinished(machine_dir: Path) -> list[str]:
    folder = machine_dir / "hub-env"
    return [path.name for path in folder.iterdir() if path.is_dir()] if folder.exists() else []


def test_without_internet_the_cause_and_the_remedy_are_said(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{free_port()}/simple")
    hub = OwnHub(tmp_path / "machine", checkout, sys.executable)
    hub.start()
    status = settled(hub)
    assert status.phase == "failed"
    assert status.error is not None
    assert "package server cannot be reached" in status.error.message
    assert "internet connection" in status.error.remedy
    assert not status.wanted
    assert unfinished(tmp_path / "machine") == []


def test_a_python_without_pip_is_named(checkout: Path, tmp_path: Path) -> None:
    python = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(python)], check=True, timeout=60)
    hub = OwnHub(tmp_path / "machine", checkout, str(python / "bin" / "python"))
    hub.start()
    status = settled(hub)
    assert status.error is not None
    assert "has no pip" in status.error.message


def test_an_extension_that_is_not_whole_is_named(checkout: Path, tmp_path: Path) -> None:
    (checkout / "pyproject.toml").unlink()
    hub = OwnHub(tmp_path / "machine", checkout, sys.executable)
    hub.start()
    status = settled(hub)
    assert status.error is not None
    assert "not complete" in status.error.message
    assert status.error.remedy == "Install the extension again."


@pytest.mark.slow
@pytest.mark.fault
def test_killed_while_it_is_made_it_goes_on_at_the_next_press(tmp_path: Path, host_python: Path) -> None:
    checkout = copy_checkout(tmp_path / "extension")
    program = (
        "import sys, time; from pathlib import Path; from stablequeue_client.own_hub import OwnHub\n"
        "hub = OwnHub(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])\n"
        "hub.start()\n"
        "while not hub.status().step.startswith('Fetching'): time.sleep(0.02)\n"
        "print('fetching', flush=True); time.sleep(600)\n"
    )
    machine = tmp_path / "machine"
    webui = subprocess.Popen(
        [sys.executable, "-c", program, str(machine), str(checkout), str(host_python)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    assert webui.stdout is not None
    assert webui.stdout.readline() == b"fetching\n"
    other = OwnHub(machine, checkout, str(host_python), first_port=free_port())
    assert other.status().phase == "building"  # seen by another WebUI of this computer
    os.killpg(webui.pid, signal.SIGKILL)
    webui.wait()

    assert Environments(machine).current() is None
    assert other.status().phase == "none"
    other.ensure_running()  # nobody has a hub yet, so a start of the WebUI does not make one unasked
    time.sleep(0.3)
    assert other.status().phase == "none"
    other.start()
    try:
        assert settled(other).phase == "running"
        assert [name for name in unfinished(machine) if name.startswith(".")] == []
    finally:
        other.stop()


def test_what_goes_into_an_environment_gives_it_its_name(checkout: Path) -> None:
    before = read_source(checkout).made("python")
    cache = checkout / "stablequeue_hub" / "__pycache__"
    cache.mkdir()
    (cache / "x.pyc").write_bytes(b"x")
    assert read_source(checkout).made("python") == before
    with open(checkout / "stablequeue_hub" / "app.py", "a") as file:
        file.write("\n")
    changed = read_source(checkout).made("python")
    assert changed.name != before.name
    shutil.copyfile(ROOT / "style.css", checkout / "style.css")
    with open(checkout / "style.css", "a") as file:
        file.write("\n")
    assert read_source(checkout).made("python").name != changed.name


@pytest.mark.parametrize(
    ("new", "old", "expected"),
    [
        (("0.2.0", "a", "x"), ("0.1.0", "b", "y"), True),
        (("0.10.0", "a", "x"), ("0.9.0", "b", "x"), True),
        (("0.1.0", "a", "x"), ("0.2.0", "b", "x"), False),
        (("0.1.0", "a", "x"), ("0.1.0", "a", "x"), False),
        (("0.1.0", "a", "x"), ("0.1.0", "b", "x"), True),
        (("0.1.0", "a", "x"), ("0.1.0", "b", "another WebUI"), False),
        (("0.2.0", "a", "x"), ("0.2.0.dev1", "b", "y"), True),
    ],
)
def test_a_hub_is_replaced_by_newer_versions_and_by_what_its_own_checkout_became(
    new: tuple[str, str, str], old: tuple[str, str, str], expected: bool
) -> None:
    assert replaces(EnvironmentRecord(*new, "python"), EnvironmentRecord(*old, "python")) is expected
