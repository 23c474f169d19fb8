"""How many files of one device are read at once."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from stablequeue_client.agent.hashing_pool import HashingPool
from stablequeue_client.agent.policy import HashingPolicy
from stablequeue_client.agent.progress import ProgressTracker
from stablequeue_client.clock import SYSTEM_CLOCK
from stablequeue_client.files.devices import Device, DeviceKind
from stablequeue_client.files.file_io import OpenedFile, ScanIO
from stablequeue_client.files.scanner import ScanReport, make_root, scan_root
from stablequeue_client.index.digest_store import open_digest_store
from stablequeue_client.index.index import open_index


class NotingIO(ScanIO):
    """Notes which threads open files."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[int] = set()

    def open(self, path: str) -> OpenedFile:
        self.readers.add(threading.get_ident())
        time.sleep(0.05)
        return super().open(path)


@pytest.mark.parametrize("kind", ["slow", "network"])
def test_a_slow_device_is_read_by_exactly_one_stream(tmp_path: Path, kind: DeviceKind) -> None:
    folder = tmp_path / "loras"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.pt").write_bytes(b"\x80\x02" + bytes([number]) * 5_000)
    index, io, stop = open_index(tmp_path), NotingIO(), threading.Event()
    index.apply_scan(ScanReport((scan_root(make_root("lora", str(folder))),)), quiet_s=0.0)
    round_ = HashingPool(
        index, open_digest_store(tmp_path), HashingPolicy("now", SYSTEM_CLOCK), ProgressTracker(SYSTEM_CLOCK),
        changed=lambda: None, rescan=lambda root: None, failed=lambda error: None, network_rate=0,
        io=io, clock=SYSTEM_CLOCK, stop=stop, device=lambda path: Device("disk", kind),
    )  # fmt: skip
    round_.refresh()
    end = time.monotonic() + 60
    while not round_.done() and time.monotonic() < end:
        time.sleep(0.05)
    stop.set()
    assert {row.state for row in index.rows()} == {"ready"}
    assert len(io.readers) == 1
