"""File events of local folders. A hint only: what counts is the next walk.

Network folders are not watched (inotify hears nothing of them). One thread per folder; it starts again
when the folder came back or another one is there now.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

from stablequeue_client.files.scanner import Root
from stablequeue_client.shared.wire.inventory import wire_path

logger = logging.getLogger(__name__)

POLL_S = 5.0
"""How often a watched folder is checked for being still the same."""
RETRY_S = 600.0
_STEP_MS = 200
_UNDECODABLE = "Unable to decode path"
"""What watchfiles says, instead of the event, of a name that is no UTF-8."""
_DEBOUNCE_MS = 800


class Watcher(threading.Thread):
    """Calls ``changed(root_id)`` soon after something happened in ``root``; ends with ``stop``."""

    def __init__(self, root: Root, changed: Callable[[str], None], stop: threading.Event) -> None:
        super().__init__(name="stablequeue-watch", daemon=True)
        self._root = root
        self._changed = changed
        self._stop_event = stop
        self.problem: str | None = None
        """Why events are not heard, in words; walks go on all the same."""

    def run(self) -> None:
        while not self._stop_event.is_set():
            identity = _identity(self._root.path)
            if identity is None:
                self._stop_event.wait(POLL_S)
                if _identity(self._root.path) is not None:
                    self._changed(self._root.root_id)
                continue
            try:
                self._watch(identity)
            except Exception as error:  # any failure of the hint is only told
                if _UNDECODABLE in str(error):
                    # An event all the same: of a file whose name is no UTF-8.
                    self._changed(self._root.root_id)
                    self._stop_event.wait(_DEBOUNCE_MS / 1000)
                    continue
                self._tell(error)
                self._stop_event.wait(RETRY_S)

    def _watch(self, identity: tuple[int, int]) -> None:
        """Pass events on until the folder at this path is another one, or none."""
        import watchfiles  # here: where it is broken the agent does without events

        events = watchfiles.watch(
            self._root.path,
            watch_filter=None,
            debounce=_DEBOUNCE_MS,
            step=_STEP_MS,
            stop_event=self._stop_event,
            rust_timeout=int(POLL_S * 1000),
            yield_on_timeout=True,
            raise_interrupt=False,
            force_polling=False,
            ignore_permission_denied=True,
        )
        for changes in events:
            same = _identity(self._root.path) == identity
            if changes or not same:
                self.problem = None
                self._changed(self._root.root_id)
            if not same:
                return

    def _tell(self, error: Exception) -> None:
        cause = wire_path(str(error) or type(error).__name__)[:200]
        self.problem = f"File events of {self._root.label} cannot be watched ({cause}); it is scanned hourly."
        extra = {"action": "watch_failed", "root": self._root.root_id}
        logger.warning(
            "%s If it is the watch limit, raise fs.inotify.max_user_watches or max_user_instances.",
            self.problem,
            extra=extra,
        )


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
