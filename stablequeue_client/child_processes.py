"""The processes that ``up`` starts: watched, started again when they die, ended with it.

A child hears of its parent by ``STABLEQUEUE_PARENT`` (pid and start time) and ends when that is gone, so
that even ``kill -9`` of ``up`` leaves none behind. What a child prints goes to a log file of its own.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stablequeue_client.shared.errors import StableQueueError
from stablequeue_client.terminal_text import visible

FIRST_BACKOFF_S = 1.0
LONGEST_BACKOFF_S = 60.0
STABLE_AFTER_S = 60.0
"""A child that has lived this long starts its back-off anew."""
GRACE_S = 10.0
_TAIL_BYTES = 4096


@dataclass(frozen=True)
class ChildSpec:
    """How a child is started. ``environment`` is asked at each start: a join code may have expired.

    ``folder``: where it is started, None: here.
    """

    name: str
    words: Sequence[str]
    environment: Callable[[], Mapping[str, str]]
    log: Path
    folder: Path | None = None


class Child:
    """One process, and when it may be started again."""

    def __init__(self, plan: ChildSpec, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.plan = plan
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._wait_s = FIRST_BACKOFF_S
        self._not_before: float | None = None

    def start(self) -> None:
        """Start it; its log begins anew. Raises what the plan's ``environment`` raises."""
        environment = dict(self.plan.environment())
        self.plan.log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(self.plan.log, "wb") as log:
            self._process = subprocess.Popen(
                list(self.plan.words),
                env=environment,
                cwd=self.plan.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                **_own_group(),
            )
        self._started = self._clock()
        self._not_before = None

    def exit_code(self) -> int | None:
        """Return what it ended with; None while it runs or when it was never started."""
        return self._process.poll() if self._process else None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def supervise(self) -> str | None:
        """Start it again when it died and its wait is over; a sentence when that is to be told."""
        code = self.exit_code()
        if code is None:
            return None
        now = self._clock()
        if self._not_before is None:
            if now - self._started >= STABLE_AFTER_S:
                self._wait_s = FIRST_BACKOFF_S
            return f"{self.plan.name} {self._exit_text(code)}"
        if now < self._not_before:
            return None
        try:
            self.start()
        except StableQueueError as error:  # the hub that was to give a join code is down as well
            return f"{self.plan.name} {self._back_off(now)}: {visible(str(error))}"
        return None

    def _exit_text(self, code: int) -> str:
        again = self._back_off(self._clock())
        if code < 0 and not self._has_output():  # what a signal ends has no last words
            return f"was stopped from outside (signal {-code}) and {again}."
        return f"ended ({code}), {again}: {self.last_output()}"

    def _has_output(self) -> bool:
        try:
            return bool(self.plan.log.read_bytes().strip())
        except OSError:
            return False

    def _back_off(self, now: float) -> str:
        """Put the next start off, twice as long each time."""
        self._not_before = now + self._wait_s
        sentence = f"restarts in {self._wait_s:.0f} s"
        self._wait_s = min(2 * self._wait_s, LONGEST_BACKOFF_S)
        return sentence

    def last_output(self) -> str:
        """The last line it printed, and where the rest stands."""
        try:
            tail = self.plan.log.read_bytes()[-_TAIL_BYTES:].decode("utf-8", "replace").strip()
        except OSError:
            tail = ""
        last = visible(tail.splitlines()[-1]) if tail else "it printed nothing"
        return f"{last} (log: {self.plan.log})"

    def terminate(self) -> None:
        """SIGTERM; on Windows it is ended at once, which it must survive anyway."""
        if self._process and self._process.poll() is None:
            self._process.terminate()

    def kill_when_late(self, deadline: float) -> None:
        """Wait until the deadline of our clock, then kill it."""
        if self._process is None:
            return
        try:
            self._process.wait(max(0.1, deadline - self._clock()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def stop_all(children: Sequence[Child], *, clock: Callable[[], float] = time.monotonic) -> None:
    """End the children: all are asked, then waited for, then killed."""
    for child in children:
        child.terminate()
    deadline = clock() + GRACE_S
    for child in children:
        child.kill_when_late(deadline)


def _own_group() -> dict[str, Any]:
    """Ctrl-C on the terminal reaches ``up`` only, which ends its children in order."""
    if os.name == "nt":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}  # type: ignore[attr-defined,unused-ignore]
    return {"start_new_session": True}
