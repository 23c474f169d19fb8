"""The runners that poll for jobs: what is known of each between two polls. In memory, on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from stablequeue_hub.clock import HubClock
from stablequeue_hub.matching.job_requirements import Lookup
from stablequeue_hub.matching.judge import Judge
from stablequeue_hub.matching.server_facts import ServerFacts
from stablequeue_hub.matching.stock import Stock
from stablequeue_hub.servers.presence import RunnerPresence

POLLS_WITHIN_S = 90.0
FAILURES_MAX = 3
COOLDOWN_S = 600.0


@dataclass
class PollingRunner:
    """A server whose runner polls for jobs."""

    server_id: str
    facts: ServerFacts | None = None
    stock: Stock | None = None
    judge: Judge | None = None
    stale: bool = True
    unknown: set[Lookup] = field(default_factory=set)
    answers: dict[int, bool] = field(default_factory=dict)
    unfit_jobs: set[str] = field(default_factory=set)
    others: bool = False
    loaded: str | None = None
    polled_at: float = 0.0
    poll: int = 0
    runner_id: str = ""
    parked: asyncio.Event | None = None
    parked_since: float = 0.0
    failures: int = 0
    cooldown_until: float = 0.0
    yielded_until: float = 0.0
    trouble: str = ""


class PollingRunners:
    """By server id, in the order of their first polls."""

    def __init__(self, clock: HubClock) -> None:
        self._clock = clock
        self._servers: dict[str, PollingRunner] = {}

    def __iter__(self) -> Iterator[PollingRunner]:
        return iter(list(self._servers.values()))

    def find(self, server_id: str) -> PollingRunner | None:
        return self._servers.get(server_id)

    def get_or_add(self, server_id: str) -> PollingRunner:
        """Return the server's runner, added if it did not poll yet."""
        return self._servers.setdefault(server_id, PollingRunner(server_id))

    def forget(self, server_id: str) -> None:
        """A server that the hub does not know any more; its runner gets its answer."""
        runner = self._servers.pop(server_id, None)
        if runner is not None and runner.parked is not None:
            runner.parked.set()

    def polled_recently(self, server_id: str, within_s: float = POLLS_WITHIN_S) -> bool:
        """Return whether its runner waits for a job, or polled a short while ago."""
        runner = self.find(server_id)
        if runner is None:
            return False
        return runner.parked is not None or self._clock.monotonic() - runner.polled_at < within_s

    def has_yielded(self, server_id: str) -> bool:
        """Return whether it gets no jobs for a while only because it was in use when it got one."""
        runner = self.find(server_id)
        if runner is None:
            return False
        return self._clock.monotonic() < runner.yielded_until == runner.cooldown_until

    def state(self, server_id: str, *, is_working: bool) -> RunnerPresence:
        """Return what is known of its runner. ``is_working``: it has a job."""
        runner = self.find(server_id)
        if runner is None:
            return RunnerPresence(polling=is_working)
        in_cooldown, yielded = self._clock.monotonic() < runner.cooldown_until, self.has_yielded(server_id)
        return RunnerPresence(
            polling=is_working or self.polled_recently(server_id),
            in_use=bool(runner.runner_id) and not runner.others,
            in_cooldown=in_cooldown and not yielded,
            yielded=yielded,
            trouble=runner.trouble,
        )

    def wake(self, checkpoints: Iterable[str | None] | None, only: str | None = None) -> None:
        """Wake waiting runners: those first that have the checkpoint in memory, then who waits
        longest."""
        fitting = set(checkpoints or ()) - {None}
        parked = [
            runner
            for runner in self._servers.values()
            if runner.parked is not None and only in (None, runner.server_id)
        ]
        for runner in sorted(parked, key=lambda one: (one.loaded not in fitting, one.parked_since)):
            if runner.parked is not None:
                runner.parked.set()

    def record_run(self, server_id: str, *, failed: bool) -> None:
        runner = self.find(server_id)
        if runner is None:  # a server that was removed meanwhile
            return
        runner.failures = runner.failures + 1 if failed else 0
        if runner.failures >= FAILURES_MAX:
            runner.failures = 0
            self.start_cooldown(server_id, COOLDOWN_S)

    def clear_cooldown(self, server_id: str) -> None:
        """Forget its failures. One that yielded to its user still does."""
        runner = self.find(server_id)
        if runner is not None:
            runner.failures = 0
            runner.cooldown_until = runner.yielded_until

    def start_cooldown(self, server_id: str, seconds: float) -> None:
        """Give the server no job for a while."""
        runner = self.get_or_add(server_id)
        runner.cooldown_until = max(runner.cooldown_until, self._clock.monotonic() + seconds)

    def yield_for(self, server_id: str, seconds: float) -> None:
        """Give the server no job for a while, because it is in use."""
        runner, until = self.get_or_add(server_id), self._clock.monotonic() + seconds
        if until > runner.cooldown_until:
            runner.cooldown_until = runner.yielded_until = until

    def set_takes_others(self, runner: PollingRunner, *, others: bool) -> None:
        """Note whether it takes jobs of others. Once it does again, they need not wait any longer."""
        if others and not runner.others and self.has_yielded(runner.server_id):
            runner.cooldown_until = runner.yielded_until = 0.0
        runner.others = others
