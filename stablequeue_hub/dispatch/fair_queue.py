"""A fair queue: which waiting job a server gets next. In memory; pure.

Order: priority, then submitters take turns, then first come first served. A job counts one priority higher
for each hour it waits. The job at the front is passed over for one whose checkpoint the server has in memory,
but at most ``PASSES_MAX`` times and for ``PASSED_MAX_S``: then it is served, whatever that costs.

So on a server that can run it, a job waits for no more than the jobs of higher priority that come within
twenty hours, and, for itself and each earlier job of its own submitter, one round in which every submitter
is served once, each of them after at most ``PASSES_MAX`` others.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from stablequeue_hub.jobs.states import PRIORITY_MAX, PRIORITY_MIN

PASSES_MAX = 8
PASSED_MAX_S = 600.0
AGEING_MS = 3_600_000


@dataclass(eq=False)
class QueuedJob:
    """A pending job as the queue keeps it. ``kind``: jobs of one kind can run in the same places.

    ``base_priority``: as submitted; ``priority``: after ageing. ``checkpoint``: SHA256 of what it loads, if
    named. ``excluded``: servers that shall not get it.
    """

    job_id: str
    seq: int
    base_priority: int
    submitter: str
    kind: int
    created_ms: int
    checkpoint: str | None = None
    excluded: frozenset[str] = frozenset()
    priority: int = PRIORITY_MIN
    passed: int = 0
    passed_since: float | None = None
    queues: list[_ServerQueue] = field(default_factory=list, repr=False)
    """Those of the servers that can run it."""

    def __post_init__(self) -> None:
        self.priority = max(self.priority, self.base_priority)

    def __lt__(self, other: QueuedJob) -> bool:
        return self.seq < other.seq

    @property
    def turn(self) -> _Turn:
        return self.priority, self.submitter


@dataclass(frozen=True)
class Selection:
    """The job to hand over, and the one at the front that is passed over for it."""

    job: QueuedJob
    passed: QueuedJob | None = None


_Turn = tuple[int, str]
"""Priority and submitter."""
_Turns = dict[_Turn, list[QueuedJob]]
"""Jobs by their turn, each list in the order in which they came; none is empty."""


@dataclass(eq=False)
class _ServerQueue:
    """The jobs that one server can run."""

    by_turn: _Turns = field(default_factory=dict)
    by_checkpoint: dict[str, _Turns] = field(default_factory=dict)

    def push(self, job: QueuedJob) -> None:
        job.queues.append(self)
        insort(self.by_turn.setdefault(job.turn, []), job)
        if job.checkpoint is not None:
            insort(self.by_checkpoint.setdefault(job.checkpoint, {}).setdefault(job.turn, []), job)

    def drop(self, job: QueuedJob) -> None:
        """Nothing, when it is not among them."""
        _drop(self.by_turn, job)
        turns = self.by_checkpoint.get(job.checkpoint or "")
        if turns is not None:
            _drop(turns, job)
            if not turns:
                del self.by_checkpoint[job.checkpoint or ""]


def _drop(turns: _Turns, job: QueuedJob) -> None:
    several = turns.get(job.turn)
    place = bisect_left(several, job) if several else 0
    if several and place < len(several) and several[place] is job:
        del several[place]
        if not several:
            del turns[job.turn]


class FairQueue:
    """All pending jobs, and for each polling server those that it can run.

    The event loop changes it; other threads may ask for the place of a job meanwhile.
    """

    def __init__(self, before: FairQueue | None = None) -> None:
        """``before``: the queue that this one replaces; turns continue."""
        self._jobs: dict[str, QueuedJob] = {}
        self._queues: dict[str, _ServerQueue] = {}
        self._can_run: dict[str, Callable[[int], bool]] = {}
        # Turns are each server's own: whoever is served often elsewhere still gets one here.
        self._served: dict[str, dict[str, int]] = before._served if before else {}
        self._picks: int = before._picks if before else 0
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._jobs

    def __iter__(self) -> Iterator[QueuedJob]:
        return iter(self._jobs.values())

    def find(self, job_id: str) -> QueuedJob | None:
        return self._jobs.get(job_id)

    # --- jobs -------------------------------------------------------------------------------------------

    def put(self, job: QueuedJob) -> None:
        """Add a pending job, in place of its former entry."""
        with self._lock:
            before = self._jobs.get(job.job_id)
            if before is not None:
                self.remove(job.job_id)
                job.passed, job.passed_since = before.passed, before.passed_since
            self._jobs[job.job_id] = job
            for server_id, queue in self._queues.items():
                if self._fits(server_id, job):
                    queue.push(job)

    def remove(self, job_id: str) -> None:
        with self._lock:
            job = self._jobs.pop(job_id, None)
            if job is not None:
                for queue in job.queues:
                    queue.drop(job)
                job.queues.clear()

    def age(self, now_ms: int) -> None:
        """Raise the jobs that have waited another hour."""
        for job in list(self._jobs.values()):
            priority = aged_priority(job.base_priority, now_ms - job.created_ms)
            if priority != job.priority:
                self.put(replace(job, priority=priority, queues=[]))

    # --- servers ----------------------------------------------------------------------------------------

    def set_server(self, server_id: str, can_run: Callable[[int], bool]) -> None:
        """Let the server run the kinds for which ``can_run`` is true, from now on."""
        with self._lock:
            self._can_run[server_id] = can_run
            before, queue = self._queues.get(server_id), _ServerQueue()
            self._queues[server_id] = queue
            for job in sorted(self._jobs.values()):
                if before in job.queues:
                    job.queues.remove(before)
                if self._fits(server_id, job):
                    queue.push(job)

    def forget_server(self, server_id: str) -> None:
        with self._lock:
            for known in (self._queues, self._can_run, self._served):
                known.pop(server_id, None)

    def _fits(self, server_id: str, job: QueuedJob) -> bool:
        return server_id not in job.excluded and self._can_run[server_id](job.kind)

    # --- whose turn it is -------------------------------------------------------------------------------

    def select(
        self, server_id: str, loaded: str | None, now_s: float, only: str | None = None
    ) -> Selection | None:
        """Select the server's next job; None when it can run none. ``only``: of this submitter."""
        queue = self._queues.get(server_id)
        if queue is None:
            return None
        served = self._served.get(server_id, {})
        for priority in sorted({turn[0] for turn in queue.by_turn}, reverse=True):
            turns = _in_turn(queue.by_turn, priority, only, served)
            if not turns:
                continue
            front = turns[0][0]
            if loaded is None or front.checkpoint in (None, loaded) or not _may_be_passed(front, now_s):
                return Selection(front)
            others = _in_turn(queue.by_checkpoint.get(loaded, {}), priority, only, served)
            return Selection(others[0][0], passed=front) if others else Selection(front)
        return None

    def record_served(self, server_id: str, selection: Selection, now_s: float) -> None:
        """It was handed over: its submitter goes to the end of this server's turns, unless it was not its
        turn: what goes before the front costs nobody a turn."""
        passed = selection.passed
        if passed is None:
            self._picks += 1
            self._served.setdefault(server_id, {})[selection.job.submitter] = self._picks
        else:
            passed.passed += 1
            if passed.passed_since is None:
                passed.passed_since = now_s
        self.remove(selection.job.job_id)

    def jobs_ahead(self, server_id: str, job_id: str, only: str | None = None) -> int | None:
        """Return how many jobs that server gets before this one, as turns go; None when it does not get it.

        ``only``: it takes those of this submitter alone. Not counted: jobs that come later, and those that go
        first for a while because the server has their checkpoint in memory.
        """
        with self._lock:
            job, queue = self._jobs.get(job_id), self._queues.get(server_id)
            if job is None or queue is None or not self._fits(server_id, job):
                return None
            return _count_ahead(job, queue.by_turn, only, self._served.get(server_id, {}))

    def jobs_ahead_anywhere(self, job_id: str) -> int | None:
        """Return the same as if one server could run all jobs; None for a job that does not wait."""
        with self._lock:
            job = self._jobs.get(job_id)
            everything: _Turns = {}
            for other in sorted(self._jobs.values()):
                everything.setdefault(other.turn, []).append(other)
            return None if job is None else _count_ahead(job, everything, None, {})


