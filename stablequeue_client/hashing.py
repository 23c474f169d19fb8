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
from stablequeue_client.read_io import (
    OS_IO,
    FileChangedError,
    OpenedFile,
    ScanIO,
    file_error,
    shown,
    stat_key,
)

BUFFER_BYTES = 1024 * 1024
SAMPLE_BYTES = 64 * 1024
AUTOV1_OFFSET = 0x100000
AUTOV1_BYTES = 0x10000
RACY_WINDOW_NS = 3_000_000_000
"""Stamps this close before the reading cannot be trusted to move with the next write (git's racy rule)."""
_INLINE_BYTES = 256 * 1024
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
    want: Want = Want(),
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
    opened = io.open(source) if isinstance(source, str) else source
    try:
        opened.rewind()
        started = now_ns()
        before = opened.stat()
        work = _Work(before.st_size, want)
        if parallel is None:
            parallel = usable_cores() > 1
        sink = (
            _Pipeline(work.stages)
            if parallel and before.st_size >= _PARALLEL_FROM_BYTES
            else _Inline(work.stages)
        )
        count = _read_through(opened, before.st_size, sink, work.slices, pace, progress, stop)
        _refuse_changed(opened, before, count, io)
    finally:
        if source is not opened:
            opened.close()
    key = stat_key(before, stable_inode=stable_inode)
    return HashResult(work.digests(), key, count, max(key.mtime_ns, key.ctime_ns) >= started - RACY_WINDOW_NS)


def sample_digest(path: str, *, io: ScanIO = OS_IO) -> str:
    """SHA256 of three pieces of 64 KiB (start, middle, end) and the size: tells a renamed file again.

    Raises FileUnreadableError or FileBusyError.
    """
    with io.open(path) as opened:
        size = opened.stat().st_size
        return _sample([opened.read_at(start, SAMPLE_BYTES) for start in _sample_starts(size)], size)


