"""Results that the hub does not have yet: kept on the disk until it took them, whatever ends meanwhile.

    results/<job_id>-<fence>/result.json    whose, of which hub, and the last word of the run
                             0.png ...      the pictures, in order
    results/<job_id>-<fence>.refused/       the same, set aside for its owner: it was refused, and why

A folder gets its name when it is whole. The fence in it proves the hand-over; when that does not count any
more, the hub says so and the result goes. A result that does not get through holds up no other.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.hub_client.item_retries import ItemRetries
from stablequeue_client.hub_client.joined_connection import Fault, refusal_text
from stablequeue_client.hub_client.refused_here import (
    REASON_MAX,
    REASON_NAME,
    REFUSED,
    RESULTS_FOLDER,
    refused_results,
)
from stablequeue_client.shared.atomic_file import write_private
from stablequeue_client.shared.errors import StableQueueError, StaleRunError
from stablequeue_client.shared.wire.runner import TEXT_MAX, FinishAnswer, FinishRequest

logger = logging.getLogger(__name__)

KEPT_S = 7 * 24 * 3600.0
"""The hub gave such a job to others long ago."""
RETRY_FIRST_S, RETRY_LONGEST_S = 2.0, 600.0
"""After a failure of one result alone."""
TRIES = 5
"""So often pictures are sent that get no answer; until then the server is busy with the job for the hub."""
_NAME = re.compile(r"[0-9A-Za-z-]{1,64}-[0-9]{1,16}\Z")


class StoredResult(msgspec.Struct, frozen=True):
    """What ``result.json`` holds. ``pictures``: how many files lie beside it."""

    hub_id: str
    server_id: str
    pictures: int
    finish: FinishRequest


@dataclass(frozen=True)
class Delivery:
    """What became of a result. ``answer`` None: the hub did not take it, and ``text`` says why. ``refused``:
    its pictures did not get there."""

    job_id: str
    answer: FinishAnswer | None
    text: str = ""
    refused: bool = False


class ResultOutbox:
    """The results of one WebUI. For one thread."""

    def __init__(self, server_dir: Path, now: Callable[[], float] = time.time) -> None:
        self._server_dir, self._folder = server_dir, server_dir / RESULTS_FOLDER
        self._now = now
        self._retries = ItemRetries(first_s=RETRY_FIRST_S, longest_s=RETRY_LONGEST_S)

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

    def holds(self, job_id: str, fence: int) -> bool:
        """Whether the result of this run waits here."""
        return (self._folder / f"{job_id}-{fence}").is_dir()

    def deliver(
        self, api: HubApi, hub_id: str, server_id: str, fault_of: Callable[[StableQueueError], Fault]
    ) -> Iterator[Delivery]:
        """Bring each result to the hub that may be tried now. ``fault_of``: ``JoinedConnection.fault``.
        Raises StableQueueError when nothing gets through."""
        self._drop_old()
        folders = list(self._folders())
        self._retries.keep_only({folder.name for folder in folders})
        for folder in folders:
            kept = self._read(folder)
            if kept is None:
                shutil.rmtree(folder, ignore_errors=True)
                continue
            mine = (kept.hub_id, kept.server_id) == (hub_id, server_id)
            if not mine or not self._retries.due(folder.name):
                continue
            try:
                delivered = self._deliver(api, folder, kept, fault_of)
            except StableQueueError as error:
                if fault_of(error) == "hub":
                    raise
                extra = {"action": "result_retried", "code": error.code}
                logger.warning("A result did not get to the hub and is tried again: %s", error, extra=extra)
                self._retries.failed(folder.name)
                continue
            if delivered.refused:
                self._set_aside(folder, delivered.text)
            else:
                shutil.rmtree(folder, ignore_errors=True)
            yield delivered

    def _deliver(
        self, api: HubApi, folder: Path, kept: StoredResult, fault_of: Callable[[StableQueueError], Fault]
    ) -> Delivery:
        finish = kept.finish
        try:
            pictures = [(folder / f"{number}.png").read_bytes() for number in range(kept.pictures)]
        except OSError as error:
            return self._give_up(api, kept, f"They cannot be read ({error.strerror}).", fault_of)
        try:
            for number, data in enumerate(pictures):
                api.send_picture(kept.server_id, finish.job_id, finish.fence, number, data)
            return Delivery(finish.job_id, api.finish_job(kept.server_id, finish))
        except StaleRunError as error:
            return Delivery(finish.job_id, None, error.message)
        except StableQueueError as error:
            fault = fault_of(error)
            if fault == "hub" or (fault == "later" and self._retries.failures(folder.name) < TRIES - 1):
                raise
            return self._give_up(api, kept, refusal_text(error), fault_of)

    def _give_up(
        self, api: HubApi, kept: StoredResult, why: str, fault_of: Callable[[StableQueueError], Fault]
    ) -> Delivery:
        """These pictures do not get to the hub: the run has failed."""
        text = f"The pictures did not get to the hub: {why}"[:TEXT_MAX]
        finish = msgspec.structs.replace(kept.finish, outcome="failed", pictures=[], loaded=[], text=text)
        try:
            return Delivery(finish.job_id, api.finish_job(kept.server_id, finish), text, refused=True)
        except StableQueueError as error:
            if fault_of(error) != "refused":
                raise
            return Delivery(finish.job_id, None, text, refused=True)

    def _set_aside(self, folder: Path, why: str) -> None:
        """Out of the way, with the reason; where that cannot be written, the pictures alone."""
        with suppress(OSError):
            write_private(folder / REASON_NAME, why[:REASON_MAX].encode("utf-8", "replace"))
        aside = folder.with_name(folder.name + REFUSED)
        shutil.rmtree(aside, ignore_errors=True)
        try:
            os.replace(folder, aside)
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)

    def _drop_old(self) -> None:
        for folder in [*self._folders(), *(one.folder for one in refused_results(self._server_dir))]:
            with suppress(OSError):
                if self._now() - folder.stat().st_mtime > KEPT_S:
                    shutil.rmtree(folder, ignore_errors=True)

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
