"""One read pass over a file: SHA256, BLAKE3, AutoV1, payload SHA256 (AutoV3) and the sample digest.

The file is read with ``readinto`` (never mapped: a mapped file cannot be deleted on Windows, and a share
that goes away kills the process), its pages leave the page cache again, and a file that changes meanwhile
gives an error instead of a digest. Many files: ``parallel_reading``.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Protocol

from blake3 import blake3

from stablequeue_client.model_files import Digests, StatKey
from stablequeue_client.pacing import Pace, raise_if_stopped
from stablequeue_client.read_io import OS_IO, FileChangedError, OpenedFile, ScanIO, shown, stat_key

BUFFER_BYTES = 1024 * 1024
SAMPLE_BYTES = 64 * 1024
AUTOV1_OFFSET = 0x100000
AUTOV1_BYTES = 0x10000
RACY_WINDOW_NS = 3_000_000_000
"""Stamps this close before the reading cannot be trusted to move with the next write (git's racy rule)."""
_DROP_WINDOW = 64 * 1024 * 1024
_RING_BUFFERS = 4
_PARALLEL_FROM_BYTES = 8 * 1024 * 1024
"""Below this size the start of threads costs more than they save."""

Progress = Callable[[int], None]
Stop = Callable[[], bool]


@dataclass(frozen=True)
class Want:
    """What to compute beside the SHA256 and the sample. ``payload_from``: where the payload starts."""

    blake3: bool = True
    autov1: bool = True
    payload_from: int | None = None


@dataclass(frozen=True)
class HashResult:
    """Digests of exactly the file that ``stat`` describes. ``racy``: hash it again at the next scan."""

    digests: Digests
    stat: StatKey
    bytes_read: int
    racy: bool


def hash_file(
    source: OpenedFile | str,
    *,
    want: Want = Want(),  # noqa: B008 - frozen
    pace: Pace | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
    parallel: bool | None = None,
    stable_inode: bool = True,
    io: ScanIO = OS_IO,
    now_ns: Callable[[], int] = time.time_ns,
) -> HashResult:
    """Read the file once and return its digests.

    ``progress`` gets the bytes of each buffer. ``parallel`` None: one thread per digest when there is
    more than one core and the file is not small. Raises FileChangedError, FileBusyError,
    FileUnreadableError, ReadingStoppedError.
    """
    raise NotImplementedError


def sample_digest(path: str, *, io: ScanIO = OS_IO) -> str:
    """SHA256 of three pieces of 64 KiB (start, middle, end) and the size: tells a renamed file again.

    Raises FileUnreadableError or FileBusyError.
    """
    raise NotImplementedError
