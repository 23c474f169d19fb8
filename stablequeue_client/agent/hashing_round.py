"""Read the files that the index wants read: per device as many at a time as it bears, in the index's order.

Every file is recorded by itself as soon as it is read, so a kill at any instant loses the work on the
files being read and nothing else.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from stablequeue_client.agent.clock import Clock
from stablequeue_client.agent.policy import HashingPolicy
from stablequeue_client.agent.progress import Progress
from stablequeue_client.devices import Device, device_of
from stablequeue_client.digest_store import DigestStore
from stablequeue_client.hashing import HashResult, usable_cores
from stablequeue_client.index import Index
from stablequeue_client.index_rows import Key, PendingFile
from stablequeue_client.model_files import FileState
from stablequeue_client.pacing import Pace, ReadingStoppedError
from stablequeue_client.read_io import ScanIO, file_error, stat_key
from stablequeue_client.reading import FileJob, FileReading, read_model_file
from stablequeue_client.safetensors_header import allowed_metadata, base_model

logger = logging.getLogger(__name__)

RETRY_S: dict[FileState, float] = {"busy": 30.0, "unstable": 60.0, "unreadable": 600.0}
"""Seconds until a file that could not be read is tried again; a corrupt one waits for a change."""
DATABASE_RETRY_S = 30.0
_IDLE_LOOK_S = 1.0


@dataclass
class _Lane:
    """The files of one device that wait, and how many are being read."""

    device: Device
    pace: Pace
    streams: int
    waiting: list[PendingFile] = field(default_factory=list)
    active: int = 0
    threads: int = 0


class HashingRound:
    """Reading threads for one index. ``changed`` is called after a row was recorded, ``rescan`` (root id)
    when a file is not what the index thinks."""

    def __init__(
        self,
        index: Index,
        store: DigestStore,
        policy: HashingPolicy,
        progress: Progress,
        *,
        changed: Callable[[], None],
        rescan: Callable[[str], None],
        failed: Callable[[BaseException], None],
        network_rate: int,
        io: ScanIO,
        clock: Clock,
        stop: threading.Event,
    ) -> None:
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
        self._lanes: dict[Device, _Lane] = {}
        self._in_work: dict[Key, _Reading] = {}
        self._problems: set[Key] = set()
        self._devices: dict[str, Device] = {}

    # --- what is to be done ----------------------------------------------------------------------------

    def refresh(self) -> None:
        """Ask the index what is to be read; after a scan, and now and then for files to be tried again."""
        pending = self._index.pending_hashes()
        with self._condition:
            for lane in self._lanes.values():
                lane.waiting = []
            waiting = [item for item in pending if (item.root_id, item.path) not in self._in_work]
            for item in waiting:
                self._lane_of(item).waiting.append(item)
            files, size = self._left(waiting)
            self._progress.left(files, size)
            self._start_threads()
            self._condition.notify_all()

    def _left(self, waiting: list[PendingFile]) -> tuple[int, int]:
        """Files and bytes still to be read, those in work and without those that failed just now."""
        todo = [item for item in waiting if (item.root_id, item.path) not in self._problems]
        size = sum(item.stat.size for item in todo) + sum(work.left for work in self._in_work.values())
        return len(todo) + len(self._in_work), size

    def done(self) -> bool:
        """Whether everything that can be read has been read (problems are tried again later)."""
        pending = self._index.pending_hashes()
        with self._condition:
            return not self._in_work and all((item.root_id, item.path) in self._problems for item in pending)

    def _lane_of(self, item: PendingFile) -> _Lane:
        device = self._devices.get(item.root_id)
        if device is None:
            device = self._devices[item.root_id] = device_of(item.native)
        if device not in self._lanes:
            rate = float(self._network_rate) if device.kind == "network" and self._network_rate else None
            pace = Pace(rate, paused=self._policy.is_paused)
            self._lanes[device] = _Lane(device, pace, usable_cores() if device.kind == "ssd" else 1)
        return self._lanes[device]

    def _start_threads(self) -> None:
        for lane in self._lanes.values():
            while lane.threads < min(lane.streams, len(lane.waiting)):
                lane.threads += 1
                threading.Thread(
                    target=self._work, args=(lane,), name="stablequeue-read", daemon=True
                ).start()

    # --- one reading thread ----------------------------------------------------------------------------

    def _work(self, lane: _Lane) -> None:
        """Read files of one device until stopped."""
        try:
            while not self._stop.is_set():
                taken = self._take(lane)
                if taken is not None:
                    self._read_taken(lane, *taken)
        except ReadingStoppedError:
            pass
        except BaseException as error:  # handed to the thread that watches over all
            self._failed(error)

    def _take(self, lane: _Lane) -> tuple[PendingFile, bool] | None:
        """The next file that may be read now, and whether nothing else is read meanwhile. Waits a while."""
        with self._condition:
            now = self._clock.now()
            ready = self._policy.may_read()
            self._progress.paused(not ready)
            item = next((item for item in lane.waiting if item.not_before <= now), None) if ready else None
            if item is None:
                self._condition.wait(self._patience(lane, now))
                return None
            lane.waiting.remove(item)
            lane.active += 1
            self._in_work[item.root_id, item.path] = _Reading(item.stat.size, self._progress)
            return item, lane.streams == 1 or (lane.active == 1 and not lane.waiting)

    def _patience(self, lane: _Lane, now: float) -> float:
        soonest = min((item.not_before - now for item in lane.waiting), default=_IDLE_LOOK_S)
        return min(max(soonest, 0.02), _IDLE_LOOK_S)

    def _read_taken(self, lane: _Lane, item: PendingFile, alone: bool) -> None:
        try:
            self._read(lane, item, alone)
        except ReadingStoppedError:
            raise
        finally:
            with self._condition:
                lane.active -= 1
                del self._in_work[item.root_id, item.path]
            self._progress.file_done()
        self._changed()

    def _read(self, lane: _Lane, item: PendingFile, alone: bool) -> None:
        if not self._unchanged(item):
            self._rescan(item.root_id)
            return
        counted = self._in_work[item.root_id, item.path]
        reading = self._known(item)
        if reading is None:
            reading = read_model_file(
                FileJob(item.native, item.kind, item.stat),
                pace=lane.pace,
                progress=counted,
                stop=self._stop.is_set,
                parallel=None if alone else False,
                io=self._io,
            )
        counted.settle()
        self._record(item, reading)

    def _unchanged(self, item: PendingFile) -> bool:
        """Whether the file is still what the index has; what cannot be looked at is for the reading to tell."""
        try:
            found = self._io.stat(item.native)
        except FileNotFoundError:
            return False
        except OSError as error:
            logger.debug("%s", file_error(item.native, error))
            return True
        return stat_key(found, stable_inode=item.stat.inode != 0) == item.stat

    def _known(self, item: PendingFile) -> FileReading | None:
        """What this machine computed of the file before, with its header and claims read anew."""
        if item.recheck:
            return None
        digests = self._store.get(item.native, item.stat)
        if digests is None or (item.want_payload and digests.payload_sha256 is None):
            return None
        reading = read_model_file(FileJob(item.native, item.kind, item.stat), digests=False, io=self._io)
        if reading.state != "unhashed" or reading.stat != item.stat:
            return reading if reading.state == "corrupt" else None
        result = HashResult(digests, item.stat, 0, False)
        return FileReading("ready", None, result, item.stat, reading.header, reading.note, reading.claims)

    def _record(self, item: PendingFile, reading: FileReading) -> None:
        key = (item.root_id, item.path)
        if reading.state == "ready" and reading.result is not None:
            metadata = allowed_metadata(reading.header.metadata) if reading.header else {}
            base = base_model(reading.header.metadata) if reading.header else None
            stored = self._index.record_hash(
                item, reading.result, metadata, reading.claims.claims, base_model=base
            )
            self._problems.discard(key)
            if stored and reading.result.bytes_read and not reading.result.racy:
                self._store.put(item.native, reading.result.stat, reading.result.digests)
            _tell_claims(item, reading)
        else:
            reason = reading.reason or "it cannot be read"
            stored = self._index.record_problem(
                item, reading.state, reason, retry_s=RETRY_S.get(reading.state, DATABASE_RETRY_S)
            )
            self._problems.add(key)
            extra = {"action": "file_problem", "state": reading.state, "root": item.root_id}
            logger.warning("%s", reason, extra=extra)
        if not stored:
            self._rescan(item.root_id)


class _Reading:
    """Bytes of one file in work. It counts with its size in the end, however often it was read."""

    def __init__(self, size: int, progress: Progress) -> None:
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


def _tell_claims(item: PendingFile, reading: FileReading) -> None:
    for contradiction in reading.contradictions:
        claim = contradiction.claim
        extra = {"action": "claim_contradicted", "root": item.root_id, "source": claim.source}
        logger.warning(
            "%s: %s says %s %s, but it is %s.",
            item.path, claim.source, claim.digest, claim.value, contradiction.computed, extra=extra,
        )  # fmt: skip
