"""What a pending job waits for, as one sentence. Pure.

Servers are struck off one obstacle after the other, the hardest first; the obstacle that strikes off the last
one is what the job waits for. So the sentence names what would have to change, and not what is wrong besides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from stablequeue_client.shared.generation.requirements import checkpoint_parts
from stablequeue_client.shared.model_files.model_file import ENDINGS_OF_NAMES
from stablequeue_client.shared.wire.jobs import ReasonCode
from stablequeue_hub.matching.job_requirements import JobNeeds, JobRequirement
from stablequeue_hub.matching.judge import NOBODY, Judge, NeedsAnswer, Servers
from stablequeue_hub.matching.obstacles import Obstacle, PlacementQuery, history_obstacles
from stablequeue_hub.servers.servers import NO_AGENT

NAME_MAX = 80
ALIASES_MAX = 3

ModelMark = Literal["have", "missing", "ambiguous", "unread", "away", "decided", "unchecked"]
_UNCLEAR: dict[str, ModelMark] = {"ambiguous": "ambiguous", "unhashed": "unread", "missing": "missing"}

_EXCLUDED: dict[ReasonCode, str] = {
    "excluded_refused": "sent it back",
    "excluded_failed": "failed with it",
    "excluded_lost": "was lost while running it",
}
_OF_THE_SERVER: dict[ReasonCode, tuple[str, str]] = {
    "server_frozen": ("whose identity two running copies use", "whose identity two running copies use"),
    "server_unknown": ("which has not reported its models yet", "which have not reported their models yet"),
    "no_webui": (
        "which cannot make pictures: only the agent runs there",
        "which cannot make pictures: only the agent runs there",
    ),
    "no_runner": (
        "which accepts no jobs: StableQueue is not running in a WebUI there",
        "which accept no jobs: StableQueue is not running in a WebUI there",
    ),
    "server_paused": ("which is paused", "which are paused"),
    "server_resting": (
        "which is in cooldown after several failures",
        "which are in cooldown after several failures",
    ),
    "server_unreachable": ("which is switched off", "which are switched off"),
    "server_trouble": (
        "which cannot make pictures until its trouble is cleared",
        "which cannot make pictures until their trouble is cleared",
    ),
    "server_in_use": ("which is in use", "which are in use"),
}
"""In the order in which servers are struck off; the words for one server and for two or three."""


class Waiting(NamedTuple):
    """``code`` None: it is in line for ``servers``. ``blocking``: the places of the models that it waits
    for."""

    text: str
    code: ReasonCode | None = None
    blocking: tuple[int, ...] = ()
    servers: Servers = frozenset()


class Sentences:
    """The sentences of jobs, as one judge sees them."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self._installed: Servers = frozenset(
            one for one, facts in judge.servers.items() if not facts.no_agent
        )
        """The servers that are more than an address."""

    def waiting(self, job: PlacementQuery, before: int | None = None) -> Waiting:
        """Return what the job waits for. ``before``: jobs that come first; None: not known."""
        judge, answer = self.judge, self.judge.of_needs(job.needs)
        allowed = judge.allowed(job.targets)
        if any(one.code == "refused_often" for one in history_obstacles((), job.refusals, "")):
            text = f"Sent back {job.refusals} times; it waits until you choose where to try again"
            return Waiting(text, "refused_often")
        if not allowed:
            text = "Waits for a server: none has joined" if job.targets is None else "Its target is gone"
            return Waiting(text, "server_unknown" if job.targets is None else "not_a_target")
        installed = allowed & self._installed
        if not installed:
            return Waiting(f"Waits for {self.aliases(allowed)}. {NO_AGENT}", "no_agent")
        allowed = installed
        left = allowed.intersection(*(one.having for one in answer.models))
        if not left:
            return self._waits_for_models(job.needs, answer, job.targets, allowed)
        return self._waits_for_servers(job, answer, left, before)

    def _waits_for_servers(
        self, job: PlacementQuery, answer: NeedsAnswer, left: Servers, before: int | None
    ) -> Waiting:
        ready = left.difference(*(one.not_ready for one in answer.models))
        if not ready:
            return self._waits_until_ready(job.needs, answer, left)
        left = ready
        for obstacle, bad in (*_of_needs(answer), *self._of_history(job, left)):
            if left <= bad:
                return Waiting(self._sentence_for(obstacle, job.needs, left), obstacle.code)
            left -= bad
        kept_away = self._of_servers(job.submitted_by, left)
        bad = kept_away.get("not_for_others", NOBODY)
        if left <= bad:
            take = "takes" if len(left) == 1 else "take"
            who = self.aliases(left, "and")
            text = f"Waits for a server that takes jobs from others: {who} {take} none"
            return Waiting(text, "not_for_others")
        left -= bad
        for code, (one_is, several_are) in _OF_THE_SERVER.items():
            bad = kept_away.get(code, NOBODY)
            if left <= bad:
                words = several_are if 1 < len(left) <= ALIASES_MAX else one_is
                return Waiting(f"Waits for {self.aliases(left)}, {words}", code)
            left -= bad
        if self.judge.queue_paused:
            return Waiting("Waits until the queue is resumed", "queue_paused")
        return Waiting(self.in_line(left, before), servers=left)

    def _waits_until_ready(self, needs: JobNeeds, answer: NeedsAnswer, left: Servers) -> Waiting:
        """All models are on these servers, and on each one of them is not read yet, or not connected."""
        everywhere = [place for place, one in enumerate(answer.models) if left <= one.not_ready]
        if not everywhere:  # one server lacks this, another that: the first in line is as good as any
            first = next(server_id for server_id in self.judge.servers if server_id in left)
            left = frozenset({first})
            everywhere = [place for place, one in enumerate(answer.models) if first in one.not_ready]
        place = everywhere[0]
        name, unread = shown_name(needs.requirements[place]), left & answer.models[place].of("model_unhashed")
        if unread:
            text = f"Waits for {name}, which has to be read first on {self.aliases(unread)}"
            return Waiting(text, "model_unhashed", (place,))
        text = f"Waits for the folder of {name} on {self.aliases(left)}, which is not connected"
        return Waiting(text, "model_unreachable", (place,))

    def _of_history(self, job: PlacementQuery, some: Servers) -> Iterator[tuple[Obstacle, Servers]]:
        for code in _EXCLUDED if job.exclusions else ():
            yield (
                Obstacle(code),
                frozenset(
                    server_id
                    for server_id in some
                    if any(one.code == code for one in history_obstacles(job.exclusions, 0, server_id))
                ),
            )

    def _of_servers(self, submitted_by: str, some: Servers) -> dict[ReasonCode, Servers]:
        """By code, those of ``some`` that are kept from any job of that submitter."""
        found: dict[ReasonCode, set[str]] = {}
        by_server = self.judge.of_servers(submitted_by)
        for server_id in some:
            for one in by_server[server_id]:
                found.setdefault(one.code, set()).add(server_id)
        return {code: frozenset(ids) for code, ids in found.items()}

    def _sentence_for(self, obstacle: Obstacle, needs: JobNeeds, left: Servers) -> str:
        """The sentence when the last servers are struck off."""
        code = obstacle.code
        if code == "architecture_unsupported":
            return f"Waits for a WebUI that loads {obstacle.detail}"
        if code == "model_name_shared":
            name, where = shown_name(needs.requirements[obstacle.place or 0]), self.aliases(left)
            return f"Waits for {name} to be renamed on {where}, where another file has the same name"
        if code == "model_unloadable":
            name = shown_name(needs.requirements[obstacle.place or 0])
            return f"Waits for another WebUI: that of {self.aliases(left)} cannot load {name}"
        if code == "field_unknown":
            return f"Waits for a correction: no WebUI here has the {obstacle.detail}"
        if code in _EXCLUDED:
            return f"Waits for another server: {self.aliases(left, 'and')} {_EXCLUDED[code]}"
        return f"Waits for a WebUI with {obstacle.detail}"

    def in_line(self, some: Servers, before: int | None) -> str:
        """The sentence for a job that ``some`` would take. ``before``: jobs that come first, if known."""
        where = self.aliases(some)
        if before == 0:
            return f"Next in line on {where}"
        if before is None:
            return f"In line for {where}"
        jobs = "1 job" if before == 1 else f"{before:,} jobs"
        return f"In line for {where}, {jobs} before it"

    # --- models -----------------------------------------------------------------------------------------

    def _waits_for_models(
        self, needs: JobNeeds, answer: NeedsAnswer, targets: Collection[str] | None, allowed: Servers
    ) -> Waiting:
        blocking = tuple(
            place for place in range(len(needs.requirements)) if not allowed & answer.models[place].having
        )
        if not blocking:
            return self._waits_for_the_rest(needs, answer, allowed)
        first = needs.requirements[blocking[0]]
        somewhere = answer.models[blocking[0]].having
        code, why = self._why_nowhere(first, needs, targets, allowed, anywhere=bool(somewhere))
        more = f" (and {len(blocking) - 1} more)" if len(blocking) > 1 else ""
        why = self._coming(first, allowed) or why
        return Waiting(f"Waits for {shown_name(first)}{more}: {why}", code, blocking)

    def _why_nowhere(
        self,
        one: JobRequirement,
        needs: JobNeeds,
        targets: Collection[str] | None,
        allowed: Servers,
        *,
        anywhere: bool,
    ) -> tuple[ReasonCode, str]:
        if one.status == "ambiguous":
            return "model_ambiguous", "several models have this name; choose one"
        if one.status == "unhashed":
            return "model_unhashed", "it has to be read first, where the job was written"
        source = self.judge.servers.get(needs.source_id or "")
        if source_never_reported(one, needs, self.judge) and source is not None:
            return (
                "model_missing",
                f"its names cannot be resolved yet, {source.alias} has not reported its models",
            )
        if targets is None or not anywhere:
            return "model_missing", "no server has it"
        if len(allowed) == 1:
            return "model_missing", f"{self.aliases(allowed)} does not have it"
        return "model_missing", f"none of its {len(allowed)} servers has it"

    def _waits_for_the_rest(self, needs: JobNeeds, answer: NeedsAnswer, allowed: Servers) -> Waiting:
        """Each of its models is somewhere, and no server has them all: what the one lacks that has most."""
        held = [one.having for one in answer.models]
        having = Counter(server_id for servers in held for server_id in allowed & servers)
        most = max(having.values())
        best = {server_id for server_id, number in having.items() if number == most}
        nearest = next(server_id for server_id in self.judge.servers if server_id in best)
        places = tuple(place for place, servers in enumerate(held) if nearest not in servers)
        first = needs.requirements[places[0]]
        if first.status == "ambiguous":
            code, why = self._why_nowhere(first, needs, None, allowed, anywhere=False)
            return Waiting(f"Waits for {shown_name(first)}: {why}", code, places)
        coming = self._coming(first, frozenset({nearest}))
        if coming is not None:
            return Waiting(f"Waits for {shown_name(first)}: {coming}", "model_missing", places)
        names = _joined([shown_name(needs.requirements[place]) for place in places], "and")
        alias = self.judge.servers[nearest].alias
        rest = "everything else" if len(places) < len(held) else "the rest"
        return Waiting(f"Waits for {names} on {alias}, which has {rest}", "model_missing", places)

    def _coming(self, one: JobRequirement, allowed: Servers) -> str | None:
        """Say how a copy of the model to one of these servers goes; None when there is none."""
        copies = [
            copy for copy in self.judge.incoming.get(one.content or "", ()) if copy.target_id in allowed
        ]
        if not copies:
            return None
        copy = max(copies, key=lambda copy: copy.done)
        target = self.aliases([copy.target_id])
        if copy.source_id is None or copy.source_id not in self.judge.servers:
            return f"it comes to {target} once a server that has it is switched on"
        source = self.aliases([copy.source_id])
        if copy.state == "asked":
            return f"{source} has it; copying it to {target} has to be accepted"
        if copy.state == "verifying":
            return f"it came from {source} to {target} and is being checked"
        percent = f", {copy.done:.0%}" if copy.state == "running" or copy.done else ""
        return f"it comes from {source} to {target}{percent}"

    def marks(self, needs: JobNeeds, targets: Collection[str] | None) -> list[ModelMark]:
        """Return the mark of each model of a job for ``targets`` (None: any server)."""
        allowed, answer = self.judge.allowed(targets), self.judge.of_needs(needs)
        return [self._mark(place, one, answer, allowed) for place, one in enumerate(needs.requirements)]

    def _mark(self, place: int, one: JobRequirement, answer: NeedsAnswer, allowed: Servers) -> ModelMark:
        if one.decision is not None or not one.counts:
            return "decided" if one.decision is not None else "unchecked"
        if one.status in _UNCLEAR:
            return _UNCLEAR[one.status]
        ready = (allowed & answer.models[place].having) - answer.models[place].not_ready
        if ready:
            return "have" if any(self.judge.servers[one].reachable for one in ready) else "away"
        if allowed & answer.models[place].of("model_unhashed"):
            return "unread"
        return "away" if allowed & answer.models[place].of("model_unreachable") else "missing"

    def lacks_models(self, job: PlacementQuery) -> bool:
        """Return whether ``waiting`` would name models, without building the sentence."""
        judge, answer = self.judge, self.judge.of_needs(job.needs)
        allowed = judge.allowed(job.targets) & self._installed
        if history_obstacles((), job.refusals, "") or not allowed:
            return False
        left = allowed.intersection(*(one.having for one in answer.models))
        return not left.difference(*(one.not_ready for one in answer.models))

    def lacking(self, job: PlacementQuery, blocking: tuple[int, ...]) -> list[tuple[int, ...]]:
        """The places of models that would have to come, each a way out: those that no server has, else those
        that each of the servers lacks that have most. ``blocking``: as ``waiting`` says, not empty."""
        answer, allowed = self.judge.of_needs(job.needs), self.judge.allowed(job.targets) & self._installed
        held = [one.having for one in answer.models]
        if any(not allowed & held[place] for place in blocking):
            return [blocking]
        ways = [
            tuple(p for p, servers in enumerate(held) if server_id not in servers) for server_id in allowed
        ]
        least = min(len(way) for way in ways)
        return sorted({way for way in ways if len(way) == least}) if least else [blocking]

    def able_without(self, job: PlacementQuery, places: Collection[int]) -> Servers:
        """The servers that could take the job now if the models at these places were there."""
        return frozenset(
            server_id
            for server_id in self.judge.allowed(job.targets)
            if all(
                one.place in places or one.code == "queue_paused"
                for one in self.judge.obstacles(job, server_id)
            )
        )

    def aliases(self, some: Collection[str], word: str = "or") -> str:
        """Names of servers in a sentence; of many only how many."""
        if len(some) > ALIASES_MAX:
            return f"one of {len(some)} servers" if word == "or" else f"{len(some)} servers"
        return _joined([server.alias for key, server in self.judge.servers.items() if key in some], word)


