"""Signs of life for one job, from a thread of its own, so that nothing the host does holds them up."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.shared.errors import StableQueueError
from stablequeue_client.shared.wire.runner import RenewRequest

logger = logging.getLogger(__name__)

POLL_S = 0.5
PROGRESS_S = 1.0
"""So often progress is told while there is some."""
RETRY_S = 5.0
"""After a sign of life that did not arrive."""


class LeaseRenewal:
    """From ``start`` to ``end``. ``stop``: called once when the hub says that the job is not ours any more.

    ``progress``: of the generation, 0 to 1, or None. ``look``: called every half second.
    """

    def __init__(
        self,
        api: HubApi,
        server_id: str,
        job_id: str,
        fence: int,
        *,
        every_s: float,
        progress: Callable[[], float | None],
        look: Callable[[], None],
        stop: Callable[[], None],
    ) -> None:
        self._api = api
        self._server_id, self._job_id, self._fence = server_id, job_id, fence
        self._every_s = every_s
        self._progress, self._look, self._stop = progress, look, stop
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stablequeue-renewing", daemon=True)
        self.stopped = False

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """No sign of life any more. Waits a moment for one that is on its way."""
        self._over.set()
        self._thread.join(10.0)

    def _run(self) -> None:
        told: float | None = None
        told_at = time.monotonic()
        due = told_at + self._every_s
        while not self._over.wait(POLL_S):
            self._look()
            now, progress = time.monotonic(), self._progress()
            moved = progress is not None and (told is None or progress - told >= 0.01)
            if now >= due or (moved and now - told_at >= PROGRESS_S):
                arrived = self._renew(progress)
                told, told_at = progress, time.monotonic()
                due = told_at + (self._every_s if arrived else min(RETRY_S, self._every_s))
                if self.stopped:
                    break
        self._api.close()

    def _renew(self, progress: float | None) -> bool:
        """Return whether it arrived."""
        try:
            answer = self._api.renew_job(self._server_id, RenewRequest(self._job_id, self._fence, progress))
        except StableQueueError as error:
            extra = {"action": "renew_failed", "code": error.code}
            logger.info("A lease renewal did not reach the hub: %s", error.message, extra=extra)
            return False
        if answer.stop:
            self.stopped = True
            self._stop()
        return True
