"""Starts the hub with the system: a systemd user unit, a launchd agent, or Windows' startup folder.

The contents are pure functions; ``Service`` writes them to where this system looks.
"""

from __future__ import annotations

import hashlib
import os
import plistlib
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import platformdirs

from stablequeue_client.shared.errors import StableQueueError

System = Literal["systemd", "launchd", "windows"]
_COMMAND_S = 30.0


class ServiceError(StableQueueError):
    """The hub cannot be started with the system."""

    code = "service"


@dataclass(frozen=True)
class ServiceStatus:
    """``path``: the file that makes it start with the system. ``note``: what else there is to know."""

    installed: bool
    path: Path
    note: str


@dataclass(frozen=True)
class Service:
    """The service of one data folder. ``home`` and ``environment`` say where the system looks."""

    machine_dir: Path
    system: System
    home: Path
    environment: Mapping[str, str]

    @property
    def name(self) -> str:
        """One for each data folder; the usual folder's has the plain name."""
        usual = Path(platformdirs.user_data_dir("stablequeue", appauthor=False))
        if self.machine_dir == usual:
            return "stablequeue-hub"
        return f"stablequeue-hub-{hashlib.sha256(os.fsencode(self.machine_dir)).hexdigest()[:8]}"

    @property
    def path(self) -> Path:
        if self.system == "launchd":
            return self.home / "Library" / "LaunchAgents" / f"{self.name}.plist"
        if self.system == "windows":
            roaming = Path(self.environment.get("APPDATA") or self.home / "AppData" / "Roaming")
            startup = roaming / "Microsoft" / "Windows" / "Start Menu" / "Programs" / "Startup"
            return startup / f"{self.name}.cmd"
        config = Path(self.environment.get("XDG_CONFIG_HOME") or self.home / ".config")
        return config / "systemd" / "user" / f"{self.name}.service"

    def status(self) -> ServiceStatus:
        return ServiceStatus(self.path.is_file(), self.path, _NOTES[self.system])

    def install(self, words: Sequence[str]) -> ServiceStatus:
        """Have ``words`` run at each login from now on. Raises ServiceError and leaves nothing behind."""
        self._require_system()
        if any(not word.isprintable() for word in [*words, str(self.machine_dir)]):
            raise ServiceError(
                "The path of the hub holds characters that no service may name.",
                remedy="Give another data folder.",
            )
        log = self.machine_dir / "logs" / "hub.log"
        content = _CONTENTS[self.system](words, self.machine_dir, log, self.name)
        try:
            log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_bytes(content)
        except OSError as error:
            raise ServiceError(
                f"{self.path} cannot be written: {error.strerror}.", remedy="Check its folder."
            ) from error
        if self.system == "systemd":
            try:
                self._systemctl("daemon-reload")
                self._systemctl("enable", f"{self.name}.service")
            except ServiceError:
                self.path.unlink(missing_ok=True)
                raise
        return self.status()

    def remove(self) -> ServiceStatus:
        """Do not start it with the system any more; a hub that runs goes on."""
        if self.path.is_file():
            if self.system == "systemd" and shutil.which("systemctl", path=self.environment.get("PATH")):
                self._systemctl("disable", f"{self.name}.service")
            self.path.unlink(missing_ok=True)
        return self.status()

    def _require_system(self) -> None:
        if self.system == "systemd" and not shutil.which("systemctl", path=self.environment.get("PATH")):
            raise ServiceError(
                "This system has no systemctl, so systemd cannot start the hub.",
                remedy="Have the system's own means start it at login: `stablequeue hub`.",
            )

    def _systemctl(self, *words: str) -> None:
        command = ["systemctl", "--user", *words]
        program = shutil.which("systemctl", path=self.environment.get("PATH")) or "systemctl"
        try:
            done = subprocess.run(
                [program, *command[1:]],
                env=dict(self.environment),
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_COMMAND_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ServiceError(f"`{' '.join(command)}` failed: {type(error).__name__}.") from error
        if done.returncode != 0:
            said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:300]
            raise ServiceError(
                f"`{' '.join(command)}` failed: {said.rstrip('.')}.",
                remedy="Where systemd runs no user sessions (containers, some servers), "
                "start `stablequeue hub` by the system's own means.",
            )


def service_of(machine_dir: Path) -> Service:
    """The service of a data folder on this system."""
    systems: dict[str, System] = {"darwin": "launchd", "win32": "windows"}
    system = systems.get(sys.platform, "systemd")
    return Service(machine_dir, system, Path.home(), dict(os.environ))


_NOTES: dict[System, str] = {
    "systemd": "It starts when you log in; `loginctl enable-linger` has it start with the machine.",
    "launchd": "It starts when you log in.",
    "windows": "It starts when you log in, in a minimised window.",
}


def systemd_unit(words: Sequence[str], machine_dir: Path, log: Path, name: str) -> bytes:
    """A user unit. One that finds the hub running already (exit 5) or misused (2) is not tried again."""
    del name
    text = f"""\
[Unit]
Description=StableQueue hub
After=network.target

[Service]
ExecStart={" ".join(map(_systemd_quoted, words))}
WorkingDirectory={str(machine_dir).replace("%", "%%")}
StandardOutput=append:{str(log).replace("%", "%%")}
StandardError=inherit
Restart=on-failure
RestartSec=10
RestartPreventExitStatus=2 5

[Install]
WantedBy=default.target
"""
    return os.fsencode(text)


def launchd_plist(words: Sequence[str], machine_dir: Path, log: Path, name: str) -> bytes:
    """A launch agent that starts at login."""
    return plistlib.dumps(
        {
            "Label": name,
            "ProgramArguments": list(words),
            "WorkingDirectory": str(machine_dir),
            "StandardOutPath": str(log),
            "StandardErrorPath": str(log),
            "RunAtLoad": True,
            "ProcessType": "Background",
        }
    )


def startup_command(words: Sequence[str], machine_dir: Path, log: Path, name: str) -> bytes:
    """A batch file for the startup folder. ``cmd /s /c`` drops the outermost quotes and keeps the rest."""
    command = f'{subprocess.list2cmdline(words)} >> "{log}" 2>&1'.replace("%", "%%")
    folder = str(machine_dir).replace("%", "%%")
    text = f'@chcp 65001 >nul\r\n@start "{name}" /min /d "{folder}" cmd /s /c "{command}"\r\n'
    return text.encode("utf-8", "surrogatepass")


_CONTENTS = {"systemd": systemd_unit, "launchd": launchd_plist, "windows": startup_command}


def _systemd_quoted(word: str) -> str:
    """One word of ExecStart: in quotes, without specifiers (``%``) and variables (``$``)."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("%", "%%").replace("$", "$$") + '"'


def shown(words: Sequence[str]) -> str:
    """A command as one would type it."""
    return shlex.join(words) if os.name != "nt" else subprocess.list2cmdline(words)
