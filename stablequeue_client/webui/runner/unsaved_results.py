"""How long a WebUI whose surroundings kept a picture from being saved takes no jobs. Pure.

Trouble that can be seen, such as a full disk, ends when it is gone. After an error that cannot be seen
beforehand (another disk, a quota) it is tried again after 15 seconds, then after twice as long, up to ten
minutes.
"""

from __future__ import annotations

from stablequeue_client.shared.wire.runner import FinishRequest

FIRST_S = 15.0
LONGEST_S = 600.0


class UnsavedResults:
    """``text``: the error of the last job, if its picture could not be saved; "" else."""

    def __init__(self) -> None:
        self.text = ""
        self._seen = False
        self._pause_s = 0.0
        self._until = 0.0

    def record(self, finish: FinishRequest, now: float) -> None:
        """Note how a job ended."""
        if finish.fault != "surroundings":
            self._pause_s = 0.0 if finish.outcome == "done" else self._pause_s
            return
        self.text, self._seen = finish.text, False
        self._pause_s = min(LONGEST_S, max(FIRST_S, 2 * self._pause_s))
        self._until = now + self._pause_s

    def trouble(self, found: str, now: float) -> str:
        """Return what keeps it from taking jobs; ``found``: what can be seen now."""
        if found:
            self._seen = True
            return found
        if self.text and not self._seen and now < self._until:
            return self.text
        self.text, self._seen = "", False
        return ""
