"""One read pass over a file: SHA256, BLAKE3, AutoV1, payload SHA256 (AutoV3) and the sample digest.

The file is read with ``readinto`` (never mapped: a mapped file cannot be deleted on Windows, and a share
that goes away kills the process), its pages leave the page cache again, and a file that changes meanwhile
gives an error instead of a digest.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from blake3 import blake3

from stablequeue_client.files.file_io import (
    OS_IO,
    FileChangedError,
    OpenedFile,
    ScanIO,
    escaped,
    file_error,
    stat_key,
)
from stablequeue_client.files.read_throttle import ReadThrottle, raise_if_stopped
from stablequeue_client.shared.model_files.model_file import Digests, StatKey

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

OnBytesRead = Callable[[int], None]
ShouldStop = Callable[[], bool]


@dataclass(frozen=True)
class WantedDigests:
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
    want: WantedDigests = WantedDigests(),
    pace: ReadThrottle | None = None,
    progress: OnBytesRead | None = None,
    stop: ShouldStop | None = None,
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
        work = _DigestStages(before.st_size, want)
        cores = usable_cores()
        if parallel is None:
            parallel = cores > 1
        spread = parallel and before.st_size >= _PARALLEL_FROM_BYTES
        sink: _Inline | _Pipeline = (
            _Pipeline(work.stages, cores) if spread else _Inline(work.stages, before.st_size)
        )
        count = _read_through(opened, before.st_size, sink, work.slices, pace, progress, stop)
        if count != before.st_size:
            raise FileChangedError(f"{escaped(opened.path)} became shorter while it was read.")
        refuse_changed(opened, before, io)
    finally:
        if source is not opened:
            opened.close()
    key = stat_key(before, stable_inode=stable_inode)
    return HashResult(work.digests(), key, count, max(key.mtime_ns, key.ctime_ns) >= started - RACY_WINDOW_NS)


class StreamedDigests:
    """The same digests of bytes that come in their order, as from a copy that is being written.

    ``payload``: the SHA256 behind the safetensors header is wanted (AutoV3).
    """

    def __init__(self, size: int, *, payload: bool) -> None:
        self._size, self._payload = size, payload
        self._work: _DigestStages | None = None
        self._start = b""
        self.count = 0
        self.payload_from: int | None = None
        """Where the payload begins, once that is known."""

    def update(self, data: memoryview) -> None:
        """The bytes that follow."""
        if self._work is None:  # where the payload begins stands in the first eight bytes
            data = memoryview(self._start + bytes(data)) if self._start else data
            self.count -= len(self._start)
            self._start = b""
            if len(data) < 8 and len(data) < self._size:
                self._start = bytes(data)
                self.count += len(data)
                return
            if self._payload:
                self.payload_from = 8 + int.from_bytes(data[:8], "little")
            self._work = _DigestStages(self._size, WantedDigests(payload_from=self.payload_from))
        for piece in self._work.slices:
            piece.feed(self.count, data)
        for stage in self._work.stages:
            stage.feed(data)
        self.count += len(data)

    def digests(self) -> Digests:
        """Call it once all bytes came."""
        return (self._work or _DigestStages(self._size, WantedDigests())).digests()


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
        self.position = 0  # buffers done, and whether a thread works on it: the pipeline's book-keeping
        self.taken = False

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


class _DigestStages:
    """The digests asked for, while they are computed."""

    def __init__(self, size: int, want: WantedDigests) -> None:
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
    """Computes every digest in the reading thread; the buffer stays in the cache meanwhile."""

    def __init__(self, stages: Sequence[_Stage], size: int) -> None:
        self._stages = stages
        self._buffer = memoryview(bytearray(min(size, BUFFER_BYTES)))

    def buffer(self) -> memoryview:
        return self._buffer

    def put(self, view: memoryview) -> None:
        for stage in self._stages:
            stage.feed(view)

    def finish(self) -> None:
        """Everything is computed already."""


class _Pipeline:
    """Computes the digests in threads; hashlib and blake3 release the GIL, so they and the reading overlap.

    A ring of buffers, and as many threads as there are digests or cores. Each thread takes the digest
    that is furthest behind, so that three digests share two cores evenly.
    """

    def __init__(self, stages: Sequence[_Stage], cores: int) -> None:
        self._stages = stages
        self._buffers = [memoryview(bytearray(BUFFER_BYTES)) for _ in range(_RING_BUFFERS)]
        self._views = list(self._buffers)
        self._written = 0
        self._finished = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._run, name="stablequeue-digest", daemon=True)
            for _ in range(min(cores, len(stages)))
        ]
        for thread in self._threads:
            thread.start()

    def buffer(self) -> memoryview:
        """The next buffer to fill, once every digest is done with it."""
        with self._changed:
            while self._written - min(stage.position for stage in self._stages) >= _RING_BUFFERS:
                self._changed.wait()
        return self._buffers[self._written % _RING_BUFFERS]

    def put(self, view: memoryview) -> None:
        with self._changed:
            self._views[self._written % _RING_BUFFERS] = view
            self._written += 1
            self._changed.notify()

    def finish(self) -> None:
        """Wait until everything put is computed; raises what a thread raised."""
        with self._changed:
            self._finished = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        stage: _Stage | None = None
        while (stage := self._take(stage)) is not None:
            try:
                stage.feed(self._views[stage.position % _RING_BUFFERS])
            except BaseException as error:  # finish() raises it in the reading thread
                self._error = error

    def _take(self, done: _Stage | None) -> _Stage | None:
        """Give ``done`` back and take the stage that is furthest behind; None at the end."""
        with self._changed:
            if done is not None:
                done.position += 1
                done.taken = False
                self._changed.notify_all()
            while True:
                waiting = [stage for stage in self._stages if stage.position < self._written]
                free = [stage for stage in waiting if not stage.taken]
                if free:
                    stage = min(free, key=lambda free_stage: free_stage.position)
                    stage.taken = True
                    return stage
                if self._finished and not waiting:
                    return None
                self._changed.wait()


def _read_through(
    opened: OpenedFile,
    size: int,
    sink: _Inline | _Pipeline,
    slices: Sequence[_Slice],
    pace: ReadThrottle | None,
    progress: OnBytesRead | None,
    stop: ShouldStop | None,
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


def refuse_changed(opened: OpenedFile, before: os.stat_result, io: ScanIO) -> None:
    """Raises FileChangedError unless handle and path still show the file as it was ``before``."""
    try:
        at_path = io.stat(opened.path)
    except FileNotFoundError as error:
        raise FileChangedError(f"{escaped(opened.path)} was moved or removed while it was read.") from error
    except OSError as error:
        raise file_error(opened.path, error) from error
    if not stat_key(before) == stat_key(opened.stat()) == stat_key(at_path):
        raise FileChangedError(f"{escaped(opened.path)} changed while it was read.")