def usable_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _sample_starts(size: int) -> tuple[int, int, int]:
    return 0, max(0, (size - SAMPLE_BYTES) // 2), max(0, size - SAMPLE_BYTES)


def _sample(pieces: Sequence[bytes | bytearray], size: int) -> str:
    digest = hashlib.sha256(b"".join(pieces))
    digest.update(size.to_bytes(8, "little"))
    return digest.hexdigest()


class _Hash(Protocol):
    def update(self, data: memoryview, /) -> object: ...


class _Stage:
    """One digest and how many bytes at the start of the file it leaves out."""

    def __init__(self, digest: _Hash, skip: int = 0) -> None:
        self._update = digest.update
        self._skip = skip

    def feed(self, view: memoryview) -> None:
        if self._skip:
            left_out = min(self._skip, len(view))
            self._skip -= left_out
            view = view[left_out:]
        if len(view):
            self._update(view)


class _Slice:
    """The bytes from ``start``, at most ``length``, picked out of the buffers as they pass."""

    def __init__(self, start: int, length: int) -> None:
        self._start, self._end = start, start + length
        self.data = bytearray()

    def feed(self, offset: int, view: memoryview) -> None:
        low, high = max(self._start, offset), min(self._end, offset + len(view))
        if low < high:
            self.data += view[low - offset : high - offset]


class _Work:
    """The digests asked for, while they are computed."""

    def __init__(self, size: int, want: Want) -> None:
        self._size, self._want = size, want
        self._sha256, self._payload, self._blake3 = hashlib.sha256(), hashlib.sha256(), blake3()
        self._sample = [_Slice(start, SAMPLE_BYTES) for start in _sample_starts(size)]
        self._autov1 = _Slice(AUTOV1_OFFSET, AUTOV1_BYTES)
        self.slices = [*self._sample, self._autov1]
        self.stages = [_Stage(self._sha256)]
        if want.payload_from is not None:
            self.stages.append(_Stage(self._payload, want.payload_from))
        if want.blake3:
            self.stages.append(_Stage(self._blake3))

    def digests(self) -> Digests:
        want = self._want
        return Digests(
            sha256=self._sha256.hexdigest(),
            blake3=self._blake3.hexdigest() if want.blake3 else None,
            autov1=hashlib.sha256(self._autov1.data).hexdigest()[:8] if want.autov1 else None,
            payload_sha256=self._payload.hexdigest() if want.payload_from is not None else None,
            sample=_sample([piece.data for piece in self._sample], self._size),
        )


class _Inline:
    """Computes every digest in the reading thread; the buffer stays in the core's cache meanwhile."""

    def __init__(self, stages: Sequence[_Stage]) -> None:
        self._stages = stages
        self._buffer = memoryview(bytearray(_INLINE_BYTES))

    def buffer(self) -> memoryview:
        return self._buffer

    def put(self, view: memoryview) -> None:
        for stage in self._stages:
            stage.feed(view)

    def finish(self) -> None:
        """Everything is computed already."""


class _Pipeline:
    """A thread per digest; hashlib and blake3 release the GIL, so they and the reading overlap.

    A ring of buffers: the reader refills one only when every thread has given it back.
    """

    def __init__(self, stages: Sequence[_Stage]) -> None:
        self._workers = [_Worker(stage) for stage in stages]
        self._buffers = [memoryview(bytearray(BUFFER_BYTES)) for _ in range(_RING_BUFFERS)]
        self._next = 0

    def buffer(self) -> memoryview:
        for worker in self._workers:
            worker.given_back.get()
        buffer = self._buffers[self._next]
        self._next = (self._next + 1) % _RING_BUFFERS
        return buffer

    def put(self, view: memoryview) -> None:
        for worker in self._workers:
            worker.inbox.put(view)

    def finish(self) -> None:
        """Wait until everything put is computed; raises what a thread raised."""
        for worker in self._workers:
            worker.inbox.put(None)
        for worker in self._workers:
            worker.thread.join()
        for worker in self._workers:
            if worker.error is not None:
                raise worker.error


class _Worker:
    """One thread that computes one digest over the buffers in its inbox, in order."""

    def __init__(self, stage: _Stage) -> None:
        self.inbox: SimpleQueue[memoryview | None] = SimpleQueue()
        self.given_back: SimpleQueue[None] = SimpleQueue()
        self.error: BaseException | None = None
        for _ in range(_RING_BUFFERS):
            self.given_back.put(None)
        self._stage = stage
        self.thread = threading.Thread(target=self._run, name="stablequeue-digest", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while (view := self.inbox.get()) is not None:
            try:
                if self.error is None:
                    self._stage.feed(view)
            except BaseException as error:  # handed to the reading thread by finish()
                self.error = error
            self.given_back.put(None)


def _read_through(
    opened: OpenedFile,
    size: int,
    sink: _Inline | _Pipeline,
    slices: Sequence[_Slice],
    pace: Pace | None,
    progress: Progress | None,
    stop: Stop | None,
) -> int:
    """Read ``size`` bytes (fewer if the file ends before) into the sink; the number read."""
    offset = dropped = 0
    opened.will_read_in_order()
    try:
        while offset < size:
            raise_if_stopped(stop)
            buffer = sink.buffer()[: size - offset]
            if pace is not None:
                pace.before_read(len(buffer), stop)
            view = buffer[: opened.readinto(buffer)]
            if not len(view):
                break
            for piece in slices:
                piece.feed(offset, view)
            sink.put(view)
            offset += len(view)
            if progress is not None:
                progress(len(view))
            if offset - dropped >= _DROP_WINDOW:
                opened.drop_cached(dropped, offset - dropped)
                dropped = offset
    finally:
        sink.finish()
        opened.drop_cached(0, 0)
    return offset


def _refuse_changed(opened: OpenedFile, before: os.stat_result, count: int, io: ScanIO) -> None:
    """Raises FileChangedError unless handle and path still show the file of before, read to its end."""
    try:
        at_path = io.stat(opened.path)
    except FileNotFoundError as error:
        raise FileChangedError(f"{shown(opened.path)} was moved or removed while it was read.") from error
    except OSError as error:
        raise file_error(opened.path, error) from error
    same = stat_key(before) == stat_key(opened.stat()) == stat_key(at_path)
    if not same or count != before.st_size:
        raise FileChangedError(f"{shown(opened.path)} changed while it was read.")
