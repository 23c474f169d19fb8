"""Jobs on their way to the hub, kept on the disk until it has them, whatever ends meanwhile.

    queued/<milliseconds>-<key>.json      what is sent: a ``JobSubmission``; <key> is its idempotency key
    queued/<milliseconds>-<key>.refused   beside it once the hub said no: why

A file gets its name when it is whole, and goes once the hub has answered that it has the job. Readable by
this user only: there are prompts and pictures in it.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from stablequeue_client.hub_client.refused_here import (
    NO_REASON,
    QUEUED_FOLDER,
    REASON_MAX,
    REFUSED,
    reason_in,
)
from stablequeue_client.shared.atomic_file import write_private
from stablequeue_client.shared.errors import DataFolderError
from stablequeue_client.webui.parts.states import OutboxJob

_NAME = re.compile(r"([0-9]{13})-([0-9a-f]{32})\.json\Z")


class SubmissionOutbox:
    """The jobs of one WebUI. Any thread may call anything."""

    def __init__(self, server_dir: Path, now: Callable[[], float] = time.time) -> None:
        self._folder = server_dir / QUEUED_FOLDER
        self._now = now
        self._lock = threading.Lock()

    def keep(self, key: str, submission: dict[str, Any]) -> OutboxJob:
        """Store it, whole or not at all. Raises DataFolderError."""
        made_ms = int(self._now() * 1000)
        path = self._folder / f"{made_ms:013d}-{key}.json"
        body = msgspec.json.encode({**submission, "idempotency_key": key})
        try:
            write_private(path, body)
        except OSError as error:
            raise DataFolderError(
                f"The job could not be kept in {self._folder} ({error.strerror}).",
                remedy="Make room there, or make the folder writable, and queue it again.",
            ) from None
        return OutboxJob(key, made_ms, path)

    def all(self) -> list[OutboxJob]:
        """Oldest first. Raises nothing: what cannot be read is not there."""
        try:
            names = sorted(os.listdir(self._folder))
        except OSError:
            return []
        found = []
        for name in names:
            match = _NAME.match(name)
            if match:
                path = self._folder / name
                found.append(OutboxJob(match[2], int(match[1]), path, _refusal(path)))
        return found

    def read(self, job: OutboxJob) -> dict[str, Any] | None:
        """Return what is to be sent; None when the file is gone or damaged."""
        try:
            return msgspec.json.decode(job.path.read_bytes(), type=dict[str, Any])
        except (OSError, msgspec.DecodeError):
            return None

    def refuse(self, job: OutboxJob, reason: str) -> None:
        """Note why the hub does not take it. Where that cannot be written it is sent, and refused, again."""
        with self._lock:
            if job.path.exists():  # else somebody threw it away meanwhile
                try:
                    write_private(
                        job.path.with_suffix(REFUSED), reason[:REASON_MAX].encode("utf-8", "replace")
                    )
                except OSError:
                    return

    def send_again(self, key: str) -> bool:
        """Forget why it was refused; False when there is no such job."""
        job = self._of(key)
        if job is not None:
            job.path.with_suffix(REFUSED).unlink(missing_ok=True)
        return job is not None

    def drop(self, key: str) -> bool:
        """Remove it: the hub has it, or its owner threw it away. False when there is no such job."""
        with self._lock:
            job = self._of(key)
            if job is not None:
                job.path.unlink(missing_ok=True)
                job.path.with_suffix(REFUSED).unlink(missing_ok=True)
            return job is not None

    def _of(self, key: str) -> OutboxJob | None:
        return next((job for job in self.all() if job.key == key), None)


def _refusal(path: Path) -> str:
    said = path.with_suffix(REFUSED)
    return reason_in(said) or (NO_REASON if said.exists() else "")