def source_never_reported(one: JobRequirement, needs: JobNeeds, judge: Judge) -> bool:
    """Whether nobody knows yet what its name means, because the server where it was written never told what
    it has."""
    source = judge.servers.get(needs.source_id or "")
    return one.status == "missing" and not one.hash and source is not None and not source.has_inventory


def _of_needs(answer: NeedsAnswer) -> Iterator[tuple[Obstacle, Servers]]:
    """What keeps servers from a job although they have its models: what they cannot load first."""
    besides = answer.besides.items()
    yield from ((one, bad) for one, bad in besides if one.place is not None)
    for place, model in enumerate(answer.models):
        if "model_name_shared" in model.hindered:
            yield Obstacle("model_name_shared", place), model.of("model_name_shared")
    yield from ((one, bad) for one, bad in besides if one.place is None)


def shown_name(one: JobRequirement) -> str:
    """Return the name to show: without hash and extension, and not longer than a line."""
    return short_name(one.name)


@lru_cache(maxsize=4096)
def short_name(written: str) -> str:
    """As ``shown_name``."""
    name = checkpoint_parts(written)[0]
    ending = next((end for end in ENDINGS_OF_NAMES if name.lower().endswith(end)), "")
    name = name[: len(name) - len(ending)] or written
    return name if len(name) <= NAME_MAX else f"{name[: NAME_MAX - 1]}…"


def _joined(names: Sequence[str], word: str) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"
