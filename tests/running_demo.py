"""``up --demo`` in a process of its own, and what its hub answers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from .agent.real_hub import environment
from .free_ports import free_port


@dataclass
class Demo:
    """A demo that runs, or is being started: then its hub does not answer yet, or has no key."""

    url: str
    data: Path

    def ask(self, method: str, path: str, **options: Any) -> Any:
        """JSON as values, anything else as bytes. Raises OSError while there is no hub."""
        key = (self.data / "admin.key").read_text().strip()
        headers = {"Authorization": f"Bearer {key}"}
        answer = requests.request(method, self.url + path, headers=headers, timeout=30, **options)
        assert answer.ok, answer.text
        return answer.json() if "json" in answer.headers["Content-Type"] else answer.content


@contextmanager
def running_demo(folder: Path) -> Iterator[Demo]:
    data, port = folder / "data", free_port()
    words = ["up", "--demo", "--no-browser", "--data", str(data), "--port", str(port)]
    process = subprocess.Popen(
        [sys.executable, "-m", "stablequeue_client", *words],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield Demo(f"http://127.0.0.1:{port}", data)
    finally:
        process.terminate()
        process.wait(60)
