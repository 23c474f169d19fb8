"""Read many model files: several at a time on an SSD, exactly one stream on every slow or network device."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue

from stablequeue_client.devices import Device, device_of
from stablequeue_client.hashing import Progress, Stop, usable_cores
from stablequeue_client.pacing import NETWORK_BYTES_PER_SECOND, Pace, ReadingStoppedError
from stablequeue_client.read_io import OS_IO, ScanIO
from stablequeue_client.reading import FileJob, FileReading, read_model_file


def default_pace(device: Device) -> Pace:
    """30 MB/s on network folders, no limit elsewhere."""
    return Pace(NETWORK_BYTES_PER_SECOND if device.kind == "network" else None)


def hash_many(
    jobs: Iterable[FileJob],
    *,
    pace_for: Callable[[Device], Pace] = default_pace,
    device_for: Callable[[str], Device] = device_of,
    progress: Progress | None = None,
    stop: Stop | None = None,
    cores: int | None = None,
    io: ScanIO = OS_IO,
) -> Iterator[tuple[FileJob, FileReading]]:
    """Yield each job with its reading, as they finish; each device's files are started in the given order.

    Ends early when ``stop()`` or when the generator is closed; jobs not yielded were not read to the end.
    ``progress`` is called from the reading threads with bytes just read. ``pace_for`` is asked once per
    device. An SSD is read by as many threads as there are ``cores``; a last single file, and every file
    of a one-stream device, spreads its digests over threads instead.
    """
    closed = threading.Event()

    def stopped() -> bool:
        return closed.is_set() or (stop is not None and stop())

    def read(job: FileJob, pace: Pace, parallel: bool) -> FileReading:
        return read_model_file(job, pace=pace, progress=progress, stop=stopped, parallel=parallel, io=io)

    done: SimpleQueue[_Done] = SimpleQueue()
    cores = cores or usable_cores()
    lanes = _lanes(jobs, device_for, pace_for, cores)
    threads = [
        threading.Thread(target=lane.work, args=(read, done, stopped), name="stablequeue-read", daemon=True)
        for lane in lanes
        for _ in range(lane.streams)
    ]
    for thread in threads:
        thread.start()
    try:
        yield from _results(done, len(threads))
    finally:
        closed.set()
        for thread in threads:
            thread.join()


_Done = tuple[FileJob, FileReading] | BaseException | None
"""A finished job, what ended a thread unexpectedly, or None: a thread has nothing left to do."""


class _Lane:
    """The files of one device and how many of them are read at once."""

    def __init__(self, pace: Pace, jobs: Iterable[FileJob], device: Device, cores: int) -> None:
        self._pace = pace
        self._jobs = deque(jobs)
        self._cores = cores
        self._active = 0
        self._lock = threading.Lock()
        self.streams = min(len(self._jobs), cores) if device.kind == "ssd" else 1
        self._one_stream = self.streams == 1

    def work(
        self,
        read: Callable[[FileJob, Pace, bool], FileReading],
        done: SimpleQueue[_Done],
        stopped: Stop,
    ) -> None:
        """Read files until none is left or a stop; the last thing put into ``done`` is None."""
        try:
            while not stopped() and (taken := self._take()) is not None:
                job, alone = taken
                try:
                    done.put((job, read(job, self._pace, alone)))
                finally:
                    with self._lock:
                        self._active -= 1
        except ReadingStoppedError:
            pass
        except BaseException as error:  # raised again in the thread that iterates
            done.put(error)
        done.put(None)

    def _take(self) -> tuple[FileJob, bool] | None:
        """The next file, and whether the other cores have nothing to do meanwhile."""
        with self._lock:
            if not self._jobs:
                return None
            self._active += 1
            job = self._jobs.popleft()
            return job, self._cores > 1 and (self._one_stream or (self._active == 1 and not self._jobs))


def _lanes(
    jobs: Iterable[FileJob],
    device_for: Callable[[str], Device],
    pace_for: Callable[[Device], Pace],
    cores: int,
) -> list[_Lane]:
    by_device: dict[Device, list[FileJob]] = {}
    for job in jobs:
        by_device.setdefault(device_for(job.native), []).append(job)
    return [_Lane(pace_for(device), found, device, cores) for device, found in by_device.items()]


def _results(done: SimpleQueue[_Done], threads: int) -> Iterator[tuple[FileJob, FileReading]]:
    while threads:
        item = done.get()
        if item is None:
            threads -= 1
        elif isinstance(item, BaseException):
            raise item
        else:
            yield item
