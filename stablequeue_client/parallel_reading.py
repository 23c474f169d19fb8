"""Read many model files: several at a time on an SSD, exactly one stream on every slow or network device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from stablequeue_client.devices import Device, device_of
from stablequeue_client.hashing import Progress, Stop
from stablequeue_client.pacing import NETWORK_BYTES_PER_SECOND, Pace
from stablequeue_client.read_io import OS_IO, ScanIO
from stablequeue_client.reading import FileJob, FileReading


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
    ``progress`` is called from the reading threads with bytes just read. ``pace_for`` is asked once per device.
    """
    raise NotImplementedError
    yield
