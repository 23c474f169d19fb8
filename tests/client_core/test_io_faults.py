"""R5: the k-th call to the file system fails, for every k and six errors, over a whole scan and hash.

Nothing may be raised, no file may count as gone that is there, and no digest may be wrong. CI scale: more
than 2,000 points. Each check is also run on broken variants and must go red there.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stablequeue_client.files.file_io import OpenedFile
from stablequeue_client.files.file_reader import FileJob, FileReading, read_model_file
from stablequeue_client.files.read_throttle import ReadThrottle
from stablequeue_client.files.scanner import RootScan, make_root, scan_root

pytestmark = pytest.mark.fault

ERRORS = [errno.EIO, errno.ENOSPC, errno.EACCES, errno.ESTALE, errno.EBUSY, errno.ETIMEDOUT]


def truth_of(top: Path) -> dict[str, str]:
    """Wire path -> SHA256 of every model of the library."""
    return {
        path.relative_to(top).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in top.rglob("*")
        if path.suffix in (".safetensors", ".pt")
    }


def scan_and_read(top: Path, io: Any, pace: ReadThrottle) -> tuple[RootScan, dict[str, FileReading]]:
    scan = scan_root(make_root("lora", str(top)), io=io)
    return scan, {
        file.path: read_model_file(FileJob(file.native, "lora", file.stat), io=io, pace=pace, parallel=False)
        for file in scan.files
    }


def mistakes(truth: dict[str, str], scan: RootScan, readings: dict[str, FileReading]) -> list[str]:
    """Everything that the result claims and is not so."""
    found = [f"{path} counts as gone" for path in truth if path not in readings and scan.knows(path)]
    for path, reading in readings.items():
        if reading.state == "corrupt":
            found.append(f"{path} counts as corrupt")
        if reading.result is not None and reading.result.digests.sha256 != truth[path]:
            found.append(f"{path} has a wrong digest")
        if reading.result is None and not reading.reason:
            found.append(f"{path} has no digest and no reason")
    return found


def run_every_point(
    top: Path, make_io: Callable[[int, int], Any], pace: ReadThrottle
) -> tuple[int, list[str]]:
    """(points tried, mistakes found)."""
    truth = truth_of(top)
    counting = make_io(0, 0)
    assert mistakes(truth, *scan_and_read(top, counting, pace)) == []
    found: list[str] = []
    for k in range(1, counting.calls + 1):
        for error in ERRORS:
            found += mistakes(truth, *scan_and_read(top, make_io(k, error), pace))
    return counting.calls * len(ERRORS), found


def test_no_failing_call_loses_a_file_or_gives_a_wrong_digest(
    library: Path, faulty_io: Any, quick_pace: ReadThrottle
) -> None:
    for index in range(18):
        (library / "people" / f"more {index}.safetensors").write_bytes(
            (library / "a.safetensors").read_bytes()
        )
    points, found = run_every_point(library, faulty_io, quick_pace)
    assert found == []
    assert points >= 2_000


def test_a_walk_that_takes_a_failed_folder_for_an_empty_one_is_caught_by_this_test(
    library: Path, faulty_io: Any, quick_pace: ReadThrottle
) -> None:
    class LikeOsWalk(faulty_io):  # type: ignore[misc]
        def scandir(self, path: str) -> list[os.DirEntry[str]]:
            try:
                return super().scandir(path)  # type: ignore[no-any-return]
            except OSError:
                return []

    _, found = run_every_point(library, LikeOsWalk, quick_pace)
    assert any("counts as gone" in mistake for mistake in found)


def test_a_reader_that_goes_on_after_a_failed_read_is_caught_by_this_test(
    library: Path, faulty_io: Any, quick_pace: ReadThrottle
) -> None:
    class Careless(OpenedFile):
        def __init__(self, opened: Any) -> None:
            super().__init__(opened.path, opened._descriptor)
            self._real = opened

        def _readinto(self, view: memoryview) -> int:
            try:
                return int(self._real._readinto(view))
            except OSError:
                return len(view)

    class CarelessIO(faulty_io):  # type: ignore[misc]
        def open(self, path: str) -> OpenedFile:
            return Careless(super().open(path))

    _, found = run_every_point(library, CarelessIO, quick_pace)
    assert any("wrong digest" in mistake for mistake in found)


def test_a_read_that_ends_early_is_no_end_of_the_file(
    library: Path, faulty_io: Any, quick_pace: ReadThrottle
) -> None:
    """A share that gives nothing instead of an error."""

    class EndsEarly(faulty_io):  # type: ignore[misc]
        def step(self, path: str) -> None:
            self.calls += 1

        def open(self, path: str) -> OpenedFile:
            opened = super().open(path)
            real = opened._readinto
            opened._readinto = lambda view: 0 if self.calls >= self._fail_at > 0 else real(view)
            return opened  # type: ignore[no-any-return]

    truth = truth_of(library)
    counting = EndsEarly()
    scan_and_read(library, counting, quick_pace)
    for k in range(1, counting.calls):
        _, readings = scan_and_read(library, EndsEarly(k), quick_pace)
        for path, reading in readings.items():
            assert reading.result is None or reading.result.digests.sha256 == truth[path]


@pytest.mark.parametrize(
    ("error", "state"),
    [(errno.EBUSY, "busy"), (errno.ETXTBSY, "busy"), (errno.EACCES, "unreadable"), (errno.EIO, "unreadable")],
)
def test_a_held_file_is_busy_and_an_unreadable_one_names_the_cause(
    library: Path, faulty_io: Any, error: int, state: str
) -> None:
    reading = read_model_file(FileJob(str(library / "h.pt"), "lora"), io=faulty_io(1, error))
    assert reading.state == state
    assert os.strerror(error) in (reading.reason or "")
    assert "h.pt" in (reading.reason or "")
