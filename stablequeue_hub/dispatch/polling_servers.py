"""The servers whose runners ask for jobs: what is known of each between two questions. In memory, on the
event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from stablequeue_hub.clock import Clock
from stablequeue_hub.matching.server_stock import ServerStock

ASKS_WITHIN_S = 90.0
FAILURES_MAX = 3
COOLING_S = 600.0


@dataclass
class AskingServer:
    """A server whose runner asks for jobs."""

    server_id: str
    stock: ServerStock | None = None
    stale: bool = True
    unknown: set[int] = field(default_factory=set)
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
    cools_until: float = 0.0
    gave_way_until: float = 0.0


class AskingServers:
    """By server id, in the order in which they asked first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._servers: dict[str, AskingServer] = {}

    def __iter__(self) -> Iterator[AskingServer]:
        return iter(list(self._servers.values()))

    def find(self, server_id: str) -> AskingServer | None:
        return self._servers.get(server_id)

    def of(self, server_id: str) -> AskingServer:
        """Also of one that did not ask yet."""
        return self._servers.setdefault(server_id, AskingServer(server_id))

    def forget(self, server_id: str) -> None:
        """A server that the hub does not know any more; its runner gets its answer."""
        asking = self._servers.pop(server_id, None)
        if asking is not None and asking.parked is not None:
            asking.parked.set()

    def asked_lately(self, server_id: str) -> bool:
        """Its runner waits for a job, or asked for one a short while ago."""
        asking = self.find(server_id)
        if asking is None:
            return False
        return asking.parked is not None or self._clock.monotonic() - asking.asked < ASKS_WITHIN_S

    def cools(self, server_id: str) -> bool:
        """It gets no jobs for a while: it failed several times in a row, or gave way."""
        asking = self.find(server_id)
        return asking is not None and self._clock.monotonic() < asking.cools_until

    def gave_way(self, server_id: str) -> bool:
        """It gets no jobs for a while only because somebody used it when it got one."""
        asking = self.find(server_id)
        if asking is None:
            return False
        return self._clock.monotonic() < asking.gave_way_until == asking.cools_until

    def is_in_use(self, server_id: str) -> bool:
        """Its runner asked last for its own jobs only."""
        asking = self.find(server_id)
        return asking is not None and bool(asking.runner_id) and not asking.others

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
            self.cool(server_id, COOLING_S)

    def end_rest(self, server_id: str) -> None:
        """Its failures are forgotten. One that gave way to somebody still does."""
        asking = self.find(server_id)
        if asking is not None:
            asking.failures = 0
            asking.cools_until = asking.gave_way_until

    def cool(self, server_id: str, seconds: float) -> None:
        """No job for that server for a while."""
        asking = self.of(server_id)
        asking.cools_until = max(asking.cools_until, self._clock.monotonic() + seconds)

    def give_way(self, server_id: str, seconds: float) -> None:
        """No job for that server for a while: somebody uses it."""
        asking, until = self.of(server_id), self._clock.monotonic() + seconds
        if until > asking.cools_until:
            asking.cools_until = asking.gave_way_until = until

    def asked_for(self, asking: AskingServer, *, others: bool) -> None:
        """What its runner takes now. Where others are let in again, they need not wait any longer."""
        if others and not asking.others and self.gave_way(asking.server_id):
            asking.cools_until = asking.gave_way_until = 0.0
        asking.others = others
