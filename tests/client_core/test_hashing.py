"""One read pass gives the same digests as the reference implementations, for every odd size."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from blake3 import blake3

from stablequeue_client.files.file_io import FileUnreadableError, OpenedFile, ScanIO
from stablequeue_client.files.hashing import WantedDigests, hash_file, sample_digest
from stablequeue_client.files.read_throttle import ReadingStoppedError, ReadThrottle
from stablequeue_client.shared.model_files.model_file import Digests

KIB, MIB = 1024, 1024 * 1024
SIZES = [
    0, 1, 8, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 192 * KIB, MIB - 1, MIB, MIB + 1,
    MIB + 64 * KIB - 1, MIB + 64 * KIB, MIB + 64 * KIB + 1, 3 * MIB + 7, 9 * MIB + 11,
]  # fmt: skip


def reference(data: bytes, payload_from: int) -> Digests:
    size = len(data)
    middle, end = max(0, (size - 64 * KIB) // 2), max(0, size - 64 * KIB)
    sample = data[: 64 * KIB] + data[middle : middle + 64 * KIB] + data[end:] + size.to_bytes(8, "little")
    return Digests(
        sha256=hashlib.sha256(data).hexdigest(),
        blake3=blake3(data).hexdigest(),
        autov1=hashlib.sha256(data[0x100000:0x110000]).hexdigest()[:8],
        payload_sha256=hashlib.sha256(data[payload_from:]).hexdigest(),
        sample=hashlib.sha256(sample).hexdigest(),
    )


@pytest.mark.parametrize("parallel", [False, True, None])
@pytest.mark.parametrize("size", SIZES)
def test_all_digests_equal_the_reference(tmp_path: Path, size: int, parallel: bool | None) -> None:
    data = Random(size).randbytes(size)
    path = tmp_path / "model"
    path.write_bytes(data)
    payload_from = min(size, 1_000_003)
    result = hash_file(str(path), want=WantedDigests(payload_from=payload_from), parallel=parallel)
    assert result.digests == reference(data, payload_from)
    assert sample_digest(str(path)) == result.digests.sample


def test_only_what_is_wanted_is_computed(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"x" * 100)
    digests = hash_file(str(path), want=WantedDigests(blake3=False, autov1=False)).digests
    assert (digests.blake3, digests.autov1, digests.payload_sha256) == (None, None, None)
    assert digests.sha256 == hashlib.sha256(b"x" * 100).hexdigest()


class CountingFile(OpenedFile):
    read = 0
    dropped: list[tuple[int, int]]

    def _readinto(self, view: memoryview) -> int:
        count = super()._readinto(view)
        self.read += count
        return count

    def drop_cached(self, offset: int, length: int) -> None:
        self.dropped.append((offset, length))
        super().drop_cached(offset, length)


@pytest.mark.parametrize("size", [0, 5, 3 * MIB, 70 * MIB + 3])
def test_every_byte_is_read_once_and_leaves_the_page_cache(tmp_path: Path, size: int) -> None:
    path = tmp_path / "model"
    with path.open("wb") as file:
        file.truncate(size)
    seen: list[int] = []
    with CountingFile(str(path), os.open(path, os.O_RDONLY)) as opened:
        opened.dropped = []
        result = hash_file(opened, want=WantedDigests(payload_from=0), progress=seen.append)
        assert opened.read == result.bytes_read == sum(seen) == size
        assert opened.dropped[-1] == (0, 0)
        assert len(opened.dropped) == 1 + size // (64 * MIB)


def test_a_stop_ends_the_reading_at_once_and_leaves_no_thread(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with path.open("wb") as file:
        file.truncate(64 * MIB)
    seen: list[int] = []
    threads = threading.active_count()
    with pytest.raises(ReadingStoppedError):
        hash_file(str(path), progress=seen.append, stop=lambda: sum(seen) >= 9 * MIB)
    assert sum(seen) == 9 * MIB
    assert threading.active_count() == threads


def test_a_failing_progress_bar_leaves_no_thread_behind(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with path.open("wb") as file:
        file.truncate(16 * MIB)

    def fail(count: int) -> None:
        raise ValueError("progress bar is gone")

    threads = threading.active_count()
    with pytest.raises(ValueError, match="progress bar"):
        hash_file(str(path), progress=fail, parallel=True)
    assert threading.active_count() == threads


@pytest.mark.parametrize(("age_s", "racy"), [(1.0, True), (2.9, True), (3.1, False), (60.0, False)])
def test_a_file_written_just_before_is_racy(tmp_path: Path, age_s: float, racy: bool) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"x")
    stamp = max(path.stat().st_mtime_ns, path.stat().st_ctime_ns)
    assert hash_file(str(path), now_ns=lambda: stamp + int(age_s * 1e9)).racy is racy


def test_the_inode_is_left_out_where_it_means_nothing(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"x")
    assert hash_file(str(path), stable_inode=False).stat.inode == 0
    assert hash_file(str(path)).stat.inode == path.stat().st_ino


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: os.mkfifo(path)])
def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "model.safetensors"
    make(path)
    start = time.monotonic()
    with pytest.raises(FileUnreadableError, match=r"model\.safetensors"):
        hash_file(str(path))
    assert time.monotonic() - start < 5


def test_a_missing_file_is_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(FileUnreadableError, match=r"gone\.pt cannot be read: No such file"):
        ScanIO().open(str(tmp_path / "gone.pt"))


def test_a_rate_is_kept_while_reading(tmp_path: Path, fake_time: object) -> None:
    path = tmp_path / "model"
    with path.open("wb") as file:
        file.truncate(10 * MIB)
    clock = fake_time
    pace = ReadThrottle(MIB, monotonic=clock.monotonic, sleep=clock.sleep)  # type: ignore[attr-defined]
    hash_file(str(path), pace=pace, parallel=False)
    assert 8.5 < sum(clock.slept) < 10.5  # type: ignore[attr-defined]


def test_a_pause_lasts_until_it_ends_and_a_stop_ends_it(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"x" * MIB)
    asked: list[bool] = []

    def paused() -> bool:
        asked.append(True)
        return len(asked) < 4

    rested: list[float] = []
    hash_file(str(path), pace=ReadThrottle(paused=paused, sleep=rested.append))
    assert len(rested) == 3
    stopping = ReadThrottle(paused=lambda: True, sleep=rested.append)
    with pytest.raises(ReadingStoppedError):
        hash_file(str(path), pace=stopping, stop=lambda: len(rested) >= 10)
