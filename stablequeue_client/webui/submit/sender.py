"""Sends the kept jobs to the hub, in order and each once: one thread, which waits as long as there are none.
A job that does not get through holds up no other: refused, it stays here with the reason; else it is tried
again.

It survives "Reload UI" and ends with the WebUI. The key of a job is its idempotency key, so what was sent
before an answer was lost is answered again and not queued again.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from stablequeue_client.clock import SYSTEM_CLOCK
from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.hub_client.backoff import Backoff
from stablequeue_client.hub_client.connection import Timeouts
from stablequeue_client.hub_client.identity import Identity
from stablequeue_client.hub_client.item_retries import ItemRetries
from stablequeue_client.hub_client.joined_connection import (
    Connect,
    JoinedConnection,
    PerIdentityCache,
    refusal_text,
)
from stablequeue_client.hub_client.link import HubLink
from stablequeue_client.shared.errors import StableQueueError
from stablequeue_client.webui.parts.states import OutboxJob
from stablequeue_client.webui.submit.outbox import SubmissionOutbox

logger = logging.getLogger(__name__)

TIMEOUTS = Timeouts(connect=5.0, read=30.0, total=300.0)
POLL_S = 5.0
"""How soon it is noticed that this WebUI joined a hub."""
LONGEST_WAIT_S = 30.0
AFTER_FAULT_S = 30.0
RETRY_FIRST_S, RETRY_LONGEST_S = 5.0, 600.0
"""After a failure of one job alone."""
SENT_MAX = 200


@dataclass(frozen=True)
class SentJob:
    """A job that the hub has. ``possible``: a server could make it now."""

    job_id: str
    count: int
    possible: bool


class Sender:
    """One per process. Any thread may call anything; nothing but the thread itself waits for the hub."""

    def __init__(self, server_dir: Path, kept: SubmissionOutbox, connect: Connect) -> None:
        self._kept, self._connect = kept, connect
        self._server = PerIdentityCache(server_dir, self._connection)
        self._link = HubLink(SYSTEM_CLOCK, Backoff(first_s=1.0, longest_s=LONGEST_WAIT_S))
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._sent: OrderedDict[str, SentJob] = OrderedDict()
        self._retries = ItemRetries(first_s=RETRY_FIRST_S, longest_s=RETRY_LONGEST_S)
        self._job_problem: StableQueueError | None = None

    # --- called from other threads -----------------------------------------------------------------------

    def start(self) -> None:
        """Send what is there, and what will be. Returns at once; does nothing when it runs already."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="stablequeue-sender", daemon=True)
                self._thread.start()

    def wake(self) -> None:
        """There is something to send, and somebody waits for it."""
        self._link.try_now()
        self._wake.set()

    def sent(self, key: str) -> SentJob | None:
        """The job as the hub has it, if it was sent by this process and not long ago."""
        with self._lock:
            return self._sent.get(key)

    def problem(self) -> StableQueueError | None:
        """Return why the hub could not be reached the last time, or did not get a job that is tried again."""
        return self._link.state().problem or self._job_problem

    # --- the thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            try:
                wait = self._turn()
            except Exception:
                logger.exception("StableQueue: jobs could not be sent; retrying.")
                wait = AFTER_FAULT_S
            self._wake.wait(wait)
            self._wake.clear()

    def _turn(self) -> float | None:
        """Send what waits; the seconds until the next try, None: until somebody says so."""
        waiting = [job for job in self._kept.all() if not job.refused]
        if not waiting:
            return None
        connection = self._server.current()
        if connection is None or connection.identity.hub_id is None:
            return POLL_S
        wait = self._link.retry_in()
        if wait > 0:
            return min(wait, POLL_S)
        self._retries.keep_only({job.key for job in waiting})
        try:
            api = connection.hub()
        except StableQueueError as error:
            return min(connection.failed(error), LONGEST_WAIT_S)
        self._job_problem = None
        for job in waiting:
            if not self._retries.due(job.key):
                continue
            try:
                self._send(api, job)
            except StableQueueError as error:
                fault = connection.fault(error)
                if fault == "hub":
                    return min(connection.failed(error), LONGEST_WAIT_S)
                if fault == "refused":
                    self._refused(job, error)
                else:
                    self._job_problem = error
                    self._retries.failed(job.key)
            self._link.succeeded()
        return self._retries.next_due_s() or 0.0

    def _connection(self, identity: Identity) -> JoinedConnection:
        self._link.try_now()
        return JoinedConnection(identity, self._connect, TIMEOUTS, self._link)

    def _send(self, api: HubApi, job: OutboxJob) -> None:
        """Send one. Raises StableQueueError when the hub did not take it."""
        wanted = self._kept.read(job)
        if wanted is None:
            if job.path.exists():
                self._kept.refuse(job, "Its file is damaged. Queue it again.")
            return
        answer = api.submit_job(wanted)
        ids = answer.get("job_ids") or [answer.get("job_id")]
        possible = bool((answer.get("check") or {}).get("possible"))
        with self._lock:
            self._sent[job.key] = SentJob(str(answer.get("job_id")), len(ids), possible)
            while len(self._sent) > SENT_MAX:
                self._sent.popitem(last=False)
        self._kept.drop(job.key)
        logger.info("StableQueue: the hub has a job.", extra={"action": "job_sent"})

    def _refused(self, job: OutboxJob, error: StableQueueError) -> None:
        self._kept.refuse(job, refusal_text(error))
        logger.info("StableQueue: a job was refused (%s).", error.code, extra={"action": "refused"})
