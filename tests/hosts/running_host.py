"""A fake host in a process of its own, and what a test may do with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from ..free_ports import free_port

HERE = Path(__file__).resolve().parent
FAMILIES = ("forge", "classic")
VARIABLE = "STABLEQUEUE_TEST_HOSTS"
"""A folder with two virtual environments, ``forge`` and ``classic``, as .ci/run makes them."""
START_S = 90.0


def host_python(family: str) -> str:
    """The Python of a family's environment. Skips without one, fails in CI."""
    folder = os.environ.get(VARIABLE)
    reason = f"{VARIABLE} names no folder with the environments of the hosts (.ci/run makes them)"
    if folder:
        inside = ("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")
        found = Path(folder, family, *inside)
        if found.exists():
            return str(found)
        reason = f"{found} does not exist; .ci/run makes it"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@dataclass
class FakeHost:
    """A fake host that runs. ``data`` is the WebUI's folder, ``stablequeue`` our own beside it."""

    family: str
    process: subprocess.Popen[str]
    url: str
    control: str
    data: Path
    lines: list[str]

    @property
    def stablequeue(self) -> Path:
        return Path(f"{self.data}-stablequeue")

    @property
    def log(self) -> str:
        """All it printed so far."""
        return "".join(self.lines)

    def counts(self) -> dict[str, Any]:
        answer = requests.get(self.control + "/counts", timeout=30)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def reload(self) -> dict[str, Any]:
        """Press "Reload UI" and wait for the new page; the counts after it."""
        answer = requests.post(self.control + "/reload", timeout=90)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def tab(self, headers: Mapping[str, str] | None = None) -> str:
        """What our tab shows, as a page gets it: from its load event, where it is not in the page itself."""
        page = requests.get(self.url + "/config", timeout=30)
        config = page.json()
        named = {part.get("props", {}).get("elem_id"): part["id"] for part in config["components"]}
        if "sq_shell" not in named:
            return page.text
        events = config["dependencies"]
        index = next(number for number, event in enumerate(events) if named["sq_shell"] in event["outputs"])
        number = events[index].get("id", index)
        body = {"fn_index": number, "data": [], "session_hash": "abc", "event_data": None}
        return requests.post(self.url + "/run/predict", json=body, headers=headers, timeout=30).text

    def run(self, source: str) -> Any:
        """Execute Python in the host's process; what it called ``result``."""
        answer = requests.post(self.control + "/run", data=source.encode(), timeout=60)
        assert answer.status_code == 200, answer.json()
        return answer.json()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM if os.name == "nt" else signal.SIGINT)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


StartHost = Callable[..., FakeHost]


def start_fake_host(family: str, data: Path, words: tuple[str, ...], environment: dict[str, str]) -> FakeHost:
    port = free_port()
    command = [host_python(family), "-u", str(HERE / "fake_host" / "run.py"), "--family", family]
    process = subprocess.Popen(
        [*command, "--port", str(port), "--data", str(data), *words],
        env=_clean_environment() | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
    )
    lines: list[str] = []
    ready = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if line.startswith("ready "):
                ready.set()
        ready.set()

    threading.Thread(target=read, daemon=True).start()
    ready.wait(START_S)
    about = next((json.loads(line[6:]) for line in lines if line.startswith("ready ")), None)
    if about is None:
        process.kill()
        pytest.fail("The fake host did not start:\n" + "".join(lines)[-6000:])
    return FakeHost(family, process, about["url"], about["control"], data, lines)


def _clean_environment() -> dict[str, str]:
    ours = ("STABLEQUEUE_", "PYTHONPATH", "VIRTUAL_ENV", "COMMANDLINE_ARGS")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}
