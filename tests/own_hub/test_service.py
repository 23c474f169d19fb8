"""What is written so that a hub starts with the system, and what is said where it cannot."""

from __future__ import annotations

import configparser
import os
import plistlib
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stablequeue_client.own_hub.service import (
    Service,
    ServiceError,
    System,
    launchd_plist,
    startup_command,
    systemd_unit,
)

WORDS = [
    "/home/me/my venv/bin/python",
    "-I",
    "-S",
    "-u",
    '/data/100% "of" $HOME/start_hub.py',
    "hub",
    "--port",
    "8383",
]
# Stands for systemctl, which needs a running systemd: it writes down what it was asked.
SYSTEMCTL = '#!/bin/sh\necho "$@" >> "$(dirname "$0")/asked"\necho "Failed to connect to bus" >&2\nexit %d\n'


def service(tmp_path: Path, system: System = "systemd", *, systemctl: int | None = 0) -> Service:
    """``systemctl``: what that ends with; None: there is none."""
    programs = tmp_path / "bin"
    programs.mkdir(exist_ok=True)
    if systemctl is not None:
        (programs / "systemctl").write_text(SYSTEMCTL % systemctl)
        (programs / "systemctl").chmod(0o755)
        os.symlink(shutil.which("dirname") or "/usr/bin/dirname", programs / "dirname")
    return Service(tmp_path / "machine", system, tmp_path / "home", {"PATH": str(programs)})


def asked(tmp_path: Path) -> list[str]:
    return (tmp_path / "bin" / "asked").read_text().splitlines()


def test_on_linux_a_user_unit_is_written_and_enabled_and_removed_again(tmp_path: Path) -> None:
    one = service(tmp_path)
    assert not one.status().installed
    status = one.install(WORDS)
    assert status.installed
    assert status.path.parent == tmp_path / "home" / ".config" / "systemd" / "user"
    assert "enable-linger" in status.note
    assert asked(tmp_path) == ["--user daemon-reload", f"--user enable {one.name}.service"]
    assert not one.remove().installed
    assert not status.path.exists()
    assert asked(tmp_path)[-1] == f"--user disable {one.name}.service"
    assert not one.remove().installed


def test_the_unit_runs_exactly_these_words(tmp_path: Path) -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(systemd_unit(WORDS, Path("/data/100%"), Path("/data/100%/logs/hub.log"), "x").decode())
    told = unit["Service"]
    words = [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(told["ExecStart"])]
    assert words == WORDS
    assert told["WorkingDirectory"] == "/data/100%%"
    assert told["StandardOutput"] == "append:/data/100%%/logs/hub.log"
    assert told["Restart"] == "on-failure"
    assert unit["Install"]["WantedBy"] == "default.target"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_itself_accepts_the_unit(tmp_path: Path) -> None:
    python = shutil.which("python3") or "/bin/sh"
    (tmp_path / "logs").mkdir()
    path = tmp_path / "stablequeue-hub.service"
    path.write_bytes(systemd_unit([python, *WORDS[1:]], tmp_path, tmp_path / "logs" / "hub.log", "x"))
    done = subprocess.run(["systemd-analyze", "verify", "--user", str(path)], capture_output=True, text=True)
    assert str(path.name) not in done.stderr, done.stderr


WITHOUT_SYSTEMD = [(None, "has no systemctl"), (1, "Failed to connect to bus.")]


@pytest.mark.parametrize(("systemctl", "says"), WITHOUT_SYSTEMD)
def test_without_systemd_one_sentence_says_so_and_nothing_is_left(
    tmp_path: Path, systemctl: int | None, says: str
) -> None:
    one = service(tmp_path, systemctl=systemctl)
    with pytest.raises(ServiceError, match=says) as caught:
        one.install(WORDS)
    assert "stablequeue hub" in caught.value.remedy
    assert not one.status().installed


def test_on_macos_a_launch_agent_is_written(tmp_path: Path) -> None:
    one = service(tmp_path, "launchd")
    path = one.install(WORDS).path
    assert path.parent == tmp_path / "home" / "Library" / "LaunchAgents"
    told = plistlib.loads(path.read_bytes())
    assert told["ProgramArguments"] == WORDS
    assert told["RunAtLoad"] is True
    assert told["StandardOutPath"] == str(tmp_path / "machine" / "logs" / "hub.log")
    one.remove()
    assert not path.exists()


def test_on_windows_the_startup_folder_gets_a_command(tmp_path: Path) -> None:
    roaming = tmp_path / "Roaming"
    one = Service(tmp_path / "machine", "windows", tmp_path / "home", {"APPDATA": str(roaming)})
    path = one.install(["C:\\my ai\\python.exe", "-u", "C:\\100%\\start_hub.py"]).path
    assert path.parent == roaming / "Microsoft/Windows/Start Menu/Programs/Startup"
    text = path.read_bytes().decode()
    assert text.startswith("@chcp 65001 >nul\r\n@start ")
    assert "/min " in text
    assert 'cmd /s /c ""C:\\my ai\\python.exe" -u C:\\100%%\\start_hub.py >> "' in text
    assert text.endswith('" 2>&1"\r\n')


def test_each_data_folder_has_a_service_of_its_own(tmp_path: Path) -> None:
    names = {Service(tmp_path / name, "systemd", tmp_path, {}).name for name in ("a", "b")}
    assert len(names) == 2
    assert all(name.startswith("stablequeue-hub-") for name in names)


@given(
    st.lists(st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), min_size=1), min_size=1, max_size=5)
)
def test_no_path_breaks_out_of_its_place(words: list[str]) -> None:
    folder, log = Path("/data"), Path("/data/log")
    lines = systemd_unit(words, folder, log, "x").decode().splitlines()
    assert len([line for line in lines if line.startswith("ExecStart=")]) == 1
    assert len(lines) == len(systemd_unit(["x"], folder, log, "x").decode().splitlines())
    assert plistlib.loads(launchd_plist(words, folder, log, "x"))["ProgramArguments"] == words
    assert startup_command(words, folder, log, "x").count(b"\r\n") == 2
