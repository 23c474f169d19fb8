"""Read one model file completely: header, digests, claims. What goes wrong is a value, not an exception."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from stablequeue_client.claims import ClaimReport, Contradiction
from stablequeue_client.hashing import HashResult, Progress, Stop
from stablequeue_client.model_files import FileState, Kind, StatKey
from stablequeue_client.pacing import Pace
from stablequeue_client.read_io import OS_IO, ScanIO
from stablequeue_client.safetensors_header import Header


@dataclass(frozen=True)
class FileJob:
    """A file to be read. ``stat``: what the scan saw (its inode 0: do not compare inodes there)."""

    native: str
    kind: Kind
    stat: StatKey | None = None


@dataclass(frozen=True)
class FileReading:
    """What is known of a file after reading it.

    ``state`` ready: ``result`` is there. Otherwise ``reason`` says in a sentence what is wrong: corrupt,
    unreadable, busy, unstable (kept changing); unhashed when only the header was asked for. ``header`` is
    None for what is no safetensors file. ``note`` is worth telling but no failure.
    """

    state: FileState
    reason: str | None = None
    result: HashResult | None = None
    stat: StatKey | None = None
    header: Header | None = None
    note: str | None = None
    claims: ClaimReport = field(default_factory=lambda: ClaimReport((), ()))
    contradictions: tuple[Contradiction, ...] = ()


def read_model_file(
    job: FileJob,
    *,
    digests: bool = True,
    pace: Pace | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
    parallel: bool | None = None,
    io: ScanIO = OS_IO,
) -> FileReading:
    """Open, validate and hash one file, and collect its claims. Raises only ReadingStoppedError.

    ``digests`` False: header and claims only (names, sizes and headers at once, digests later).
    """
    raise NotImplementedError
