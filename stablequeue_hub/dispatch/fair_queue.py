"""Which waiting job a server gets next. In memory; pure.

Order: priority, then submitters take turns, then first come first served. A job counts one priority higher
for each hour it waits. The job at the front is passed over for one whose checkpoint the server has in memory,
but at most ``PASSES_MAX`` times and for ``PASSED_MAX_S``: then it is served, whatever that costs.

So on a server that can run it, a job waits for no more than the jobs of higher priority that come within
twenty hours, and, for itself and each earlier job of its own submitter, one round in which every submitter
is served once, each of them after at most ``PASSES_MAX`` others.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from stablequeue_hub.jobs.states import PRIORITY_MAX, PRIORITY_MIN

PASSES_MAX = 8
PASSED_MAX_S = 600.0
AGEING_MS = 3_600_000
_REBUILD_ABOVE = 1_000


@dataclass(eq=False)
class WaitingJob:
    """A pending job as the line knows it. ``kind``: jobs of one kind can run in the same places.

    ``given`` is the priority as submitted, ``priority`` what it counts now. ``checkpoint``: SHA256 of what it
    loads, if it names one. ``excluded``: servers that shall not get it.
    """

    job_id: str
    seq: int
    given: int
    submitter: str
    kind: int
    created_ms: int
    checkpoint: str | None = None
    excluded: frozenset[str] = frozenset()
    priority: int = PRIORITY_MIN
    waiting: bool = True
    passed: int = 0
    passed_since: float | None = None

    def __post_init__(self) -> None:
        self.priority = max(self.priority, self.given)

    def __lt__(self, other: WaitingJob) -> bool:
        return self.seq < other.seq


@dataclass(frozen=True)
class Choice:
    """The job to hand over, and the one at the front that is passed over for it."""

    job: WaitingJob
    passed: WaitingJob | None = None


_Turn = tuple[int, str]
"""Priority and submitter."""


@dataclass
class _Queue:
    """The jobs that one server can run."""

    by_turn: dict[_Turn, list[WaitingJob]] = field(default_factory=dict)
    by_checkpoint: dict[str, dict[_Turn, list[WaitingJob]]] = field(default_factory=dict)
    size: int = 0

    def push(self, job: WaitingJob) -> None:
        turn = (job.priority, job.submitter)
        heapq.heappush(self.by_turn.setdefault(turn, []), job)
        if job.checkpoint is not None:
            turns = self.by_checkpoint.setdefault(job.checkpoint, {})
            heapq.heappush(turns.setdefault(turn, []), job)
        self.size += 1


class WaitingLine:
    """All pending jobs, and for each server that asks those that it can run."""

    def __init__(self, before: WaitingLine | None = None) -> None:
        """``before``: the line that this one takes the place of; turns go on as they were."""
        self._jobs: dict[str, WaitingJob] = {}
        self._queues: dict[str, _Queue] = {}
        self._can_run: dict[str, Callable[[int], bool]] = {}
        # Turns are each server's own: whoever is served often elsewhere still gets one here.
        self._served: dict[str, dict[str, int]] = before._served if before else {}
        self._picks: int = before._picks if before else 0

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._jobs

    def __iter__(self) -> Iterator[WaitingJob]:
        return iter(self._jobs.values())

    def find(self, job_id: str) -> WaitingJob | None:
        return self._jobs.get(job_id)

    # --- jobs -------------------------------------------------------------------------------------------

    def put(self, job: WaitingJob) -> None:
        """A pending job; takes the place of what was known of it."""
        before = self._jobs.pop(job.job_id, None)
        if before is not None:
            before.waiting = False
            job.passed, job.passed_since = before.passed, before.passed_since
        self._jobs[job.job_id] = job
        for server_id, queue in self._queues.items():
            if self._fits(server_id, job):
                queue.push(job)

    def remove(self, job_id: str) -> None:
        job = self._jobs.pop(job_id, None)
        if job is not None:
            job.waiting = False

    def age(self, now_ms: int) -> None:
        """Raise the jobs that have waited another hour."""
        for job in list(self._jobs.values()):
            priority = aged_priority(job.given, now_ms - job.created_ms)
            if priority != job.priority:
                self.put(replace(job, priority=priority, waiting=True))

    # --- servers ----------------------------------------------------------------------------------------

    def set_server(self, server_id: str, can_run: Callable[[int], bool]) -> None:
        """From now on that server can run the kinds for which ``can_run`` is true."""
        self._can_run[server_id] = can_run
        queue = self._queues[server_id] = _Queue()
        for job in sorted(self._jobs.values()):
            if self._fits(server_id, job):
                queue.push(job)

    def forget_server(self, server_id: str) -> None:
        for known in (self._queues, self._can_run, self._served):
            known.pop(server_id, None)

    def _fits(self, server_id: str, job: WaitingJob) -> bool:
        return server_id not in job.excluded and self._can_run[server_id](job.kind)

    # --- whose turn it is -------------------------------------------------------------------------------

    def choose(
        self, server_id: str, loaded: str | None, now_s: float, only: str | None = None
    ) -> Choice | None:
        """What that server should do next; None when it can run nothing. ``only``: for this submitter."""
        queue = self._tidy(server_id)
        if queue is None:
            return None
        served = self._served.get(server_id, {})
        for priority in sorted({turn[0] for turn in queue.by_turn}, reverse=True):
            front = _first(queue.by_turn, priority, only, served)
            if front is None:
                continue
            if loaded is None or front.checkpoint in (None, loaded) or not _may_be_passed(front, now_s):
                return Choice(front)
            other = _first(queue.by_checkpoint.get(loaded, {}), priority, only, served)
            return Choice(front) if other is None else Choice(other, passed=front)
        return None

    def served(self, server_id: str, choice: Choice, now_s: float) -> None:
        """It was handed over: its submitter goes to the end of this server's turns, unless it was not its
        turn: what goes before the front costs nobody a turn."""
        passed = choice.passed
        if passed is None:
            self._picks += 1
            self._served.setdefault(server_id, {})[choice.job.submitter] = self._picks
        else:
            passed.passed += 1
            if passed.passed_since is None:
                passed.passed_since = now_s
        self.remove(choice.job.job_id)

    def before(self, server_id: str, job_id: str) -> int | None:
        """How many jobs of that server's line come first by priority and age; None when it is not in it."""
        job, queue = self._jobs.get(job_id), self._queues.get(server_id)
        if job is None or queue is None or not self._fits(server_id, job):
            return None
        mine = (-job.priority, job.seq)
        return sum(
            1
            for other in self._jobs.values()
            if (-other.priority, other.seq) < mine and self._fits(server_id, other)
        )

    def _tidy(self, server_id: str) -> _Queue | None:
        """The server's queue, made anew when most of it is gone."""
        queue = self._queues.get(server_id)
        if queue is not None and queue.size > 2 * len(self._jobs) + _REBUILD_ABOVE:
            self.set_server(server_id, self._can_run[server_id])
            queue = self._queues[server_id]
        return queue


def aged_priority(priority: int, waited_ms: int) -> int:
    """One more for each hour of waiting, up to the highest."""
    return min(PRIORITY_MAX, priority + max(0, waited_ms) // AGEING_MS)


def _first(
    turns: dict[_Turn, list[WaitingJob]], priority: int, only: str | None, served: Mapping[str, int]
) -> WaitingJob | None:
    """The job whose turn it is among those of this priority."""
    best: WaitingJob | None = None
    best_turn = (0, 0)
    for turn in [turn for turn in turns if turn[0] == priority and only in (None, turn[1])]:
        heap = turns[turn]
        while heap and not heap[0].waiting:
            heapq.heappop(heap)
        if not heap:
            del turns[turn]
            continue
        rank = (served.get(turn[1], 0), heap[0].seq)
        if best is None or rank < best_turn:
            best, best_turn = heap[0], rank
    return best


def _may_be_passed(job: WaitingJob, now_s: float) -> bool:
    waited = 0.0 if job.passed_since is None else now_s - job.passed_since
    return job.passed < PASSES_MAX and waited < PASSED_MAX_S
