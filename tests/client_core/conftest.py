"""Model files made byte by byte, and a file system in which any single call can be made to fail."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from stablequeue_client.files.file_io import OpenedFile, ScanIO, file_error
from stablequeue_client.files.read_throttle import ReadThrottle

Make = Callable[..., bytes]


def safetensors_bytes(payload: int = 3_000, metadata: dict[str, str] | None = None, seed: int = 0) -> bytes:
    """A valid file with two tensors that share ``payload`` bytes."""
    half = payload // 2
    header: dict[str, Any] = {
        "a.weight": {"dtype": "U8", "shape": [half], "data_offsets": [0, half]},
        "b.weight": {"dtype": "U8", "shape": [payload - half], "data_offsets": [half, payload]},
    }
    if metadata is not None:
        header["__metadata__"] = metadata
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + Random(seed).randbytes(payload)


@pytest.fixture
def safetensors() -> Make:
    return safetensors_bytes


class FakeTime:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def fake_time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def quick_pace() -> ReadThrottle:
    """Waits without waiting."""
    clock = FakeTime()
    return ReadThrottle(monotonic=clock.monotonic, sleep=clock.sleep)


class FaultyIO(ScanIO):
    """The real file system; the ``fail_at``-th call (from 1) raises ``error``. 0 counts only."""

    def __init__(self, fail_at: int = 0, error: int = 0) -> None:
        self.calls = 0
        self._fail_at, self._error = fail_at, error

    def step(self, path: str) -> None:
        self.calls += 1
        if self.calls == self._fail_at:
            raise OSError(self._error, os.strerror(self._error), path)

    def scandir(self, path: str) -> list[os.DirEntry[str]]:
        self.step(path)
        return super().scandir(path)

    def is_empty(self, path: str) -> bool:
        self.step(path)
        return super().is_empty(path)

    def stat_entry(self, entry: os.DirEntry[str]) -> os.stat_result:
        self.step(entry.path)
        return entry.stat()

    def stat(self, path: str) -> os.stat_result:
        self.step(path)
        return super().stat(path)

    def realpath(self, path: str) -> str:
        self.step(path)
        return super().realpath(path)

    def open(self, path: str) -> OpenedFile:
        try:
            self.step(path)
        except OSError as error:
            raise file_error(path, error) from error
        return FaultyFile(path, os.open(path, os.O_RDONLY), self)


class FaultyFile(OpenedFile):
    """An open file whose looks and reads count as calls of its file system."""

    def __init__(self, path: str, descriptor: int, io: FaultyIO) -> None:
        super().__init__(path, descriptor)
        self._io = io

    def stat(self) -> os.stat_result:
        try:
            self._io.step(self.path)
        except OSError as error:
            raise file_error(self.path, error) from error
        return super().stat()

    def drop_cached(self, offset: int, length: int) -> None:
        """Thousands of rounds over the same files: let them stay in memory."""

    def _readinto(self, view: memoryview) -> int:
        self._io.step(self.path)
        return super()._readinto(view)


@pytest.fixture
def faulty_io() -> type[FaultyIO]:
    return FaultyIO


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Eight models in three folders, with a linked file, sidecars and what is no model."""
    top = tmp_path / "loras"
    for index, place in enumerate(["a", "b", "styles/c", "styles/d", "styles/old/e", "people/f", "people/g"]):
        path = top / f"{place}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(safetensors_bytes(2_000 + index, {"ss_output_name": place}, index))
    (top / "h.pt").write_bytes(b"\x80\x02" + b"pickled" * 100)
    (top / "people" / "linked.safetensors").symlink_to("../a.safetensors")
    (top / "a.sha256").write_text("0" * 63 + "1  a.safetensors\n")
    (top / "b.civitai.info").write_text("{}")
    (top / "a.preview.png").write_bytes(b"png")
    return top
