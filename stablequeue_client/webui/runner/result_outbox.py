"""Results that the hub does not have yet: kept on the disk until it took them, whatever ends meanwhile.

    results/<job_id>-<fence>/result.json    whose, of which hub, and the last word of the run
                             0.png ...      the pictures, in order

A folder gets its name when it is whole. The fence in it proves the hand-over; when that does not count any
more, the hub says so and the result goes.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.shared.atomic_file import write_private
from stablequeue_client.shared.errors import (
    ConflictError,
    InvalidValueError,
    NotFoundError,
    StableQueueError,
    StaleRunError,
    TooLargeError,
)
from stablequeue_client.shared.wire.runner import FinishAnswer, FinishRequest

FOLDER = "results"
KEPT_S = 7 * 24 * 3600.0
"""The hub gave such a job to others long ago."""
_NAME = re.compile(r"[0-9A-Za-z-]{1,64}-[0-9]{1,16}\Z")
PERMANENT_REJECTIONS = (InvalidValueError, NotFoundError, TooLargeError, ConflictError)


class StoredResult(msgspec.Struct, frozen=True):
    """What ``result.json`` holds. ``pictures``: how many files lie beside it."""

    hub_id: str
    server_id: str
    pictures: int
    finish: FinishRequest


@dataclass(frozen=True)
class Delivery:
    """What became of a result. ``answer`` None: the hub did not take it, and ``text`` says why."""

    job_id: str
    answer: FinishAnswer | None
    text: str = ""


class ResultOutbox:
    """The results of one WebUI. For one thread."""

    def __init__(self, server_dir: Path, now: Callable[[], float] = time.time) -> None:
        self._folder = server_dir / FOLDER
        self._now = now

    def keep(self, result: StoredResult, pictures: Sequence[bytes]) -> None:
        """Store it, whole or not at all. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = f"{result.finish.job_id}-{result.finish.fence}"
        making = self._folder / f".{name}"
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(mode=0o700)
        for number, data in enumerate(pictures):
            write_private(making / f"{number}.png", data)
        write_private(making / "result.json", msgspec.json.encode(result))
        shutil.rmtree(self._folder / name, ignore_errors=True)
        os.replace(making, self._folder / name)

    def waiting(self) -> int:
        """Return how many results the hub does not have yet."""
        return sum(1 for _ in self._folders())

    def deliver(self, api: HubApi, hub_id: str, server_id: str) -> Iterator[Delivery]:
        """Bring each result to the hub. Raises StableQueueError when the hub cannot be reached or is busy."""
        for folder in list(self._folders()):
            kept = self._read(folder)
            if kept is None or self._now() - folder.stat().st_mtime > KEPT_S:
                shutil.rmtree(folder, ignore_errors=True)
            elif (kept.hub_id, kept.server_id) == (hub_id, server_id):
                delivered = self._deliver(api, folder, kept)
                shutil.rmtree(folder, ignore_errors=True)
                yield delivered

    def _deliver(self, api: HubApi, folder: Path, kept: StoredResult) -> Delivery:
        finish = kept.finish
        try:
            for number in range(kept.pictures):
                data = (folder / f"{number}.png").read_bytes()
                api.send_picture(kept.server_id, finish.job_id, finish.fence, number, data)
            return Delivery(finish.job_id, api.finish_job(kept.server_id, finish))
        except StaleRunError as error:
            return Delivery(finish.job_id, None, error.message)
        except PERMANENT_REJECTIONS as error:
            return self._give_up(api, kept, error)

    def _give_up(self, api: HubApi, kept: StoredResult, error: StableQueueError) -> Delivery:
        """The hub does not take these pictures: the run has failed."""
        text = f"The hub rejected the pictures: {error.message}"
        finish = msgspec.structs.replace(kept.finish, outcome="failed", pictures=[], loaded=[], text=text)
        try:
            return Delivery(finish.job_id, api.finish_job(kept.server_id, finish), text)
        except PERMANENT_REJECTIONS as again:
            return Delivery(finish.job_id, None, again.message)

    def _folders(self) -> Iterator[Path]:
        if not self._folder.is_dir():
            return
        for path in sorted(self._folder.iterdir(), key=lambda one: one.stat().st_mtime):
            if _NAME.match(path.name):
                yield path

    def _read(self, folder: Path) -> StoredResult | None:
        try:
            return msgspec.json.decode((folder / "result.json").read_bytes(), type=StoredResult)
        except (OSError, msgspec.DecodeError):
            return None
