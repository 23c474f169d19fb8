"""The servers whose runners ask for jobs: what is known of each between two questions. In memory, on the
event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from stablequeue_hub.clock import Clock
from stablequeue_hub.matching.job_requirements import Lookup
from stablequeue_hub.matching.judge import Judge
from stablequeue_hub.matching.server_facts import ServerFacts
from stablequeue_hub.matching.stock import Stock
from stablequeue_hub.servers.presence import RunnerState

POLLS_WITHIN_S = 90.0
FAILURES_MAX = 3
COOLDOWN_S = 600.0


@dataclass
class PollingServer:
    """A server whose runner asks for jobs."""

    server_id: str
    facts: ServerFacts | None = None
    stock: Stock | None = None
    judge: Judge | None = None
    stale: bool = True
    unknown: set[Lookup] = field(default_factory=set)
    answers: dict[int, bool] = field(default_factory=dict)
    misfits: set[str] = field(default_factory=set)
    others: bool = False
    loaded: str | None = None
    asked: float = 0.0
    turn: int = 0
    runner_id: str = ""
    parked: asyncio.Event | None = None
    parked_since: float = 0.0
    failures: int = 0
    cooldown_until: float = 0.0
    yielded_until: float = 0.0


class PollingServers:
    """By server id, in the order in which they asked first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._servers: dict[str, PollingServer] = {}

    def __iter__(self) -> Iterator[PollingServer]:
        return iter(list(self._servers.values()))

    def find(self, server_id: str) -> PollingServer | None:
        return self._servers.get(server_id)

    def of(self, server_id: str) -> PollingServer:
        """Also of one that did not ask yet."""
        return self._servers.setdefault(server_id, PollingServer(server_id))

    def forget(self, server_id: str) -> None:
        """A server that the hub does not know any more; its runner gets its answer."""
        asking = self._servers.pop(server_id, None)
        if asking is not None and asking.parked is not None:
            asking.parked.set()

    def polled_recently(self, server_id: str) -> bool:
        """Its runner waits for a job, or asked for one a short while ago."""
        asking = self.find(server_id)
        if asking is None:
            return False
        return asking.parked is not None or self._clock.monotonic() - asking.asked < POLLS_WITHIN_S

    def has_yielded(self, server_id: str) -> bool:
        """It gets no jobs for a while only because somebody used it when it got one."""
        asking = self.find(server_id)
        if asking is None:
            return False
        return self._clock.monotonic() < asking.yielded_until == asking.cooldown_until

    def state(self, server_id: str, *, works: bool) -> RunnerState:
        """What is known of its runner. ``works``: it has a job."""
        asking = self.find(server_id)
        if asking is None:
            return RunnerState(polling=works)
        cools, yielded = self._clock.monotonic() < asking.cooldown_until, self.has_yielded(server_id)
        return RunnerState(
            polling=works or self.polled_recently(server_id),
            in_use=bool(asking.runner_id) and not asking.others,
            in_cooldown=cools and not yielded,
            yielded=yielded,
        )

    def wake(self, checkpoints: Iterable[str | None] | None, only: str | None = None) -> None:
        """Runners that wait look again: those first that have the checkpoint in memory, then who waits
        longest."""
        fitting = set(checkpoints or ()) - {None}
        parked = [
            asking
            for asking in self._servers.values()
            if asking.parked is not None and only in (None, asking.server_id)
        ]
        for asking in sorted(parked, key=lambda one: (one.loaded not in fitting, one.parked_since)):
            if asking.parked is not None:
                asking.parked.set()

    def count(self, server_id: str, *, failed: bool) -> None:
        asking = self.of(server_id)
        asking.failures = asking.failures + 1 if failed else 0
        if asking.failures >= FAILURES_MAX:
            asking.failures = 0
            self.start_cooldown(server_id, COOLDOWN_S)

    def clear_cooldown(self, server_id: str) -> None:
        """Its failures are forgotten. One that gave way to somebody still does."""
        asking = self.find(server_id)
        if asking is not None:
            asking.failures = 0
            asking.cooldown_until = asking.yielded_until

    def start_cooldown(self, server_id: str, seconds: float) -> None:
        """No job for that server for a while."""
        asking = self.of(server_id)
        asking.cooldown_until = max(asking.cooldown_until, self._clock.monotonic() + seconds)

    def yield_for(self, server_id: str, seconds: float) -> None:
        """No job for that server for a while: somebody uses it."""
        asking, until = self.of(server_id), self._clock.monotonic() + seconds
        if until > asking.cooldown_until:
            asking.cooldown_until = asking.yielded_until = until

    def polled_for(self, asking: PollingServer, *, others: bool) -> None:
        """What its runner takes now. Where others are let in again, they need not wait any longer."""
        if others and not asking.others and self.has_yielded(asking.server_id):
            asking.cooldown_until = asking.yielded_until = 0.0
        asking.others = others
