"""What runs now, and the wish for a new page."""

from __future__ import annotations

import threading


class State:
    def __init__(self) -> None:
        self.skipped = False
        self.interrupted = False
        self.stopping_generation = False
        self.job = ""
        self.job_no = 0
        self.job_count = 0
        self.sampling_step = 0
        self.sampling_steps = 0
        self._server_command_signal = threading.Event()
        self._server_command: str | None = None

    @property
    def server_command(self) -> str | None:
        return self._server_command

    @server_command.setter
    def server_command(self, value: str | None) -> None:
        self._server_command = value
        self._server_command_signal.set()

    def wait_for_server_command(self, timeout: float | None = None) -> str | None:
        if self._server_command_signal.wait(timeout):
            self._server_command_signal.clear()
            command, self._server_command = self._server_command, None
            return command
        return None

    def request_restart(self) -> None:
        self.interrupt()
        self.server_command = "restart"

    def skip(self) -> None:
        self.skipped = True

    def interrupt(self) -> None:
        self.interrupted = True

    def begin(self, job: str = "(unknown)") -> None:
        self.job = job
        self.job_no = 0
        self.job_count = -1
        self.skipped = False
        self.interrupted = False
        self.stopping_generation = False
        self.sampling_step = 0
        self.sampling_steps = 0

    def end(self) -> None:
        self.job = ""
        self.job_count = 0
