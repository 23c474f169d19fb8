"""The runner: one thread that asks the hub for jobs, does them, and brings the results.

It survives "Reload UI" and ends with the WebUI. While somebody generates it asks for nothing, and while it
waits it is one request that sleeps. A hub that is away costs nothing either: results wait on the disk.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from stablequeue_client.clock import SYSTEM_CLOCK
from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.hub_client.backoff import Backoff
from stablequeue_client.hub_client.connection import Timeouts
from stablequeue_client.hub_client.identity import Identity
from stablequeue_client.hub_client.joined_connection import Connect, JoinedConnection, PerIdentityCache
from stablequeue_client.hub_client.link import HubLink
from stablequeue_client.hub_client.patience import Patience
from stablequeue_client.index.snapshot import IndexReader, Snapshot
from stablequeue_client.shared.errors import StableQueueError, StaleRunError
from stablequeue_client.shared.wire.inventory import ServerCapabilities, WorksForOthers
from stablequeue_client.shared.wire.runner import (
    NEXT_WAIT_MAX_S,
    TEXT_MAX,
    TRACEBACK_MAX,
    Assignment,
    FinishRequest,
    NextRequest,
    RefuseRequest,
)
from stablequeue_client.webui.host.models import LoadedModels
from stablequeue_client.webui.parts.states import CurrentJob, RunnerMessage, RunnerStatus
from stablequeue_client.webui.runner import job_run
from stablequeue_client.webui.runner.availability import NOT_NOW_S, Usage, permission
from stablequeue_client.webui.runner.file_check import same_path
from stablequeue_client.webui.runner.job_run import JobRun, RunResult
from stablequeue_client.webui.runner.lease_renewal import LeaseRenewal
from stablequeue_client.webui.runner.refusal import Refusal
from stablequeue_client.webui.runner.result_outbox import ResultOutbox, StoredResult
from stablequeue_client.webui.runner.run_faults import disk_text
from stablequeue_client.webui.runner.unsaved_results import UnsavedResults

logger = logging.getLogger(__name__)

POLL_S = 1.0
NO_HUB_S = 5.0
TROUBLE_WAIT_S = 5.0
"""How soon it is looked again whether pictures can be saved."""
LONGEST_WAIT_S = 60.0
AFTER_FAULT_S = 30.0
RESULT_WAIT_S = 2.0
LOCK_WAIT_S = 30.0
"""A job is not kept waiting longer than this for somebody who generates meanwhile."""
NOT_NOW_NAME = "not_now"
MESSAGES_MAX = 20
TIMEOUTS = Timeouts(connect=5.0, read=15.0, sync=60.0, total=120.0)
RENEW_TIMEOUTS = Timeouts(connect=3.0, read=5.0, total=8.0)


class RunnerHost(job_run.JobHost, Protocol):
    """``job_run.JobHost``, and what is asked between its turns."""

    def interrupt(self) -> None: ...
    def progress(self) -> float | None: ...
    def notice(self) -> None: ...
    def trouble(self, *, failed: bool) -> OSError | None: ...


@dataclass(frozen=True)
class RunnerContext:
    """What the runner is given. All of it may be called from its threads."""

    host: RunnerHost
    server_dir: Path
    models: IndexReader
    works_for_others: Callable[[], WorksForOthers]
    capabilities: Callable[[], ServerCapabilities]
    is_generating: Callable[[], bool]
    """By anybody, us included."""
    is_up: Callable[[], bool]
    """The WebUI's page is there."""
    connect: Connect


