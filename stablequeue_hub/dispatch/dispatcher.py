"""Assigns waiting jobs to the runners that poll. One per hub, on the event loop; nothing here is stored.

It knows the queue and what the polling servers have, rebuilt from the database at the first use, and
only chooses: ``job_runs`` decides in the database, so that a wrong idea here costs a second look and nothing
else. A runner that waits is one parked coroutine: no thread, no database session.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

from sqlalchemy import Connection

from stablequeue_client.shared.errors import ServerFrozenError, StableQueueError
from stablequeue_client.shared.wire.runner import (
    NEXT_WAIT_MAX_S,
    Assignment,
    FinishAnswer,
    FinishRequest,
    NextRequest,
    RefuseRequest,
    RenewAnswer,
    RenewRequest,
)
from stablequeue_hub.clock import HubClock
from stablequeue_hub.dispatch import runs
from stablequeue_hub.dispatch.fair_queue import FairQueue, Selection
from stablequeue_hub.dispatch.finish import finish_run, former_answer
from stablequeue_hub.dispatch.leases import Lease, Leases
from stablequeue_hub.dispatch.pending_jobs import (
    PendingJob,
    RequirementClass,
    RequirementClasses,
    pending_jobs,
)
from stablequeue_hub.dispatch.polling_runners import COOLDOWN_S, PollingRunner, PollingRunners
from stablequeue_hub.dispatch.runs import RunningJob, running_jobs
from stablequeue_hub.errors import StaleRunError
from stablequeue_hub.events.change_notifier import ChangeNotifier
from stablequeue_hub.jobs.picture_files import StagedPicture
from stablequeue_hub.jobs.states import JobState
from stablequeue_hub.matching.job_requirements import Lookup
from stablequeue_hub.matching.judge import Judge
from stablequeue_hub.matching.obstacles import PlacementQuery, server_obstacles, target_obstacles
from stablequeue_hub.matching.re_resolve import changed_names, resolve_waiting
from stablequeue_hub.matching.server_facts import ServerFacts, server_now
from stablequeue_hub.matching.stock import Stock, read_stock
from stablequeue_hub.servers.presence import Presence, RunnerPresence
from stablequeue_hub.store.engine import Store
from stablequeue_hub.store.hub_settings_table import queue_is_paused

CLAIM_TRIES = 8
AGE_EVERY_S = 60.0
BUSY_S = 60.0
"""How long a server gets no job after its owner needed it, or stopped one."""
IDLE_POLL_S = 10.0
LOST_PAUSE_S = 15.0
"""How long a job stays away from the server that lost it, whatever else."""
LOST_KEPT = 1_000
RECONCILE_S = 300.0
"""Everything is reloaded this often, whatever was missed."""
_log = logging.getLogger("stablequeue_hub")


class Dispatcher:
    """See the module. Every method belongs to the event loop."""

    def __init__(self, store: Store, clock: HubClock, presence: Presence, notifier: ChangeNotifier) -> None:
        self._store = store
        self._clock = clock
        self._presence = presence
        self._notifier = notifier
        self.leases = Leases(clock)
        self._queue = FairQueue()
        self._classes = RequirementClasses()
        self._polling = PollingRunners(clock)
        self._lost: dict[str, set[tuple[str, str]]] = {}
        self._paused = False
        self._loaded = False
        self._aged_at = self._read_at = 0.0
        self._resolve_due = self._resolving = False
        self._lock = asyncio.Lock()
        """A claim and a reading of jobs never run at the same time, or a new lease could be taken for an
        old one."""

    # --- what others may know ---------------------------------------------------------------------------

    @property
    def paused(self) -> bool:
        """The whole queue, by its owner."""
        return self._paused

    def runner_status(self, server_id: str) -> RunnerPresence:
        """Return what is known of the server's runner."""
        is_working = self.leases.of_server(server_id) is not None
        return self._polling.state(server_id, is_working=is_working)

    async def refresh_stocks(self) -> None:
        """Read what the polling servers have of all that waits, where that is not known yet. Call it before
        ``jobs_ahead``."""
        if not self._loaded:
            await self.reload_jobs([])
        async with self._lock:
            for runner in self._polling:
                if self.runner_status(runner.server_id).polling:
                    await self._load_stock(runner)

    def jobs_ahead(self, server_id: str, job_id: str) -> int | None:
        """Return how many jobs the server gets before this one; None when it does not get it. Any thread."""
        runner = self._polling.find(server_id)
        facts = self._current_facts(runner) if runner is not None else None
        if facts is None or self._is_blocked(facts):
            return None
        return self._queue.jobs_ahead(server_id, job_id, self._only_submitter(facts))

    def jobs_ahead_anywhere(self, job_id: str) -> int | None:
        """Return how many jobs come first if one server could run them all. From any thread."""
        return self._queue.jobs_ahead_anywhere(job_id)

    def progress(self, job_id: str) -> float | None:
        """0 to 1, of a job under way; None where nothing was told. From any thread."""
        return self.leases.progress(job_id)

    def close(self) -> None:
        """Answer the waiting runners; the hub ends."""
        self._polling.wake(None)

    # --- changes ----------------------------------------------------------------------------------------

    async def reload_jobs(self, job_ids: Sequence[str]) -> None:
        """These jobs are new or other ones; [] for everything, settings too.

        Never fails: what is told here is committed already. What could not be read is read anew at the next
        question or look.
        """
        try:
            async with self._lock:
                if not job_ids or not self._loaded:
                    await self._read_all()
                    checkpoints = None
                else:
                    checkpoints = await self._read_some(job_ids)
        except StableQueueError as error:
            self._loaded = False
            _log.warning("Changed jobs could not be read; they are read again soon: %s", error.message)
            return
        except BaseException:
            self._loaded = False
            raise
        self._polling.wake(checkpoints)

    async def jobs_changed(self, job_ids: Sequence[str]) -> None:
        """To be told after every committed change of jobs (new, edited, ended, deleted), and with [] after
        one of the queue's settings: runners and whoever waits for a job or for events are woken."""
        await self.reload_jobs(job_ids)
        self._notifier.notify(job_ids)

    async def inventory_changed(self, server_id: str, sequence: int) -> None:
        """Readmit what a server with other files refused before, and wake its runner."""
        unfit: list[str] = []
        runner = self._polling.find(server_id)
        if runner is not None:
            runner.stale = True
            unfit = list(runner.unfit_jobs)
            runner.unfit_jobs.clear()
        try:
            ids = unfit + await self._readmit(server_id, sequence)
        except StableQueueError as error:  # which exclusions count is seen when the jobs are read
            _log.warning("Jobs that a server refused are read again: %s", error.message)
            await self.reload_jobs([])
        else:
            if ids:
                await self.reload_jobs(ids)
            else:
                self._polling.wake(None, only=server_id)
        await self.resolve_again()

    async def model_described(self, sha256: str) -> None:
        """What a checkpoint is became known: jobs that name it may not run everywhere any more."""
        of_it = {
            number
            for number, one in enumerate(self._classes)
            if any(need.content == sha256 for need in one.needs.requirements)
        }
        ids = [job.job_id for job in self._queue if job.kind in of_it]
        if ids:
            await self.jobs_changed(ids)

    async def _readmit(self, server_id: str, sequence: int) -> list[str]:
        """Jobs that it refused and may get again. A sync that changed nothing for any job writes nothing."""
        if not await self._store.reading(lambda c: runs.may_readmit(c, server_id, sequence)):
            return []
        return await self._store.writing(lambda c: runs.readmit(c, server_id, sequence))

    def forget(self, server_id: str) -> None:
        """Drop a server that was removed."""
        self._queue.forget_server(server_id)
        self._polling.forget(server_id)

    def clear_cooldown(self, server_id: str) -> None:
        """End the cooldown of a server that failed several times in a row."""
        self._polling.clear_cooldown(server_id)

    async def resolve_again(self) -> None:
        """Resolve the models of waiting jobs that nobody had. Calls during a run cause one more run."""
        self._resolve_due = True
        if self._resolving:
            return
        self._resolving = True
        try:
            while self._resolve_due:
                self._resolve_due = False
                await self._resolve_once()
        except StableQueueError as error:
            self._resolve_due = True
            _log.warning("The models of waiting jobs are resolved again later: %s", error.message)
        finally:
            self._resolving = False

    async def _resolve_once(self) -> None:
        """Resolve without blocking any writer, then write what changed."""
        now_ms, presence = self._clock.now_ms(), self._presence
        names = await self._store.reading(lambda connection: changed_names(connection, presence, now_ms))
        if names:
            ids = await self._store.writing(
                lambda connection: resolve_waiting(connection, presence, now_ms, names)
            )
            if ids:
                await self.jobs_changed(ids)

    def server_changed(self, server_id: str) -> None:
        """Reload a server whose capabilities or consent to jobs of others changed."""
        runner = self._polling.find(server_id)
        if runner is not None:
            runner.stale = True
            self._polling.wake(None, only=server_id)

    def servers_changed(self) -> None:
        """Reload all servers: what was kept from some of them is not any more."""
        for runner in self._polling:
            self.server_changed(runner.server_id)

    async def _read_all(self) -> None:
        def read(connection: Connection) -> tuple[list[PendingJob], list[RunningJob], bool]:
            return pending_jobs(connection), running_jobs(connection), queue_is_paused(connection)

        pending, running, self._paused = await self._store.reading(read)
        before, self._queue, self._classes = self._queue, FairQueue(self._queue), RequirementClasses()
        for runner in self._polling:
            runner.stale, runner.stock, runner.judge = True, None, None
            runner.answers.clear()
        for job in pending:
            self._enqueue(job, before)
        self._sync_leases(running)
        self._loaded, self._read_at = True, self._clock.monotonic()

    def _sync_leases(self, running: Sequence[RunningJob]) -> None:
        """Keep leases for exactly the running jobs; an unknown one gets a whole term."""
        fences = {job.job_id: job.fence for job in running}
        for lease in self.leases.all():
            if fences.get(lease.job_id) != lease.fence:
                self.leases.end(lease.job_id)
        for job in running:
            if self.leases.find(job.job_id) is None:
                self.leases.grant(job.job_id, job.server_id, job.fence, job.runner_id)

    async def _read_some(self, job_ids: Sequence[str]) -> set[str | None]:
        """The checkpoints of those that wait."""
        wanted = list(dict.fromkeys(job_ids))

        def read(connection: Connection) -> tuple[list[PendingJob], list[RunningJob]]:
            return pending_jobs(connection, wanted), running_jobs(connection, wanted)

        pending, running = await self._store.reading(read)
        waiting = {job.job_id for job in pending}
        fences = {job.job_id: job.fence for job in running}
        for job_id in wanted:
            lease = self.leases.find(job_id)
            if lease is not None and fences.get(job_id) != lease.fence:
                self.leases.end(job_id)
            if job_id not in waiting:
                self._queue.remove(job_id)
        for job in pending:
            self._enqueue(job)
        return {job.needs.checkpoint for job in pending}

    def _enqueue(self, job: PendingJob, before: FairQueue | None = None) -> None:
        number = self._classes.number(job.requirement_class)
        made = job.as_queued(number, self._clock.now_ms())
        known = before.find(job.job_id) if before is not None else None
        if known is not None:
            made.passed, made.passed_since = known.passed, known.passed_since
        self._queue.put(made)

    # --- a runner polls ---------------------------------------------------------------------------------

    async def next_job(
        self, server_id: str, wanted: NextRequest, disconnected: Callable[[], Awaitable[bool]]
    ) -> Assignment | None:
        """Return the job that this server should run now; waits for one up to ``wait_s``.

        ``disconnected``: whether the runner hung up meanwhile. Raises ServerFrozenError, NotFoundError.
        """
        await self._start_poll(server_id, wanted)
        self._presence.mark_contact(server_id)  # it lives, though its agent may have been silent for a while
        runner = self._polling.get_or_add(server_id)
        runner.poll += 1
        poll = runner.poll
        other_process = runner.runner_id not in ("", wanted.runner_id)
        runner.runner_id = wanted.runner_id
        self._polling.set_takes_others(runner, others=wanted.others)
        runner.loaded = wanted.loaded
        runner.trouble = wanted.trouble
        loop = asyncio.get_running_loop()
        until = loop.time() + max(0.0, min(wanted.wait_s, NEXT_WAIT_MAX_S))
        if runner.parked is not None and not other_process:
            runner.parked.set()  # an earlier poll of this runner: its connection is dead
        while True:
            runner.polled_at = self._clock.monotonic()
            event = asyncio.Event()
            runner.parked, runner.parked_since = event, loop.time()
            async with self._lock:
                found = None if runner.poll != poll else await self._next_assignment(runner, wanted)
            if found is not None or runner.poll != poll:
                break
            try:
                await asyncio.wait_for(event.wait(), max(0.0, until - loop.time()))
            except asyncio.TimeoutError:
                break
            if runner.poll != poll or self._notifier.closed or await disconnected():
                break
        if runner.poll == poll:
            runner.parked = None
        elif found is None and runner.runner_id != wanted.runner_id:
            await self._wait_out_poll(until)
        return found

    async def _wait_out_poll(self, until: float) -> None:
        """Wait out a poll after another process of the server polled: two answered at once would race."""
        notifier, loop = self._notifier, asyncio.get_running_loop()
        while await notifier.wait(notifier.next_change(), until - loop.time()):
            pass

    async def _start_poll(self, server_id: str, wanted: NextRequest) -> None:
        """Check the server, and settle the former jobs of a runner that polls."""
        self._check_frozen(server_id)
        if not self._loaded:
            await self.reload_jobs([])
        lease = self.leases.of_server(server_id)
        if lease is not None and lease.runner_id != wanted.runner_id and self.leases.missed_renewals(lease):
            text = "The WebUI exited while it ran this job."
            await self._end_lost_run(lease, "webui_ended", text)
        alive = self._lost.pop(wanted.runner_id, None)
        if alive:

            def readmit(connection: Connection) -> None:
                for job_id, of_server in alive:
                    runs.readmit_lost(connection, job_id, of_server)

            await self._store.writing(readmit)
            await self.jobs_changed([job_id for job_id, _ in alive])

    def _check_frozen(self, server_id: str) -> None:
        frozen = self._presence.known(server_id).frozen
        if frozen is not None:
            raise ServerFrozenError(frozen)

    async def _next_assignment(self, runner: PollingRunner, wanted: NextRequest) -> Assignment | None:
        lease = self.leases.of_server(runner.server_id)
        if lease is not None and lease.runner_id != wanted.runner_id:
            return None  # the former process was heard a moment ago: perhaps both run
        if lease is not None:  # the answer to the former poll was lost
            job_id, fence = lease.job_id, lease.fence
            return await self._store.reading(
                lambda connection: runs.repeat_assignment(connection, job_id, fence)
            )
        for _ in range(CLAIM_TRIES):
            selection = await self._select(runner)
            if selection is None:
                return None
            claimed = await self._claim(runner, selection, wanted.runner_id)
            if claimed is not None:
                return claimed
        return None

    async def _select(self, runner: PollingRunner) -> Selection | None:
        if self._paused or not len(self._queue):
            return None
        await self._load_stock(runner)
        facts = self._current_facts(runner)
        if facts is None or self._is_blocked(facts):
            return None
        now = self._clock.monotonic()
        return self._queue.select(runner.server_id, runner.loaded, now, self._only_submitter(facts))

    def _is_blocked(self, facts: ServerFacts) -> bool:
        """Return whether it gets no jobs at all, not even those of its own WebUI."""
        return bool(server_obstacles(facts, f"server:{facts.server_id}", queue_paused=self._paused))

    def _only_submitter(self, facts: ServerFacts) -> str | None:
        """Return the one submitter whose jobs it takes now; None for everybody's."""
        for_others = not server_obstacles(facts, "", queue_paused=self._paused)
        return None if for_others else f"server:{facts.server_id}"

    def _current_facts(self, runner: PollingRunner) -> ServerFacts | None:
        """Return the server's facts with its presence as of now."""
        if runner.facts is None:
            return None
        presence = self._presence.find(runner.server_id)
        return runner.facts._replace(
            frozen=presence is not None and presence.frozen is not None,
            reachable=self._presence.is_reachable(runner.server_id),
            runner=self.runner_status(runner.server_id),
        )

    async def _claim(self, runner: PollingRunner, selection: Selection, runner_id: str) -> Assignment | None:
        assert runner.stock is not None
        stock = runner.stock.of_server(runner.server_id)
        job, now_ms = selection.job, self._clock.now_ms()
        sequence = self._sequence(runner.server_id)
        claimed = await self._store.writing(
            lambda connection: runs.claim(connection, job.job_id, stock, runner_id=runner_id, now_ms=now_ms),
            keeps_plans=True,
        )
        if isinstance(claimed, Assignment):
            self._queue.record_served(runner.server_id, selection, self._clock.monotonic())
            self.leases.grant(claimed.job_id, runner.server_id, claimed.fence, runner_id, sequence)
            self._notifier.notify([claimed.job_id])
            return claimed
        if claimed == "not_waiting":
            await self._read_some([job.job_id])
            return None
        # The files changed since they were read: not here until they are read again.
        runner.stale = True
        runner.unfit_jobs.add(job.job_id)
        self._queue.put(replace(job, excluded=job.excluded | {runner.server_id}, queues=[]))
        return None

    async def _load_stock(self, runner: PollingRunner) -> Stock:
        """Return what the server has of all that is wanted, read again where it is stale."""
        server_id, stock = runner.server_id, runner.stock
        if stock is None or runner.stale:
            wanted = {lookup for one in self._classes for lookup in one.needs.lookups()}
            runner.stale = False

            def read(connection: Connection) -> tuple[ServerFacts | None, Stock]:
                facts = server_now(connection, server_id, self._presence)
                return facts, read_stock(connection, wanted, server_id)

            runner.facts, loaded = await self._store.reading(read)
            runner.stock = loaded
            self._rebuild_judge(runner)
            return loaded
        if runner.unknown:
            await self._load_more_stock(runner, stock, runner.unknown)
        return stock

    async def _load_more_stock(self, runner: PollingRunner, stock: Stock, wanted: Iterable[Lookup]) -> None:
        """Read whether the server has further models."""
        missing = set(wanted) - stock.asked
        further = await self._store.reading(lambda c: read_stock(c, missing, runner.server_id))
        stock.merge(further)
        self._rebuild_judge(runner)

    def _rebuild_judge(self, runner: PollingRunner) -> None:
        runner.judge = self._make_judge(runner, runner.facts)
        runner.answers.clear()
        runner.unknown.clear()
        self._queue.set_server(runner.server_id, lambda number: self._can_run(runner, number))

    def _make_judge(self, runner: PollingRunner, facts: ServerFacts | None) -> Judge | None:
        if facts is None or runner.stock is None:
            return None
        its = runner.server_id
        return Judge({its: facts}, runner.stock, queue_paused=self._paused)

    def _can_run(self, runner: PollingRunner, number: int) -> bool:
        """Return whether it has all that jobs of a class need, whatever blocks it just now."""
        answer = runner.answers.get(number)
        if answer is None:
            stock, judge = runner.stock, runner.judge
            if stock is None or judge is None:
                return False
            wanted: RequirementClass = self._classes[number]
            unknown = set(wanted.needs.lookups()) - stock.asked
            if unknown:
                runner.unknown |= unknown
                return False
            is_target = not target_obstacles(wanted.targets, runner.server_id)
            answer = is_target and bool(judge.of_needs(wanted.needs).clear)
            runner.answers[number] = answer
        return answer

    # --- a runner reports -------------------------------------------------------------------------------

    async def renew(self, server_id: str, message: RenewRequest) -> RenewAnswer:
        """Renew a lease. In memory only, once the jobs are loaded."""
        if not self._loaded:
            await self.reload_jobs([])
        lease = self.leases.find(message.job_id)
        mine = lease is not None and lease.server_id == server_id
        return RenewAnswer(
            stop=not (mine and self.leases.renew(message.job_id, message.fence, message.progress))
        )

    async def refuse(self, server_id: str, message: RefuseRequest) -> None:
        """Requeue a job that the runner's check just before the run refused. Raises StaleRunError."""
        lease, now_ms = self.leases.find(message.job_id), self._clock.now_ms()
        known = lease.sequence if lease is not None and lease.fence == message.fence else None
        # What it had when the job was handed over: it may have told meanwhile what it found just now.
        sequence = self._sequence(server_id) if known is None else known

        def work(connection: Connection) -> None:
            run = runs.current_run(connection, message.job_id, message.fence, server_id)
            runs.return_unstarted(
                connection, run, code=message.code, text=message.text, sequence=sequence, now_ms=now_ms
            )

        await self._store.writing(work)
        self.leases.end(message.job_id, message.fence)
        if message.code == "busy":
            self._polling.yield_for(server_id, BUSY_S)
        await self._readmit(server_id, self._sequence(server_id))
        await self.jobs_changed([message.job_id])

    def _sequence(self, server_id: str) -> int:
        """Return the sequence of the server's latest inventory."""
        return self._presence.known(server_id).inventory.sequence

    async def finish(
        self, server_id: str, message: FinishRequest, pictures: Sequence[StagedPicture]
    ) -> FinishAnswer:
        """End a run by what its pictures prove; told again, it is answered again. Raises StaleRunError."""
        now_ms = self._clock.now_ms()
        exclude_server = message.outcome != "done" and await self._could_run_elsewhere(
            message.job_id, server_id
        )

        def work(connection: Connection) -> tuple[FinishAnswer, bool]:
            former = former_answer(connection, server_id, message)
            if former is not None:
                return former, True
            run = runs.current_run(connection, message.job_id, message.fence, server_id)
            answer = finish_run(
                connection, run, message, pictures, exclude_server=exclude_server, now_ms=now_ms
            )
            return answer, False

        answer, repeated = await self._store.writing(work)
        if repeated:
            return answer
        self.leases.end(message.job_id, message.fence)
        self._record_end(server_id, message, answer)
        await self.jobs_changed([message.job_id])
        return answer

    def _record_end(self, server_id: str, message: FinishRequest, answer: FinishAnswer) -> None:
        """Note what the end of a run says of its server."""
        fault = message.fault if message.outcome == "failed" else ""
        if fault == "surroundings":
            self._polling.get_or_add(server_id).trouble = message.text or "It cannot save pictures."
        elif fault == "file":
            self.server_changed(server_id)  # what it cannot load is another fact of it
        elif message.outcome == "interrupted":
            self._polling.yield_for(server_id, BUSY_S)
        elif fault != "job":
            failed = message.outcome == "failed" or answer.outcome == "wrong"
            self._polling.record_run(server_id, failed=failed)

    async def _could_run_elsewhere(self, job_id: str, server_id: str, state: JobState = "processing") -> bool:
        """Return whether another polling server could run this job now."""
        found = await self._store.reading(lambda c: pending_jobs(c, [job_id], state))
        return bool(found) and any(
            [
                await self._could_run(runner, found[0])
                for runner in self._polling
                if runner.server_id not in {server_id, *found[0].excluded}
            ]
        )

    async def _could_run(self, runner: PollingRunner, job: PendingJob) -> bool:
        async with self._lock:
            stock = await self._load_stock(runner)
            if not stock.asked.issuperset(job.needs.lookups()):
                await self._load_more_stock(runner, stock, job.needs.lookups())
        judge = self._make_judge(runner, self._current_facts(runner))
        query = PlacementQuery(job.needs, job.submitter, job.requirement_class.targets)
        return judge is not None and not judge.obstacles(query, runner.server_id)

    # --- time goes by -----------------------------------------------------------------------------------

    async def sweep(self) -> None:
        """Requeue jobs whose lease expired, and age the queue. Call every few seconds."""
        if not self._loaded:
            await self.reload_jobs([])
        for lease in self.leases.expired():
            text = "The server stopped responding while it ran this job."
            await self._end_lost_run(lease, "no_sign_of_life", text)
        if self._resolve_due:
            await self.resolve_again()
        await self._readmit_lost()
        now = self._clock.monotonic()
        if now - self._aged_at >= AGE_EVERY_S:
            self._aged_at = now
            self._queue.age(self._clock.now_ms())
            async with self._lock:
                self._sync_leases(await self._store.reading(running_jobs))
            await self._readmit_failed()
            if now - self._read_at >= RECONCILE_S:
                await self.reload_jobs([])

    async def _readmit_failed(self) -> None:
        """Readmit jobs to a server that failed with them, when nobody else took them for a while."""
        before_ms = self._clock.now_ms() - int(COOLDOWN_S * 1000)
        if await self._store.reading(lambda c: runs.may_readmit_failed(c, before_ms)):
            ids = await self._store.writing(lambda c: runs.readmit_failed(c, before_ms))
            await self.jobs_changed(ids)

    async def _is_idle(self, server_id: str) -> bool:
        """Return whether its runner asks for a job, and nothing that waits is for it."""
        runner = self._polling.find(server_id)
        if runner is None or self.leases.of_server(server_id) is not None:
            return False
        if not self._polling.polled_recently(server_id, IDLE_POLL_S):
            return False
        async with self._lock:
            return await self._select(runner) is None

    async def _readmit_lost(self) -> None:
        """A server that lost a job is back, has nothing else to do, and no other can take it: it may have the
        job again. Jobs that end their WebUI each time stay bounded by their attempts."""
        before_ms = self._clock.now_ms() - int(LOST_PAUSE_S * 1000)
        ids = []
        for job_id, server_id in await self._store.reading(lambda c: runs.lost_jobs(c, before_ms)):
            if not await self._is_idle(server_id):
                continue
            if await self._could_run_elsewhere(job_id, server_id, "pending"):
                continue
            await self._store.writing(partial(runs.readmit_lost, job_id=job_id, server_id=server_id))
            ids.append(job_id)
        if ids:
            await self.jobs_changed(ids)

    async def _end_lost_run(self, lease: Lease, code: str, text: str) -> None:
        now_ms = self._clock.now_ms()

        def work(connection: Connection) -> None:
            run = runs.current_run(connection, lease.job_id, lease.fence, lease.server_id)
            runs.fail_attempt(
                connection,
                run,
                "lost",
                code=code,
                text=text,
                exclude_server=True,
                now_ms=now_ms,
                actor="hub",
            )

        try:
            await self._store.writing(work)
        except StaleRunError:
            pass
        except StableQueueError as error:
            _log.warning("A lost job could not be requeued; it is tried again: %s", error.message)
            return
        self.leases.end(lease.job_id, lease.fence)
        if code == "no_sign_of_life" and lease.runner_id:
            self._lost.setdefault(lease.runner_id, set()).add((lease.job_id, lease.server_id))
            while len(self._lost) > LOST_KEPT:
                del self._lost[next(iter(self._lost))]
        self._polling.record_run(lease.server_id, failed=True)
        await self.jobs_changed([lease.job_id])
