"""Real commands in processes of their own, in folders of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .. import free_ports

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Result:
    """What a finished command left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def clean_environment(home: Path, **extra: str) -> dict[str, str]:
    """An environment without settings and with a home of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STABLEQUEUE_")}
    kept.pop("DISPLAY", None)
    own = {"PYTHONPATH": str(ROOT), "HOME": str(home), "XDG_DATA_HOME": str(home / "share")}
    return {**kept, **own, "PYTHONIOENCODING": "utf-8", **extra}


@dataclass
class Commands:
    """Runs ``stablequeue`` in ``folder``."""

    folder: Path

    def run(self, *words: str | bytes, env: dict[str, str] | None = None, timeout: float = 60) -> Result:
        done = subprocess.run(
            [sys.executable, "-m", "stablequeue_client", *words],
            cwd=self.folder,
            env=clean_environment(self.folder, **(env or {})),
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        return Result(
            done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
        )


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    folder = tmp_path / "here"
    folder.mkdir()
    return Commands(folder)


def _hear_ctrl_c() -> None:
    """As from a terminal: a shell that runs the tests in the background lets all of them ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Running:
    """A command that goes on until it is stopped."""

    def __init__(self, folder: Path, words: list[str]) -> None:
        self.out = folder / f"out-{time.monotonic_ns()}.txt"
        with open(self.out, "wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "stablequeue_client", *words],
                cwd=folder,
                env=clean_environment(folder),
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_hear_ctrl_c,
            )

    @property
    def text(self) -> str:
        return self.out.read_text("utf-8", "replace")

    def wait_for(self, found: Callable[[], Any], timeout: float = 60) -> Any:
        """What ``found`` returns as soon as that is true; fails with the output when it never is."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            value = found()
            if value:
                return value
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise AssertionError(f"still waiting ({self.process.poll()}): {self.text}")

    def end(self, number: int = signal.SIGTERM, timeout: float = 30) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout)


@pytest.fixture
def start(commands: Commands) -> Iterator[Callable[..., Running]]:
    """Start a command that keeps running; ended with the test."""
    started: list[Running] = []

    def begin(*words: str) -> Running:
        running = Running(commands.folder, list(words))
        started.append(running)
        return running

    yield begin
    for running in started:
        if running.process.poll() is None:
            running.end()


@pytest.fixture
def free_port() -> int:
    return free_ports.free_port()
