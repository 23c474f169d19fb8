"""What a WebUI does with this computer's hub, shown by its other WebUIs too (``own_hub_progress.json``)."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Literal

import msgspec
import psutil

from stablequeue_client.shared.atomic_file import write_private
from stablequeue_client.shared.parent_process import ParentProcess, is_alive

FILE_NAME = "own_hub_progress.json"
WRITTEN_EVERY_S = 0.5


class SharedStep(msgspec.Struct, frozen=True):
    """``pid`` and ``started``: the process that is at it; without it this is not true any more."""

    phase: Literal["building", "starting"]
    words: str
    done: int
    total: int
    pid: int
    started: float


class SharedProgress:
    """Our step, kept in memory and written now and then."""

    def __init__(self, machine_dir: Path) -> None:
        self._path = machine_dir / FILE_NAME
        self._step: SharedStep | None = None
        self._written = 0.0

    def wait(self, words: str) -> None:
        """We wait for another WebUI; what that one wrote stays."""
        self._step = SharedStep("starting", words, 0, 100, os.getpid(), psutil.Process().create_time())

    def say(self, phase: Literal["building", "starting"], words: str, done: int, total: int) -> None:
        """``done`` of ``total`` is a share of the whole work."""
        before, now = self._step, time.monotonic()
        self._step = SharedStep(phase, words, done, total, os.getpid(), psutil.Process().create_time())
        if before is None or before.phase != phase or now - self._written > WRITTEN_EVERY_S:
            self._written = now
            with contextlib.suppress(OSError):  # only others miss it
                write_private(self._path, msgspec.json.encode(self._step))

    def end(self) -> None:
        self._step = None
        written = self._read()
        if written is not None and written.pid == os.getpid():
            with contextlib.suppress(OSError):
                self._path.unlink()

    def mine(self, busy: bool) -> SharedStep | None:
        """Our own step while we are at it, else that of another living process."""
        if busy:
            return self._step
        step = self._read()
        if step is None or step.pid == os.getpid():
            return None
        return step if is_alive(ParentProcess(step.pid, step.started)) else None

    def _read(self) -> SharedStep | None:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=SharedStep)
        except (OSError, msgspec.DecodeError):
            return None
