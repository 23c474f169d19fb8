"""Many jobs judged against many servers: each requirement and each kind of needs once. Pure, over what was
read.

Everything that speaks of where jobs can run is a view of this: the check and the reasons give all obstacles,
the sentence the one that holds back most, and the dispatcher assigns a job where there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from typing import TypeAlias

from stablequeue_client.shared.generation.capability_needs import CapabilityNeed
from stablequeue_client.shared.wire.jobs import ReasonCode
from stablequeue_hub.matching.incoming import Incoming
from stablequeue_hub.matching.job_requirements import JobNeeds, JobRequirement
from stablequeue_hub.matching.obstacles import (
    BY_STOCK,
    Obstacle,
    PlacementQuery,
    architecture_answer,
    architecture_obstacle,
    capability_answer,
    capability_obstacle,
    history_obstacles,
    must_be_loadable,
    server_obstacles,
    target_obstacles,
)
from stablequeue_hub.matching.server_facts import ServerFacts
from stablequeue_hub.matching.stock import Stock

Servers: TypeAlias = frozenset[str]
NOBODY: Servers = frozenset()


class ModelAnswer:
    """Who can use one model. ``usable``: the servers that can, or where it is waived; ``hindered``: by code,
    those that have it and cannot use it as it is; ``otherwise``: the code for all others."""

    def __init__(
        self, usable: Servers, hindered: Mapping[ReasonCode, Servers], otherwise: ReasonCode
    ) -> None:
        self.usable = usable
        self.hindered = hindered
        self.otherwise = otherwise
        self.having = usable.union(*hindered.values()) if hindered else usable
        """The servers that have it, usable or not."""
        self.not_ready = self.of("model_unhashed") | self.of("model_unreachable") if hindered else NOBODY
        """The servers where it is not read yet, or not connected."""

    def of(self, code: ReasonCode) -> Servers:
        return self.hindered.get(code, NOBODY)

    def code(self, server_id: str) -> ReasonCode | None:
        """Why that server cannot use it; None when it can."""
        if server_id in self.usable:
            return None
        return next((code for code, ids in self.hindered.items() if server_id in ids), self.otherwise)


class NeedsAnswer:
    """What keeps servers from jobs with some needs. ``models``: by place; ``besides``: the servers that an
    obstacle keeps away which is no matter of having a model."""

    def __init__(
        self, models: Sequence[ModelAnswer], besides: Mapping[Obstacle, Servers], everyone: Servers
    ) -> None:
        self.models = models
        self.besides = besides
        self._everyone = everyone

    @cached_property
    def clear(self) -> Servers:
        """The servers that lack nothing."""
        usable = self._everyone.intersection(*(one.usable for one in self.models))
        return usable.difference(*self.besides.values())

    def on(self, server_id: str) -> list[Obstacle]:
        """Return what keeps that server away."""
        codes = ((one.code(server_id), place) for place, one in enumerate(self.models))
        return [
            *(Obstacle(code, place) for code, place in codes if code is not None),
            *(one for one, servers in self.besides.items() if server_id in servers),
        ]


class Judge:
    """What jobs are judged against: servers by id, in the order of their aliases, and what each has."""

    def __init__(
        self,
        servers: Mapping[str, ServerFacts],
        stock: Stock,
        *,
        queue_paused: bool = False,
        incoming: Incoming | None = None,
    ) -> None:
        """``incoming``: copies under way, for the sentence alone; a server has what it has now."""
        self.servers = servers
        self.incoming: Incoming = incoming or {}
        self.queue_paused = queue_paused
        self.everyone: Servers = frozenset(servers)
        self.nothing_failed = not any(one.unloadable for one in servers.values())
        """No WebUI failed to load any model."""
        self._stock = stock
        self._models: dict[tuple[JobRequirement, str | None], ModelAnswer] = {}
        self._architectures: dict[str | None, Servers] = {}
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
            models = [self._of_model(one, needs.source_id) for one in needs.requirements]
            found = NeedsAnswer(models, self._besides(needs), self.everyone)
            self._needs[needs] = found
        return found

    def _besides(self, needs: JobNeeds) -> dict[Obstacle, Servers]:
        """What keeps servers away though they have the models."""
        found: dict[Obstacle, Servers] = {}
        for place, one in enumerate(needs.requirements):
            servers = self._cannot_load(one)
            if servers:
                found[architecture_obstacle(one)._replace(place=place)] = servers
            for server_id in () if self.nothing_failed else self.everyone - self._waived(one):
                text = self.servers[server_id].unloadable.get(one.content or "") if one.counts else None
                if text is not None:
                    failed = Obstacle("model_unloadable", place, text)
                    found[failed] = found.get(failed, NOBODY) | {server_id}
        for need in needs.capabilities:
            servers = self._cannot_do(need)
            if servers:
                found[capability_obstacle(need)] = servers
        return found

    def _of_model(self, one: JobRequirement, source_id: str | None) -> ModelAnswer:
        key = (one, source_id)
        found = self._models.get(key)
        if found is None:
            found = self._models[key] = self._judge_model(one, source_id)
        return found

    def _judge_model(self, one: JobRequirement, source_id: str | None) -> ModelAnswer:
        if not one.counts:
            return ModelAnswer(self.everyone, {}, "model_missing")
        waived = self._waived(one)
        if one.status == "ambiguous":
            return ModelAnswer(waived, {}, "model_ambiguous")
        answers = self._stock.answers(one, source_id)
        usable = self.everyone & answers.pop("usable", NOBODY)
        if waived:
            usable |= waived
        hindered = {}
        for answer, ids in answers.items():
            kept = (self.everyone & ids) - usable
            if kept and answer != "missing":
                hindered[BY_STOCK[answer]] = kept
        return ModelAnswer(usable, hindered, BY_STOCK["missing"])

    def _cannot_load(self, one: JobRequirement) -> Servers:
        if not must_be_loadable(one):
            return NOBODY
        found = self._architectures.get(one.base_model)
        if found is None:
            found = self._servers_where(
                lambda server: architecture_answer(one, server.capabilities) == "missing"
            )
            self._architectures[one.base_model] = found
        return found - self._waived(one) if one.counts else NOBODY

    def _cannot_do(self, need: CapabilityNeed) -> Servers:
        found = self._capabilities.get(need)
        if found is None:
            found = self._servers_where(
                lambda server: capability_answer(need, server.capabilities) == "missing"
            )
            self._capabilities[need] = found
        return found

    def _waived(self, one: JobRequirement) -> Servers:
        """The servers on which it holds up nothing, because a person said so."""
        if one.decision is None:
            return NOBODY
        return frozenset(server_id for server_id in self.everyone if one.is_waived_on(server_id))

    def _servers_where(self, condition: Callable[[ServerFacts], bool]) -> Servers:
        return frozenset(server_id for server_id, server in self.servers.items() if condition(server))