def aged_priority(priority: int, waited_ms: int) -> int:
    """One more for each hour of waiting, up to the highest."""
    return min(PRIORITY_MAX, priority + max(0, waited_ms) // AGEING_MS)


def _in_turn(
    turns: _Turns, priority: int, only: str | None, served: Mapping[str, int]
) -> list[Sequence[QueuedJob]]:
    """The jobs of this priority by submitter, that one first whose turn it is."""
    found = [jobs for turn, jobs in turns.items() if turn[0] == priority and only in (None, turn[1])]
    return sorted(found, key=lambda jobs: (served.get(jobs[0].submitter, 0), jobs[0].seq))


def _count_ahead(job: QueuedJob, queue: _Turns, only: str | None, served: Mapping[str, int]) -> int | None:
    if only not in (None, job.submitter):
        return None
    served, total = dict(served), 0
    for priority in sorted({turn[0] for turn in queue if turn[0] > job.priority}, reverse=True):
        turns = _in_turn(queue, priority, only, served)
        total += sum(map(len, turns))
        # Whoever has many jobs is served until a later round, and comes later again below.
        last = max(served.values(), default=0)
        for jobs in sorted(turns, key=len):
            last += 1
            served[jobs[0].submitter] = last
    turns = _in_turn(queue, job.priority, only, served)
    mine = next(place for place, jobs in enumerate(turns) if jobs[0].submitter == job.submitter)
    rounds = bisect_left(turns[mine], job)
    return total + sum(min(len(jobs), rounds + (place < mine)) for place, jobs in enumerate(turns))


def _may_be_passed(job: QueuedJob, now_s: float) -> bool:
    waited = 0.0 if job.passed_since is None else now_s - job.passed_since
    return job.passed < PASSES_MAX and waited < PASSED_MAX_S
