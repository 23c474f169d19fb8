"""Sends the kept jobs to the hub, in order and each once: one thread, which waits as long as there are none.

It survives "Reload UI" and ends with the WebUI. The key of a job is its idempotency key, so what was sent
before an answer was lost is answered again and not queued again.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stablequeue_client.clock import SYSTEM_CLOCK
from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.hub_client.backoff import Backoff
from stablequeue_client.hub_client.connection import Timeouts
from stablequeue_client.hub_client.identity import FILE_NAME, Identity, load_identity
from stablequeue_client.hub_client.joining import OtherHubError
from stablequeue_client.hub_client.link import HubLink
from stablequeue_client.shared.errors import (
    ConflictError,
    DataFolderError,
    NotFoundError,
    StableQueueError,
    UsageError,
)
from stablequeue_client.webui.parts.states import KeptJob
from stablequeue_client.webui.submit.outbox import KeptJobs

logger = logging.getLogger(__name__)

TIMEOUTS = Timeouts(connect=5.0, read=30.0, total=300.0)
LOOK_S = 5.0
"""How soon it is noticed that this WebUI joined a hub."""
LONGEST_WAIT_S = 30.0
AFTER_FAULT_S = 30.0
REMEMBERED = 200
_TAKES_NOT = (UsageError, NotFoundError, ConflictError)
"""The hub will say the same of this job again; anything else can pass."""


@dataclass(frozen=True)
class Sent:
    """A job that the hub has. ``possible``: a server could make it now."""

    job_id: str
    count: int
    possible: bool


class Sender:
    """One per process. Any thread may call anything; nothing but the thread itself waits for the hub."""

    def __init__(
        self, server_dir: Path, kept: KeptJobs, connect: Callable[[Identity, Timeouts], HubApi]
    ) -> None:
        self._server_dir, self._kept, self._connect = server_dir, kept, connect
        self._link = HubLink(SYSTEM_CLOCK, Backoff(first_s=1.0, longest_s=LONGEST_WAIT_S))
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._stamp: tuple[int, int] | None = None
        self._identity: Identity | None = None
        self._api: HubApi | None = None
        self._greeted = False
        self._sent: OrderedDict[str, Sent] = OrderedDict()

    # --- called from other threads -----------------------------------------------------------------------

    def start(self) -> None:
        """Send what is there, and what will be. Returns at once; does nothing when it runs already."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="stablequeue-sender", daemon=True)
                self._thread.start()

    def look(self) -> None:
        """There is something to send, and somebody waits for it."""
        self._link.try_now()
        self._wake.set()

    def sent(self, key: str) -> Sent | None:
        """The job as the hub has it, if it was sent by this process and not long ago."""
        with self._lock:
            return self._sent.get(key)

    def trouble(self) -> StableQueueError | None:
        """Why the hub could not be reached the last time."""
        return self._link.state().problem

    # --- the thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            try:
                wait = self._turn()
            except Exception:
                logger.exception("StableQueue: jobs could not be sent; it is tried again.")
                wait = AFTER_FAULT_S
            self._wake.wait(wait)
            self._wake.clear()

    def _turn(self) -> float | None:
        """Send what waits; the seconds until the next try, None: until somebody says so."""
        waiting = [job for job in self._kept.all() if not job.refused]
        if not waiting:
            return None
        identity = self._joined()
        if identity is None:
            return LOOK_S
        wait = self._link.turn_in()
        if wait > 0:
            return min(wait, LOOK_S)
        for job in waiting:
            try:
                self._send(self._greeted_api(identity), job)
            except StableQueueError as error:
                self._greeted = False
                return min(self._link.failed(error), LONGEST_WAIT_S)
            self._link.succeeded()
        return 0.0

    def _send(self, api: HubApi, job: KeptJob) -> None:
        """Send one. Raises StableQueueError when it is to be sent again."""
        wanted = self._kept.read(job)
        if wanted is None:
            if job.path.exists():
                self._kept.refuse(job, "Its file is damaged. Queue it again.")
            return
        try:
            answer = api.submit_job(wanted)
        except _TAKES_NOT as error:
            self._kept.refuse(job, f"{error.message} {error.remedy}".strip())
            logger.info("StableQueue: the hub refused a job (%s).", error.code, extra={"action": "refused"})
            return
        ids = answer.get("job_ids") or [answer.get("job_id")]
        possible = bool((answer.get("check") or {}).get("possible"))
        with self._lock:
            self._sent[job.key] = Sent(str(answer.get("job_id")), len(ids), possible)
            while len(self._sent) > REMEMBERED:
                self._sent.popitem(last=False)
        self._kept.drop(job.key)
        logger.info("StableQueue: the hub has a job.", extra={"action": "job_sent"})

    # --- the hub -----------------------------------------------------------------------------------------

    def _joined(self) -> Identity | None:
        """Who we are at the hub; None before this server has joined one. Another one begins anew."""
        stamp = self._file_stamp()
        if stamp != self._stamp:
            self._stamp, self._greeted, self._identity = stamp, False, None
            if self._api is not None:
                self._api.close()
                self._api = None
            with suppress(DataFolderError):
                self._identity = load_identity(self._server_dir)
            self._link.try_now()
        identity = self._identity
        return identity if identity is not None and identity.hub_id is not None else None

    def _file_stamp(self) -> tuple[int, int]:
        try:
            found = (self._server_dir / FILE_NAME).stat()
        except OSError:
            return 0, 0
        return found.st_mtime_ns, found.st_ino

    def _greeted_api(self, identity: Identity) -> HubApi:
        """The key goes to the hub that was joined, and to no other."""
        if self._api is None:
            self._api = self._connect(identity, TIMEOUTS)
        if not self._greeted:
            if self._api.health().hub_id != identity.hub_id:
                raise OtherHubError
            self._greeted = True
        return self._api
