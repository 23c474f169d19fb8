"""What the agent says of itself, put together from its parts and written when it changed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from stablequeue_client.agent.hashing_pool import HashingPool
from stablequeue_client.agent.heartbeat import HeartbeatLoop
from stablequeue_client.agent.policy import HashingPolicy
from stablequeue_client.agent.scan_loop import ScanLoop
from stablequeue_client.agent.sync_loop import SyncLoop
from stablequeue_client.agent.watching import Watcher
from stablequeue_client.clock import Clock
from stablequeue_client.hub_client.link import HubLink
from stablequeue_client.hub_client.membership import Membership
from stablequeue_client.index.agent_report import NOTES_MAX, AgentReport, HubProblem, ReportedFile
from stablequeue_client.index.index import Index
from stablequeue_client.shared.errors import StableQueueError

_PAUSE_STEP_MS = 2_000


class Reporter:
    """For the main thread."""

    def __init__(
        self,
        index: Index,
        policy: HashingPolicy,
        scans: ScanLoop,
        hashing: HashingPool,
        watchers: Sequence[Watcher],
        link: HubLink,
        *,
        sync: SyncLoop | None,
        heartbeat: HeartbeatLoop | None,
        membership: Membership | None,
        clock: Clock,
    ) -> None:
        self._index = index
        self._policy = policy
        self._scans = scans
        self._hashing = hashing
        self._watchers = watchers
        self._link = link
        self._sync = sync
        self._heartbeat = heartbeat
        self._membership = membership
        self._clock = clock
        self._started_ms = int(clock.now() * 1000)
        self._written: AgentReport | None = None

    def write(self) -> None:
        """Write the report if it says something new. Raises DataFolderError."""
        report = self.report()
        if report != self._written:
            self._index.write_agent_report(report)
            self._written = report

    def report(self) -> AgentReport:
        entries = self._sync.rejected if self._sync else []
        rejected = [(item.root, item.path, item.reason) for item in entries]
        refused = [(*key, reason) for key, reason in self._hashing.refused_claims()]
        skipped = [(root_id, item.path, item.reason) for root_id, item in self._scans.skipped()]
        member = self._membership
        return AgentReport(
            pid=os.getpid(),
            started_ms=self._started_ms,
            hub_url=member.identity.hub_url if member else "",
            joined=bool(member and member.joined),
            hub_problem=self._hub_problem(),
            last_sync_ms=int((self._sync.last_sync or 0) * 1000) if self._sync else 0,
            rejected=len(rejected),
            rejected_files=_notes(rejected),
            refused=len(refused),
            refused_claims=_notes(refused),
            skipped=len(skipped),
            skipped_files=_notes(skipped),
            hashing=self._policy.mode,
            waits_for=self._policy.waits_for(),
            paused_until_ms=self._paused_until_ms(),
            watch_problems=[watcher.problem for watcher in self._watchers if watcher.problem],
        )

    def _hub_problem(self) -> HubProblem | None:
        """That it is not reached counts before what it said last."""
        if self._sync is None:
            return None
        state = self._link.state()
        if state.problem is not None:
            return _problem(state.problem, state.since)
        if self._heartbeat is not None and self._heartbeat.frozen is not None:
            return _problem(self._heartbeat.frozen, state.since)
        if self._sync.problem is not None:
            return _problem(self._sync.problem, self._sync.problem_since)
        return None

    def _paused_until_ms(self) -> int:
        """Rounded, so that the report does not change with every look at the clock."""
        left = self._policy.paused_for()
        if not left:
            return 0
        return round((self._clock.now() + left) * 1000 / _PAUSE_STEP_MS) * _PAUSE_STEP_MS


def _problem(error: StableQueueError, since_s: float) -> HubProblem:
    return HubProblem(error.code, error.message, error.remedy, int(since_s * 1000))


def _notes(found: Iterable[tuple[str, str, str]]) -> list[ReportedFile]:
    return [ReportedFile(*item) for item in sorted(found)[:NOTES_MAX]]
