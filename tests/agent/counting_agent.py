"""An agent in a process of its own that counts the bytes it reads from model files.

Started with its data folder, the machine's folder and a folder of LoRAs; with ``slow`` it rests 5 ms after
each MiB. It prints the bytes read so far whenever that grew, and ends when standard input is closed.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

from stablequeue_client.agent.agent_settings import AgentSettings
from stablequeue_client.agent.main import run
from stablequeue_client.files.file_io import OpenedFile, ScanIO
from stablequeue_client.shared.parent_process import ParentProcess, parent_of_now


class CountingIO(ScanIO):
    """The disk, with a count of what is read in order (digests), not of looks at headers."""

    def __init__(self, rest_s: float) -> None:
        self.bytes = 0
        self._rest_s = rest_s
        self._lock = threading.Lock()

    def open(self, path: str) -> OpenedFile:
        opened = super().open(path)
        counted = self

        class Counted(OpenedFile):
            def readinto(self, view: memoryview) -> int:
                count = super().readinto(view)
                counted.add(count)
                return count

        return Counted(opened.path, opened._descriptor)

    def add(self, count: int) -> None:
        with self._lock:
            self.bytes += count
        time.sleep(self._rest_s)


def main() -> None:
    data, machine, loras, *further = sys.argv[1:]
    parent = parent_of_now(os.getppid())
    io = CountingIO(0.005 if "slow" in further else 0.0)
    settings = AgentSettings(
        data_dir=Path(data), folders=(("lora", loras),), digests_dir=Path(machine), low_priority=False,
        parent=ParentProcess(parent.pid, parent.start_time, webui=True),
    )  # fmt: skip
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    worker = threading.Thread(target=run, args=(settings,), kwargs={"stop": stop, "io": io})
    worker.start()
    told = -1
    while worker.is_alive():
        worker.join(0.05)
        if io.bytes != told:
            told = io.bytes
            print(told, flush=True)


if __name__ == "__main__":
    main()
