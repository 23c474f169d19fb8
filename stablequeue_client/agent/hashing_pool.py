"""Read the files that the index wants read: per device as many at a time as it bears, in the index's order.

Every file is recorded by itself as soon as it is read, so a kill at any instant loses the work on the
files being read and nothing else.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field

from stablequeue_client.agent.policy import HashingPolicy
from stablequeue_client.agent.progress import ProgressTracker
from stablequeue_client.clock import Clock
from stablequeue_client.files.claimed_hashes import RefusedClaim
from stablequeue_client.files.devices import Device, device_of
from stablequeue_client.files.file_io import ScanIO, file_error, stat_key
from stablequeue_client.files.file_reader import (
    FileJob,
    FileReading,
    FurtherClaims,
    completed,
    no_further_claims,
    read_model_file,
)
from stablequeue_client.files.hashing import HashResult, usable_cores
from stablequeue_client.files.read_lock import ReadingLocks
from stablequeue_client.files.read_throttle import ReadingStoppedError, ReadThrottle
from stablequeue_client.files.same_file import same_file
from stablequeue_client.index.digest_store import DigestStore
from stablequeue_client.index.index import Index
from stablequeue_client.index.rows import Key, PendingFile
from stablequeue_client.shared.errors import DataFolderError
from stablequeue_client.shared.model_files.model_file import FileState, StatKey
from stablequeue_client.shared.model_files.safetensors_header import allowed_metadata, base_model

logger = logging.getLogger(__name__)

RETRY_S: dict[FileState, float] = {"busy": 30.0, "unstable": 60.0, "unreadable": 600.0}
"""Seconds until a file that could not be read is tried again; a corrupt one waits for a change."""
RECHECK_S = 60.0
"""How long a file that differs from its index row waits for a scan before it is checked again."""
HEADER_FIRST_BYTES = 16 * 1024 * 1024
"""The header of such a file is looked at before any file is read: it may be hours until its turn comes."""
_IDLE_POLL_S = 1.0
LOCKED_RETRY_S = 1.0
"""How long until a file that another agent of this computer reads is tried again."""


@dataclass
class _DeviceQueue:
    """The files of one device that wait, and how many are being read. ``headers``: of large ones, first."""

    device: Device
    pace: ReadThrottle
    streams: int
    waiting: list[PendingFile] = field(default_factory=list)
    headers: deque[PendingFile] = field(default_factory=deque)
    active: int = 0
    threads: int = 0


class _FileProgress:
    """Bytes of one file in work. It counts with its size in the end, however often it was read."""

    def __init__(self, size: int, progress: ProgressTracker) -> None:
        self._size = size
        self._progress = progress
        self._count = 0

    @property
    def left(self) -> int:
        return max(0, self._size - self._count)

    def __call__(self, count: int) -> None:
        self._count += count
        self._progress.read(count)

    def settle(self) -> None:
        """The file has been dealt with."""
        self(self._size - self._count)


@dataclass(frozen=True)
class _Task:
    """A file in work. ``full``: its digests, else only its header. ``alone``: nothing else is read."""

    item: PendingFile
    work: _FileProgress
    full: bool
    alone: bool


class HashingPool:
    """Reading threads for one index. ``changed`` is called after a row was recorded, ``rescan`` (root id)
    when a file is not what the index thinks. ``failed`` is told what a reading thread could not do, and says
    whether it goes on."""

    def __init__(
        self,
        index: Index,
        store: DigestStore,
        policy: HashingPolicy,
        progress: ProgressTracker,
        *,
        changed: Callable[[], None],
        rescan: Callable[[str], None],
        failed: Callable[[BaseException], bool],
        network_rate: int,
        io: ScanIO,
        clock: Clock,
        stop: threading.Event,
        device: Callable[[str], Device] = device_of,
        devices: Mapping[str, Device] | None = None,
        locks: ReadingLocks | None = None,
        further_claims: FurtherClaims = no_further_claims,
    ) -> None:
        """``devices``: by root id, where it is known; ``device`` finds out the others."""
        self._device_of = device
        self._index = index
        self._store = store
        self._policy = policy
        self._progress = progress
        self._changed = changed
        self._rescan = rescan
        self._failed = failed
        self._network_rate = network_rate
        self._io = io
        self._clock = clock
        self._stop = stop
        self._condition = threading.Condition()
        self._queues: dict[Device, _DeviceQueue] = {}
        self._in_work: dict[Key, _FileProgress] = {}
        self._problems: set[Key] = set()
        self._out_of_date: dict[tuple[Key, StatKey], float] = {}
        self._headers_seen: set[tuple[Key, StatKey]] = set()
        self._devices: dict[str, Device] = dict(devices or {})
        self._locks = locks
        self._further_claims = further_claims
        self._locked_elsewhere: dict[Key, float] = {}
        self._refused: dict[Key, tuple[RefusedClaim, ...]] = {}

    # --- what is to be done ----------------------------------------------------------------------------

    def refresh(self) -> None:
        """Ask the index what is to be read; after a scan, and now and then for files to be tried again."""
        with self._condition:
            # Asked inside the lock: a file is in work until it is recorded, so none is taken up twice.
            pending = self._index.pending_hashes()
            for lane in self._queues.values():
                lane.waiting = []
                lane.headers.clear()
            waiting = [item for item in pending if self._is_waiting(item)]
            for item in waiting:
                lane = self._queue_of(item)
                lane.waiting.append(item)
                if item.stat.size >= HEADER_FIRST_BYTES:
                    lane.headers.append(item)
            files, size = self._left(waiting)
            self._progress.left(files, size)
            self._start_threads()
            self._condition.notify_all()

    def _is_waiting(self, item: PendingFile) -> bool:
        """Not in work, and not one that was out of place a moment ago."""
        key = (item.root_id, item.path)
        return (
            key not in self._in_work
            and self._out_of_date.get((key, item.stat), 0.0) <= self._clock.monotonic()
        )

    def _left(self, waiting: list[PendingFile]) -> tuple[int, int]:
        """Files and bytes still to be read, those in work and without those that failed just now."""
        todo = [item for item in waiting if (item.root_id, item.path) not in self._problems]
        size = sum(item.stat.size for item in todo) + sum(work.left for work in self._in_work.values())
        return len(todo) + len(self._in_work), size

    def done(self) -> bool:
        """Return whether everything that can be read has been read (problems are tried again later)."""
        with self._condition:
            waiting = (item for lane in self._queues.values() for item in lane.waiting)
            if self._in_work or any((item.root_id, item.path) not in self._problems for item in waiting):
                return False
            return not any(
                self._is_waiting(item) and (item.root_id, item.path) not in self._problems
                for item in self._index.pending_hashes()
            )

    def _queue_of(self, item: PendingFile) -> _DeviceQueue:
        device = self._devices.get(item.root_id)
        if device is None:
            device = self._devices[item.root_id] = self._device_of(item.native)
        if device not in self._queues:
            rate = float(self._network_rate) if device.kind == "network" and self._network_rate else None
            pace = ReadThrottle(rate, paused=self._policy.is_paused)
            self._queues[device] = _DeviceQueue(device, pace, usable_cores() if device.kind == "ssd" else 1)
        return self._queues[device]

    def _start_threads(self) -> None:
        for lane in self._queues.values():
            while lane.threads < min(lane.streams, len(lane.waiting)):
                lane.threads += 1
                threading.Thread(
                    target=self._work, args=(lane,), name="stablequeue-read", daemon=True
                ).start()

    def refused_claims(self) -> list[tuple[Key, str]]:
        """(file, why) of every claim seen by this process that is not believed."""
        with self._condition:
            return [(key, item.reason) for key, found in self._refused.items() for item in found]

    # --- one reading thread ----------------------------------------------------------------------------

    def _work(self, lane: _DeviceQueue) -> None:
        """Read files of one device until stopped."""
        try:
            while not self._stop.is_set():
                try:
                    task = self._next_task(lane)
                    if task is not None:
                        self._run_task(lane, task)
                except DataFolderError as error:
                    if not self._failed(error):
                        return
        except ReadingStoppedError:
            pass
        except BaseException as error:  # handed to the thread that watches over all
            self._failed(error)

    def _next_task(self, lane: _DeviceQueue) -> _Task | None:
        """The next file that may be read now; while none may be, one of which only the header is read.

        Waits a while when there is nothing.
        """
        with self._condition:
            now = self._clock.now()
            full = self._policy.may_read()
            self._progress.paused(not full)
            item = self._next_header(lane, now)
            if item is not None:
                full = False
            else:
                item = next((item for item in lane.waiting if self._is_due(item, now, full)), None)
            if item is None:
                self._condition.wait(self._wait_s(lane, now))
                return None
            if full:
                lane.waiting.remove(item)
            else:
                self._headers_seen.add(((item.root_id, item.path), item.stat))
            lane.active += 1
            work = self._in_work[item.root_id, item.path] = _FileProgress(item.stat.size, self._progress)
            alone = lane.streams == 1 or (lane.active == 1 and not lane.waiting)
            return _Task(item, work, full, alone)

    def _next_header(self, lane: _DeviceQueue, now: float) -> PendingFile | None:
        """The next large file of which nothing is known yet: its header goes before anybody's content."""
        while lane.headers:
            item = lane.headers.popleft()
            if self._is_due(item, now, False):
                return item
        return None

    def _is_due(self, item: PendingFile, now: float, full: bool) -> bool:
        key = (item.root_id, item.path)
        if item.not_before > now or key in self._in_work:
            return False
        if full and self._locked_elsewhere.get(key, 0.0) > self._clock.monotonic():
            return False
        return full or ((key, item.stat) not in self._headers_seen and not item.recheck)

    def _wait_s(self, lane: _DeviceQueue, now: float) -> float:
        soonest = min((item.not_before - now for item in lane.waiting), default=_IDLE_POLL_S)
        return min(max(soonest, 0.02), _IDLE_POLL_S)

    def _run_task(self, lane: _DeviceQueue, task: _Task) -> None:
        item = task.item
        mine = True
        try:
            if not self._is_unchanged(item):
                self._rescan(item.root_id)
            elif task.full:
                mine = self._read_alone(lane, task)
            else:
                self._look_at_header(item)
        finally:
            with self._condition:
                lane.active -= 1
                del self._in_work[item.root_id, item.path]
                if not mine:
                    self._locked_elsewhere[item.root_id, item.path] = self._clock.monotonic() + LOCKED_RETRY_S
                    lane.waiting.append(item)
        if task.full and mine:
            self._progress.file_done()
        self._changed()

    def _read_alone(self, lane: _DeviceQueue, task: _Task) -> bool:
        """Read the file unless another agent of this computer does so now; then False.

        What that one computes is in the store when the file's turn comes again.
        """
        with self._locks.held(task.item.native) if self._locks else nullcontext(True) as mine:
            if mine:
                self._record(task.item, self._read(lane, task))
                task.work.settle()
            return mine

    def _is_unchanged(self, item: PendingFile) -> bool:
        """Return whether the file is still what the index has. If not, it is left alone until a walk was
        there.

        What cannot be looked at is for the reading to tell.
        """
        try:
            found = self._io.stat(item.native)
        except FileNotFoundError:
            pass
        except OSError as error:
            logger.debug("%s", file_error(item.native, error))
            return True
        else:
            if same_file(stat_key(found, stable_inode=item.stat.inode != 0), item.stat):
                return True
        with self._condition:
            self._out_of_date[(item.root_id, item.path), item.stat] = self._clock.monotonic() + RECHECK_S
        return False

    def _look_at_header(self, item: PendingFile) -> None:
        """A broken file, and what header and sidecars claim, are told before a file is read in full."""
        reading = self._header(item)
        if reading.state == "corrupt":
            self._record(item, reading)
        elif reading.state == "unhashed" and not item.recheck:
            self._note_refused(item, reading)
            base = base_model(reading.header.metadata) if reading.header else None
            self._index.record_claims(item, reading.claims.claims, base_model=base)

    def _header(self, item: PendingFile) -> FileReading:
        return read_model_file(_job(item), digests=False, io=self._io, further_claims=self._further_claims)

    def _note_refused(self, item: PendingFile, reading: FileReading) -> None:
        with self._condition:
            self._refused.pop((item.root_id, item.path), None)
            if reading.claims.refused:
                self._refused[item.root_id, item.path] = reading.claims.refused

    def _read(self, lane: _DeviceQueue, task: _Task) -> FileReading:
        return self._from_digest_store(task.item) or read_model_file(
            _job(task.item),
            pace=lane.pace,
            progress=task.work,
            stop=self._stop.is_set,
            parallel=None if task.alone else False,
            io=self._io,
            further_claims=self._further_claims,
        )

    def _from_digest_store(self, item: PendingFile) -> FileReading | None:
        """Return what this machine computed of the file before, with its header and claims read anew."""
        if item.recheck:
            return None
        digests = self._store.get(item.native, item.stat)
        if digests is None or (item.want_payload and digests.payload_sha256 is None):
            return None
        reading = self._header(item)
        if reading.state != "unhashed" or reading.stat is None or not same_file(reading.stat, item.stat):
            return reading if reading.state == "corrupt" else None
        result = HashResult(digests, item.stat, 0, False)
        return completed(reading, result)

    def _record(self, item: PendingFile, reading: FileReading) -> None:
        key = (item.root_id, item.path)
        if reading.state == "ready" and reading.result is not None:
            metadata = allowed_metadata(reading.header.metadata) if reading.header else {}
            base = base_model(reading.header.metadata) if reading.header else None
            stored = self._index.record_hash(
                item, reading.result, metadata, reading.claims.claims, base_model=base
            )
            self._problems.discard(key)
            self._note_refused(item, reading)
            if stored and reading.result.bytes_read and not reading.result.racy:
                self._store.put(item.native, reading.result.stat, reading.result.digests)
            _tell_claims(item, reading)
        else:
            reason = reading.reason or "it cannot be read"
            stored = self._index.record_problem(
                item, reading.state, reason, retry_s=RETRY_S.get(reading.state, RECHECK_S)
            )
            self._problems.add(key)
            extra = {"action": "file_problem", "state": reading.state, "root": item.root_id}
            logger.warning("%s", reason, extra=extra)
        if not stored:
            self._rescan(item.root_id)


def _job(item: PendingFile) -> FileJob:
    return FileJob(item.native, item.kind, item.stat, item.path)


def _tell_claims(item: PendingFile, reading: FileReading) -> None:
    for contradiction in reading.contradictions:
        claim = contradiction.claim
        extra = {"action": "claim_contradicted", "root": item.root_id, "source": claim.source}
        logger.warning(
            "%s: %s says %s %s, but it is %s.",
            item.path, claim.source, claim.digest, claim.value, contradiction.computed, extra=extra,
        )  # fmt: skip