class Runner:
    """One per process. Any thread may call anything; nothing but the thread itself blocks."""

    def __init__(
        self, context: RunnerContext, *, look_s: float = POLL_S, lock_wait_s: float = LOCK_WAIT_S
    ) -> None:
        self._context = context
        self._look_s, self._lock_wait_s = look_s, lock_wait_s
        self._outbox = ResultOutbox(context.server_dir)
        self._runner_id = secrets.token_hex(16)
        self._link = HubLink(SYSTEM_CLOCK, Backoff(first_s=2.0, longest_s=LONGEST_WAIT_S))
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._patience = Patience(NEXT_WAIT_MAX_S)
        self._server = PerIdentityCache(context.server_dir, self._connection)
        self._working: CurrentJob | None = None
        self._stop_job = threading.Event()
        self._not_now_until = self._stored_not_now()
        self._used = time.monotonic()
        self._unsaved = UnsavedResults()
        self._messages: deque[RunnerMessage] = deque(maxlen=MESSAGES_MAX)
        self._results = 0

    # --- called from other threads ---------------------------------------------------------------------

    def start(self) -> None:
        """Ask for jobs from now on. Returns at once; does nothing when it runs already."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="stablequeue-runner", daemon=True)
                self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Ask for no more jobs. The one under way is given back."""
        self._over.set()
        self._give_back()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def state(self) -> RunnerStatus:
        """Return how it stands; costs nothing."""
        working = self._working
        if working is not None:
            working = replace(working, progress=self._context.host.progress())
        left = self._not_now_until - time.time()
        return RunnerStatus(
            working=working,
            works_for_others=self._context.works_for_others(),
            not_now_until_ms=int(self._not_now_until * 1000) if left > 0 else None,
            results=self._results,
            told=tuple(self._messages),
        )

    def note_use(self) -> None:
        """Somebody uses this WebUI now."""
        self._used = time.monotonic()

    def note_generating(self, generating: bool) -> None:
        """As ``note_use``, when it is not our own job that generates."""
        if generating and self._working is None:
            self.note_use()

    def not_now(self) -> None:
        """No jobs from others for an hour; the one of somebody else that is under way goes back."""
        self._not_now_until = time.time() + NOT_NOW_S
        self._store_not_now()
        working = self._working
        if working is not None and not working.own:
            self._give_back()
        self._report("Not now: no jobs from others for an hour.")

    def resume_helping(self) -> None:
        """The hour is over."""
        self._not_now_until = 0.0
        self._store_not_now()
        self._wake.set()

    # --- the thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                wait = self._turn()
            except Exception:
                logger.exception("StableQueue: the runner failed; it retries.")
                wait = AFTER_FAULT_S
            self._wake.wait(wait)
            self._wake.clear()

    def _turn(self) -> float:
        """One look; the seconds until the next."""
        connection = self._server.current()
        if connection is None or connection.identity.hub_id is None:
            return NO_HUB_S
        if not self._context.is_up():
            return self._look_s
        may = permission(self._usage())
        self._results = self._outbox.waiting()
        if not may.poll and not self._results:
            return self._look_s
        wait = self._link.retry_in()
        if wait > 0:
            return min(wait, NO_HUB_S)
        try:
            connection.hub()
            self._deliver(connection)
            job = None
            if may.poll:
                job = self._poll(connection, others=may.others)
            self._link.succeeded()
            if job is not None and self._outbox.holds(job.job_id, job.fence):
                return RESULT_WAIT_S  # the hub offers it again, as long as it does not have the result
            if job is not None and not self._over.is_set():
                self._work(connection, job)
                self._results = self._outbox.waiting()
        except StableQueueError as error:
            return min(connection.failed(error), NO_HUB_S)
        return 0.0 if may.poll else self._look_s

    def _poll(self, connection: JoinedConnection, *, others: bool) -> Assignment | None:
        """Wait for a job; None as well when a proxy ended the wait."""
        trouble = self._trouble()
        wait_s = min(self._patience.wait_s, TROUBLE_WAIT_S) if trouble else self._patience.wait_s
        wanted = NextRequest(self._runner_id, others, self._loaded_sha256(), wait_s, trouble[:TEXT_MAX])
        try:
            return connection.hub().next_job(connection.identity.server_id, wanted)
        except StableQueueError as error:
            if self._patience.shorten(error) and connection.fault(error) == "later":
                return None
            raise

    def _usage(self) -> Usage:
        return Usage(
            generating=self._context.is_generating(),
            unused_s=time.monotonic() - self._used,
            works_for_others=self._context.works_for_others(),
            not_now_s=max(0.0, self._not_now_until - time.time()),
        )

    # --- the hub ---------------------------------------------------------------------------------------

    def _connection(self, identity: Identity) -> JoinedConnection:
        self._link.try_now()
        return JoinedConnection(identity, self._context.connect, TIMEOUTS, self._link)

    def _deliver(self, connection: JoinedConnection) -> None:
        identity = connection.identity
        hub_id, server_id = identity.hub_id or "", identity.server_id
        for one in self._outbox.deliver(connection.hub(), hub_id, server_id, connection.fault):
            if one.answer is None:
                self._report(f"The hub did not accept a finished job: {one.text}")
            elif one.answer.state == "completed":
                self._report("A job is done, and the hub has its pictures.")
            else:
                self._report(f"A job ended as {one.answer.state}. {one.text}".strip())
            self._results = self._outbox.waiting()

    # --- one job ---------------------------------------------------------------------------------------

    def _work(self, connection: JoinedConnection, job: Assignment) -> None:
        api, identity = connection.hub(), connection.identity
        self._stop_job.clear()
        # Its question may have waited at the hub since before somebody pressed Generate here.
        if not job.own and not permission(self._usage()).others:
            self._refuse(api, identity, job, Refusal("busy", job_run.BUSY))
            return
        self._working = CurrentJob(job.job_id, job.name, job.submitter, job.own, int(time.time() * 1000))
        renewing = self._lease_renewal(identity, job)
        renewing.start()
        try:
            result = self._do(job)
            if isinstance(result, RunResult) and not renewing.stopped:
                self._unsaved.record(result.finish, time.monotonic())
                self._keep(api, identity, result)
        finally:
            renewing.end()
            self._working = None
        if renewing.stopped:
            self._report("A job was stopped: it was cancelled, or given to another server.")
        elif isinstance(result, Refusal):
            self._refuse(api, identity, job, result)
        self._deliver(connection)

    def _do(self, job: Assignment) -> RunResult | Refusal:
        try:
            return self._job_run(job).run()
        except Exception as error:  # of the host, or ours: the hub must hear of it either way
            logger.exception("StableQueue: a job failed before or after its generation.")
            text = f"The WebUI failed: {type(error).__name__}. Its log has more."
            trace = traceback.format_exc()[-TRACEBACK_MAX:].encode("utf-8", "replace").decode()
            return RunResult(FinishRequest(job.job_id, job.fence, "failed", text=text, traceback=trace))

    def _job_run(self, job: Assignment) -> JobRun:
        until = time.monotonic() + self._lock_wait_s
        return JobRun(
            job,
            self._context.host,
            self._context.capabilities,
            self._fresh_snapshot,
            may_go_on=lambda: not self._stop_job.is_set(),
            waits_too_long=lambda: time.monotonic() > until,
        )

    def _fresh_snapshot(self) -> Snapshot:
        self._context.models.refresh(max_age_s=0.0)
        return self._context.models.snapshot

    def _lease_renewal(self, identity: Identity, job: Assignment) -> LeaseRenewal:
        return LeaseRenewal(
            self._context.connect(identity, RENEW_TIMEOUTS),
            identity.server_id,
            job.job_id,
            job.fence,
            every_s=job.renew_s,
            progress=self._context.host.progress,
            look=self._context.host.notice,
            stop=self._give_back,
        )

    def _give_back(self) -> None:
        """Stop the job under way."""
        self._stop_job.set()
        if self._working is not None:
            self._context.host.interrupt()

    def _keep(self, api: HubApi, identity: Identity, result: RunResult) -> None:
        """On the disk until the hub has it. Where the disk is full the hub gets it at once, or never."""
        kept = StoredResult(identity.hub_id or "", identity.server_id, len(result.pictures), result.finish)
        try:
            self._outbox.keep(kept, result.pictures)
        except OSError as error:
            self._report(f"A result could not be stored on disk: {error.strerror}.")
            job_id, fence = result.finish.job_id, result.finish.fence
            for number, data in enumerate(result.pictures):
                api.send_picture(identity.server_id, job_id, fence, number, data)
            api.finish_job(identity.server_id, result.finish)

    def _refuse(self, api: HubApi, identity: Identity, job: Assignment, why: Refusal) -> None:
        if why.root:
            with suppress(StableQueueError):
                self._context.models.order("rescan", root=why.root)
        said = RefuseRequest(job.job_id, job.fence, why.code, why.text[:TEXT_MAX], why.requirement)
        with suppress(StaleRunError):
            api.refuse_job(identity.server_id, said)
        self._report(f"A job was returned: {why.text}")

    # --- small things ----------------------------------------------------------------------------------

    def _loaded_sha256(self) -> str | None:
        """The content of the checkpoint in memory, as far as the index knows it: it saves switches."""
        path = self._memory().checkpoint
        if not path:
            return None
        snapshot = self._context.models.snapshot
        base = path.replace("\\", "/").rsplit("/", 1)[-1]
        for row in self._context.models.find("checkpoint", base):
            root = next((one for one in snapshot.roots if one.root_id == row.root_id), None)
            if root is not None and same_path(f"{root.path_on_disk}/{row.path}", path):
                return row.sha256
        return None

    def _memory(self) -> LoadedModels:
        try:
            return self._context.host.memory()
        except Exception:  # it loads or unloads one at this moment
            return LoadedModels()

    def _trouble(self) -> str:
        """What keeps the host from saving any picture; "" when nothing is known to."""
        try:
            error = self._context.host.trouble(failed=bool(self._unsaved.text))
            found = "" if error is None else disk_text(error, self._context.host.output_folders())
        except Exception:  # a host whose settings cannot be read now; the job will tell
            found = ""
        return self._unsaved.trouble(found, time.monotonic())

    def _report(self, text: str) -> None:
        logger.info("StableQueue: %s", text, extra={"action": "runner"})
        self._messages.append(RunnerMessage(int(time.time() * 1000), text))

    def _stored_not_now(self) -> float:
        try:
            return float((self._context.server_dir / NOT_NOW_NAME).read_text("ascii"))
        except (OSError, ValueError):
            return 0.0

    def _store_not_now(self) -> None:
        path = self._context.server_dir / NOT_NOW_NAME
        with suppress(OSError):
            if self._not_now_until:
                path.write_text(f"{self._not_now_until:.0f}", "ascii")
            else:
                path.unlink(missing_ok=True)
