"""Many jobs judged against many servers: each requirement and each kind of needs once. Pure, over what was
read.

Everything that speaks of where jobs can run is a view of this: the check and the reasons give all obstacles,
the sentence the one that holds back most, and the dispatcher assigns a job where there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TypeAlias

from stablequeue_client.shared.generation.capability_needs import CapabilityNeed
from stablequeue_client.shared.wire.jobs import ReasonCode
from stablequeue_hub.matching.job_requirements import JobNeeds, JobRequirement
from stablequeue_hub.matching.obstacles import (
    Obstacle,
    PlacementQuery,
    architecture_answer,
    architecture_obstacle,
    capability_answer,
    capability_obstacle,
    history_obstacles,
    model_obstacle,
    server_obstacles,
    target_obstacles,
)
from stablequeue_hub.matching.server_facts import ServerFacts
from stablequeue_hub.matching.stock import ServerStock

Servers: TypeAlias = frozenset[str]
NOBODY: Servers = frozenset()


class NeedsAnswer:
    """What keeps servers from jobs with some needs. ``without``: the servers that each obstacle keeps away;
    ``clear``: those that lack nothing."""

    def __init__(self, without: Mapping[Obstacle, Servers], everyone: Servers) -> None:
        self.without = without
        self.clear: Servers = everyone.difference(*without.values())

    def at(self, place: int, *codes: ReasonCode) -> Servers:
        """The servers that one of these keeps away at that place."""
        return NOBODY.union(*(self.without.get(Obstacle(code, place), NOBODY) for code in codes))

    def on(self, server_id: str) -> list[Obstacle]:
        """Return what keeps that server away."""
        return [one for one, servers in self.without.items() if server_id in servers]


class Judge:
    """What jobs are judged against: servers by id, in the order of their aliases, and what each has."""

    def __init__(
        self,
        servers: Mapping[str, ServerFacts],
        stocks: Mapping[str, ServerStock],
        *,
        queue_paused: bool = False,
    ) -> None:
        self.servers = servers
        self.queue_paused = queue_paused
        self.everyone: Servers = frozenset(servers)
        self._stocks = stocks
        self._having: dict[str | None, set[str]] = {}
        for server_id, stock in stocks.items():
            if server_id in servers:
                for content in {*stock.ready, *stock.claimed, *stock.away}:
                    self._having.setdefault(content, set()).add(server_id)
        self._models: dict[tuple[JobRequirement, str | None], dict[ReasonCode, Servers]] = {}
        self._architectures: dict[JobRequirement, Servers] = {}
        self._capabilities: dict[CapabilityNeed, Servers] = {}
        self._needs: dict[JobNeeds, NeedsAnswer] = {}
        self._servers: dict[str, dict[str, list[Obstacle]]] = {}

    def obstacles(self, job: PlacementQuery, server_id: str) -> list[Obstacle]:
        """Return everything that keeps the job from the server; nothing: it would get it."""
        lacks = self.of_needs(job.needs).on(server_id)
        if not self.servers[server_id].has_inventory:  # which says it all: nothing is known of its models
            lacks = [one for one in lacks if one.place is None]
        return [
            *target_obstacles(job.targets, server_id),
            *self.of_servers(job.submitted_by)[server_id],
            *history_obstacles(job.exclusions, job.refusals, server_id),
            *lacks,
        ]

    def allowed(self, targets: Collection[str] | None) -> Servers:
        """The servers that a job with these targets is for, whatever they have."""
        return self.everyone if targets is None else self.everyone.intersection(targets)

    def of_servers(self, submitted_by: str) -> Mapping[str, list[Obstacle]]:
        """Return what keeps each server from any job of that submitter."""
        found = self._servers.get(submitted_by)
        if found is None:
            found = self._servers[submitted_by] = {
                server_id: server_obstacles(server, submitted_by, queue_paused=self.queue_paused)
                for server_id, server in self.servers.items()
            }
        return found

    def of_needs(self, needs: JobNeeds) -> NeedsAnswer:
        """Return what the servers lack of them: the same for all jobs with these needs."""
        found = self._needs.get(needs)
        if found is None:
            found = self._needs[needs] = NeedsAnswer(self._without(needs), self.everyone)
        return found

    def _without(self, needs: JobNeeds) -> dict[Obstacle, Servers]:
        found: dict[Obstacle, Servers] = {}
        for place, one in enumerate(needs.requirements):
            for code, servers in self._lacking(one, needs.source_id).items():
                if servers:
                    found[Obstacle(code, place)] = servers
        for place, one in enumerate(needs.requirements):
            servers = self._cannot_load(one)
            if servers:
                found[architecture_obstacle(one)._replace(place=place)] = servers
        for need in needs.capabilities:
            servers = self._cannot_do(need)
            if servers:
                found[capability_obstacle(need)] = servers
        return found

    def _lacking(self, one: JobRequirement, source_id: str | None) -> Mapping[ReasonCode, Servers]:
        """By code, the servers that cannot use the model; those for which it is waived are not among them."""
        key = (one, source_id)
        found = self._models.get(key)
        if found is None:
            answers: dict[ReasonCode, set[str]] = {}
            counting = self._counting(one)
            # All but a few servers have nothing of it, and need not be asked one by one.
            some = self._having.get(one.content, set()) | {source_id or ""}
            for server_id in counting & some:
                stock = self._stocks.get(server_id)
                code = model_obstacle(one, stock, is_source=server_id == source_id)
                if code is not None:
                    answers.setdefault(code, set()).add(server_id)
            rest = counting - some
            nothing = model_obstacle(one, None, is_source=False)
            if rest and nothing is not None:
                answers.setdefault(nothing, set()).update(rest)
            found = self._models[key] = {code: frozenset(ids) for code, ids in answers.items()}
        return found

    def _cannot_load(self, one: JobRequirement) -> Servers:
        found = self._architectures.get(one)
        if found is None:
            found = self._servers_where(
                lambda server: architecture_answer(one, server.capabilities) == "missing"
            )
            found = self._architectures[one] = found & self._counting(one)
        return found

    def _cannot_do(self, need: CapabilityNeed) -> Servers:
        found = self._capabilities.get(need)
        if found is None:
            found = self._servers_where(
                lambda server: capability_answer(need, server.capabilities) == "missing"
            )
            self._capabilities[need] = found
        return found

    def _counting(self, one: JobRequirement) -> Servers:
        """The servers on which it is not waived."""
        if not one.counts:
            return NOBODY
        if one.decision is None:
            return self.everyone
        return frozenset(server_id for server_id in self.everyone if not one.is_waived_on(server_id))

    def _servers_where(self, condition: Callable[[ServerFacts], bool]) -> Servers:
        return frozenset(server_id for server_id, server in self.servers.items() if condition(server))
