"""The real hub in a process of its own, model files, and agents, for tests that need all of them."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stablequeue_client.agent.agent_settings import AgentSettings
from stablequeue_client.agent.main import run
from stablequeue_client.clock import Clock, SystemClock
from stablequeue_client.hub_client.api import HubApi, Json
from stablequeue_client.hub_client.identity import load_identity
from stablequeue_client.index.index import open_index

REPOSITORY = Path(__file__).resolve().parents[2]
QUIET_S = 5.0
BUSY = 4


class ClockAhead(SystemClock):
    """A file that was written this instant has been quiet long enough: nobody waits for it."""

    def now(self) -> float:
        return super().now() + QUIET_S + 1


CLOCK_AHEAD = ClockAhead()


def environment() -> dict[str, str]:
    """For child processes: this checkout, nothing of the developer's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STABLEQUEUE_")}
    return {**kept, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}


class RealHub:
    """One hub. It keeps its port over restarts."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def database(self) -> Path:
        return self.data / "hub.sqlite"

    def start(self) -> None:
        """Returns when it answers."""
        ready = self.data / "hub.json"
        ready.unlink(missing_ok=True)
        words = [
            sys.executable,
            "-m",
            "stablequeue_hub",
            "hub",
            "--data",
            str(self.data),
            "--port",
            str(self.port),
        ]
        log = (self.data.parent / "hub.log").open("ab")
        self._process = subprocess.Popen(words, env=environment(), stdout=log, stderr=log)
        child = self._process
        until(lambda: ready.exists() or child.poll() is not None, 60, "the hub to start")
        assert child.poll() is None, (self.data.parent / "hub.log").read_text()[-2_000:]
        self.port = int(json.loads(ready.read_text())["port"])
        until(lambda: self.admin().health() is not None, 30, "the hub to answer")

    def kill(self) -> None:
        """As a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def admin(self) -> HubApi:
        return HubApi(self.url, (self.data / "admin.key").read_text().strip())

    def join_key(self) -> str:
        return str(self.admin().create_key("join")["key"])

    def server(self) -> Json:
        (only,) = self.admin().servers()
        return only

    def rows(self, server_id: str | None = None) -> dict[str, tuple[str, str | None]]:
        """path -> (state, sha256) of every file the hub has."""
        with sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=20) as connection:
            found = connection.execute(
                "SELECT path, state, sha256 FROM server_files WHERE ? IS NULL OR server_id = ?",
                (server_id, server_id),
            ).fetchall()
        connection.close()
        return {path: (state, sha256) for path, state, sha256 in found}

    def inventory(self) -> tuple[str, int, str]:
        """(index_id, sequence, digest) of the only server."""
        with sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=20) as connection:
            found = connection.execute("SELECT index_id, sequence, digest FROM servers").fetchall()
        connection.close()
        (only,) = found
        return tuple(only)


def until(holds: Callable[[], bool], seconds: float, what: str) -> float:
    """Wait until ``holds()``, which may fail meanwhile; how long it took.

    ``seconds`` are those of a machine with nothing else to do; a busy one gets BUSY times as many.
    """
    started = time.monotonic()
    last: Exception | None = None
    while time.monotonic() - started < seconds * BUSY:
        try:
            if holds():
                return time.monotonic() - started
        except Exception as error:  # not there yet
            last = error
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds * BUSY} s for {what} in vain") from last


def model_bytes(size: int, seed: int, metadata: dict[str, str] | None = None) -> bytes:
    """A valid safetensors file of about ``size`` bytes."""
    length = max(4, size - size % 4)
    header = json.dumps(
        {
            "__metadata__": {"ss_output_name": f"model {seed}", **(metadata or {})},
            "a": {"dtype": "F32", "shape": [length // 4], "data_offsets": [0, length]},
        }
    ).encode()
    body = hashlib.sha256(str(seed).encode()).digest() * (length // 32 + 1)
    return struct.pack("<Q", len(header)) + header + body[:length]


def write_model(path: Path, size: int, seed: int) -> str:
    """Write one; its SHA256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = model_bytes(size, seed)
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def on_disk(folder: Path) -> dict[str, str]:
    """path -> SHA256 of every model there."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.safetensors"))
    }


def as_ready(files: dict[str, str]) -> dict[str, tuple[str, str | None]]:
    """What the hub must have of these."""
    return {path: ("ready", sha256) for path, sha256 in files.items()}


def settings_for(hub: RealHub, data: Path, loras: Path, **further: Any) -> AgentSettings:
    joined = load_identity(data)
    secret = None if joined is not None and joined.hub_id else hub.join_key()
    return AgentSettings(
        data_dir=data, folders=(("lora", str(loras)),), hub_url=hub.url, join_secret=secret,
        alias="box", low_priority=False, **further,
    )  # fmt: skip


def run_once(hub: RealHub, data: Path, loras: Path, *, clock: Clock = CLOCK_AHEAD, **further: Any) -> int:
    """The agent with ``once`` in this process; its exit code."""
    return run(settings_for(hub, data, loras, **further), once=True, clock=clock)


@contextmanager
def running_agent(settings: AgentSettings) -> Iterator[threading.Thread]:
    """The agent in a thread, until the block ends."""
    stop = threading.Event()
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(run(settings, stop=stop)), daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(60)
        assert codes == [0]


def index_rows(data: Path) -> dict[str, tuple[str, str | None]]:
    """path -> (state, sha256) of the local index."""
    index = open_index(data)
    try:
        return {row.path: (row.state, row.sha256) for row in index.rows()}
    finally:
        index.close()
