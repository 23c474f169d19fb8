"""What a pending job waits for, as one sentence. Pure.

Servers are struck off one obstacle after the other, the hardest first; the obstacle that strikes off the last
one is what the job waits for. So the sentence names what would have to change, and not what is wrong besides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

from stablequeue_client.shared.generation.capability_needs import CapabilityNeed, missing_capability
from stablequeue_client.shared.generation.requirements import checkpoint_parts
from stablequeue_client.shared.models.architectures import (
    architecture_of,
    architecture_text,
    missing_architecture,
)
from stablequeue_client.shared.models.model_files import MODEL_EXTENSIONS
from stablequeue_client.shared.wire.jobs import WhyCode
from stablequeue_hub.matching.eligibility import CHECKPOINTS, need_words
from stablequeue_hub.matching.needs import REFUSALS_MAX
from stablequeue_hub.matching.server_facts import Exclusion, ServerFacts, Stock
from stablequeue_hub.matching.server_stock import ServerStock
from stablequeue_hub.matching.stock_of_many import WantedModel, cannot_be_named
from stablequeue_hub.matching.stored_payload import StoredPayload, StoredRequirement
from stablequeue_hub.servers.servers import NO_AGENT

NAME_MAX = 80
ALIASES_MAX = 3
EXCLUDED: dict[str, tuple[WhyCode, str, str]] = {
    "refused": ("excluded_refused", "sent it back", "It sent the job back."),
    "failed": ("excluded_failed", "failed with it", "It failed with the job."),
    "lost": ("excluded_lost", "did not come back from it", "It was lost while it worked on the job."),
}
"""By the reason of an exclusion: its code, and words for a sentence and for one server."""

ModelMark = Literal["have", "missing", "ambiguous", "unread", "away", "decided", "unchecked"]
_UNCLEAR: dict[str, ModelMark] = {"ambiguous": "ambiguous", "unhashed": "unread", "missing": "missing"}

Servers: TypeAlias = frozenset[str]
_Obstacle: TypeAlias = tuple[WhyCode, Servers, str]
"""Code, the servers it concerns, and words for the sentence."""


@dataclass(frozen=True)
class Waiting:
    """``code`` None: it is in line for ``servers``. ``blocking``: the places of the models that it waits
    for."""

    text: str
    code: WhyCode | None = None
    blocking: tuple[int, ...] = ()
    servers: Servers = frozenset()


@dataclass(frozen=True)
class WaitingJob:
    """A pending job and what is known around it. ``before``: jobs that come first; None: not known."""

    payload: StoredPayload
    submitted_by: str
    targets: frozenset[str] | None = None
    refusals: int = 0
    exclusions: Sequence[Exclusion] = ()
    before: int | None = None


class Surroundings:
    """What many jobs are judged against: servers by id, in order of their aliases, stock by content, and by
    server which names there mean what is wanted."""

    def __init__(
        self,
        servers: Mapping[str, ServerFacts],
        stock: Mapping[str, Stock],
        named: Mapping[str, ServerStock] | None = None,
        *,
        queue_paused: bool = False,
    ) -> None:
        self.servers = servers
        self.named = named or {}
        self.queue_paused = queue_paused
        self._stock = stock
        self._all = frozenset(servers)
        self._lacking: dict[CapabilityNeed, Servers] = {}
        self._mistakable: dict[tuple[WantedModel, str | None], Servers] = {}
        self._held: dict[tuple[str | None, ...], _Held] = {}
        self._without_agent = self._those(lambda server: server.no_agent)
        self._frozen = self._those(lambda server: server.frozen)
        self._silent = self._those(lambda server: server.asks is False)
        self._paused = self._those(lambda server: server.paused)
        self._resting = self._those(lambda server: server.resting)
        self._unreachable = self._those(lambda server: not server.reachable)
        self._in_use_now = self._those(lambda server: server.in_use)
        self._gave_way = self._those(lambda server: server.gave_way)
        self._for_nobody = self._those(lambda server: server.for_others == "never")
        self._soft: tuple[_Obstacle, ...] = (
            ("server_frozen", self._frozen, "whose identity two running copies use"),
            ("no_agent", self._silent, "which does not ask for jobs"),
            ("server_paused", self._paused, "which is paused"),
            ("server_resting", self._resting, "which rests after several failures"),
            ("server_unreachable", self._unreachable, "which is switched off"),
        )

    def _those(self, condition: Callable[[ServerFacts], bool]) -> Servers:
        return frozenset(server_id for server_id, server in self.servers.items() if condition(server))

    # --- the sentence -----------------------------------------------------------------------------------

    def waiting(self, job: WaitingJob) -> Waiting:
        """What the job waits for."""
        allowed = self._all if job.targets is None else self._all & job.targets
        if job.refusals >= REFUSALS_MAX:
            text = f"Sent back {job.refusals} times; it waits until you say where to try again"
            return Waiting(text, "refused_often")
        if not allowed:
            text = "Waits for a server: none has joined" if job.targets is None else "Its target is gone"
            return Waiting(text, "server_unknown" if job.targets is None else "not_a_target")
        if allowed <= self._without_agent:
            return Waiting(f"Waits for {self.aliases(allowed)}. {NO_AGENT}", "no_agent")
        held = [self._holders(one, job.payload.source_id) for one in job.payload.requirements]
        left = allowed.intersection(*(one.somehow for one in held))
        if not left:
            return self._waits_for_models(job, held, allowed)
        return self._waits_for_servers(job, held, left)

    def _waits_for_servers(self, job: WaitingJob, held: list[_Held], left: Servers) -> Waiting:
        for place, one in enumerate(held):
            if one.ready is not None and not left & one.ready:
                name = shown_name(job.payload.requirements[place])
                if left & one.unread:
                    text = (
                        f"Waits for {name}, which has to be read first on {self.aliases(left & one.unread)}"
                    )
                    return Waiting(text, "model_unhashed", (place,))
                text = f"Waits for the folder of {name} on {self.aliases(left)}, which is not connected"
                return Waiting(text, "model_unreachable", (place,))
        ready = left.intersection(*(one.ready for one in held if one.ready is not None))
        left = ready or left
        for code, bad, detail in self._hard(job):
            if left <= bad:
                return Waiting(self._said(code, detail, left), code)
            left -= bad
        for code, bad, words in (*self._soft, self._in_use(job)):
            if left <= bad:
                return Waiting(f"Waits for {self.aliases(left)}, {_plural(words, left)}", code)
            left -= bad
        return self._in_line(job, left)

    def _hard(self, job: WaitingJob) -> Iterator[_Obstacle]:
        """What keeps servers from a job although they have its models."""
        for one in job.payload.requirements:
            kind = architecture_of(self._base_model(one))
            if kind is not None and one.counts and one.role in CHECKPOINTS:
                yield "architecture_unsupported", self._cannot_load(one), architecture_text(kind)
        for one in job.payload.requirements:
            wanted = one.wanted
            if one.counts and wanted is not None:
                waived = frozenset({one.decision_server_id} if one.decision == "run_anyway" else ())
                mistakable = self._could_mistake(wanted, job.payload.source_id)
                yield "model_name_shared", mistakable - waived, shown_name(one)
        for need in job.payload.needs:
            lacks, word = need_words(need.kind)
            yield lacks, self._without(need), f"{word} {need.name}"
        for reason, (code, words, _) in EXCLUDED.items():
            yield code, frozenset(one.server_id for one in job.exclusions if one.reason == reason), words
        others = frozenset(one for one in self._for_nobody if job.submitted_by != f"server:{one}")
        yield "not_for_others", others, "work for nobody else"

    def _in_use(self, job: WaitingJob) -> _Obstacle:
        busy = frozenset(one for one in self._in_use_now if job.submitted_by != f"server:{one}")
        return "server_in_use", busy | self._gave_way, "where somebody works just now"

    def _said(self, code: WhyCode, detail: str, left: Servers) -> str:
        """The sentence when the last servers are struck off."""
        aliases = self.aliases(left, "and")
        if code == "architecture_unsupported":
            return f"Waits for a WebUI that loads {detail}"
        if code == "model_name_shared":
            where = self.aliases(left)
            return f"Waits for another name of {detail} on {where}, where another file is called so too"
        if code == "not_for_others":
            one = detail.replace("work", "works", 1) if len(left) == 1 else detail
            return f"Waits for a server that works for others: {aliases} {one}"
        if code.startswith("excluded_"):
            return f"Waits for another server: {aliases} {detail}"
        return f"Waits for a WebUI with {detail}"

    def _in_line(self, job: WaitingJob, left: Servers) -> Waiting:
        if self.queue_paused:
            return Waiting("Waits until the queue goes on", "queue_paused")
        return Waiting(self.in_line(left, job.before), servers=left)

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

    def _waits_for_models(self, job: WaitingJob, held: list[_Held], allowed: Servers) -> Waiting:
        blocking = tuple(place for place, one in enumerate(held) if not one.somehow & allowed)
        if not blocking:
            return self._waits_for_the_rest(job, held, allowed)
        first = job.payload.requirements[blocking[0]]
        code, why = self._why_nowhere(first, held[blocking[0]], job, allowed)
        more = f" (and {len(blocking) - 1} more)" if len(blocking) > 1 else ""
        return Waiting(f"Waits for {shown_name(first)}{more}: {why}", code, blocking)

    def _why_nowhere(
        self, one: StoredRequirement, held: _Held, job: WaitingJob, allowed: Servers
    ) -> tuple[WhyCode, str]:
        if one.status == "ambiguous":
            return "model_ambiguous", "several models are called so; say which"
        if one.status == "unhashed":
            return "model_unhashed", "it has to be read first, where the job was written"
        source = self.servers.get(job.payload.source_id or "")
        if one.status == "missing" and not one.hash and source is not None and not source.has_inventory:
            return "model_missing", f"its names are not known yet, {source.alias} never told what it has"
        if job.targets is None or not held.somehow:
            return "model_missing", "no server has it"
        if len(allowed) == 1:
            return "model_missing", f"{self.aliases(allowed)} does not have it"
        return "model_missing", f"none of its {len(allowed)} servers has it"

    def _waits_for_the_rest(self, job: WaitingJob, held: list[_Held], allowed: Servers) -> Waiting:
        """Each of its models is somewhere, and no server has them all: what the one lacks that has most."""
        having = Counter(server_id for one in held for server_id in one.somehow if server_id in allowed)
        most = max(having.values())
        best = {server_id for server_id, number in having.items() if number == most}
        nearest = next(server_id for server_id in self.servers if server_id in best)
        places = tuple(place for place, one in enumerate(held) if nearest not in one.somehow)
        names = _joined([shown_name(job.payload.requirements[place]) for place in places], "and")
        alias = self.servers[nearest].alias
        rest = "everything else" if len(places) < len(held) else "the rest"
        return Waiting(f"Waits for {names} on {alias}, which has {rest}", "model_missing", places)

    def marks(self, payload: StoredPayload, targets: Servers | None) -> list[ModelMark]:
        """What is known of each model of a job for ``targets`` (None: any server)."""
        allowed = self._all if targets is None else self._all & targets
        return [self._mark(one, payload.source_id, allowed) for one in payload.requirements]

    def _mark(self, one: StoredRequirement, source_id: str | None, allowed: Servers) -> ModelMark:
        if one.decision is not None or not one.counts:
            return "decided" if one.decision is not None else "unchecked"
        if one.status in _UNCLEAR:
            return _UNCLEAR[one.status]
        held = self._holders(one, source_id)
        ready = (held.ready or frozenset()) & allowed
        if ready:
            return "away" if ready <= self._unreachable else "have"
        if held.unread & allowed:
            return "unread"
        return "away" if held.somehow & allowed else "missing"

    def can_take(self, job: WaitingJob) -> Servers:
        """The servers that the job is for, whatever they have."""
        return self._all if job.targets is None else self._all & job.targets

    def lacks_models(self, job: WaitingJob) -> bool:
        """Whether ``waiting`` names models that it waits for; without finding the words."""
        left = self.can_take(job)
        if job.refusals >= REFUSALS_MAX or left <= self._without_agent:
            return False
        held = [self._holders(one, job.payload.source_id) for one in job.payload.requirements]
        for one in held:
            left &= one.somehow
        return not left or any(one.ready is not None and not left & one.ready for one in held)

    def lacking(self, job: WaitingJob, blocking: tuple[int, ...]) -> list[tuple[int, ...]]:
        """The places of models that would have to come, each a way out: those that no server has, else those
        that each of the servers lacks that have most. ``blocking``: as ``waiting`` says, not empty."""
        held = [self._holders(one, job.payload.source_id) for one in job.payload.requirements]
        allowed = self.can_take(job)
        if any(not held[place].somehow & allowed for place in blocking):
            return [blocking]
        ways = [
            tuple(p for p, one in enumerate(held) if server_id not in one.somehow) for server_id in allowed
        ]
        least = min(len(way) for way in ways)
        return sorted({way for way in ways if len(way) == least}) if least else [blocking]

    def able_without(self, job: WaitingJob, places: Collection[int]) -> Servers:
        """The servers that could take the job now if the models at these places were there."""
        left = self.can_take(job)
        for place, one in enumerate(job.payload.requirements):
            if place not in places:
                held = self._holders(one, job.payload.source_id)
                left &= held.somehow if held.ready is None else held.ready
        for _, bad, _ in (*self._hard(job), *self._soft, self._in_use(job)):
            left -= bad
        return left - self._without_agent

    def _holders(self, one: StoredRequirement, source_id: str | None) -> _Held:
        key = (one.status, one.sha256, one.decision, one.decision_server_id, source_id)
        found = self._held.get(key)
        if found is None:
            found = self._held[key] = self._look(one, source_id)
        return found

    def _look(self, one: StoredRequirement, source_id: str | None) -> _Held:
        if not one.counts:
            return _Held(self._all, None)
        waived = frozenset(
            server_id
            for server_id in (one.decision_server_id,)
            if one.decision == "run_anyway" and server_id is not None
        )
        if one.status == "unhashed":
            there = self._all & {source_id} if source_id else frozenset()
            return _Held(there | waived, None)
        stock = self._stock.get(one.sha256 or "") if one.status == "found" else None
        if stock is None:
            return _Held(waived, None)
        ready = frozenset(stock.ready) | waived
        if source_id in stock.unread:  # where a job was written it never waits for a file to be read
            ready |= {source_id}
        return _Held(ready | stock.unread | stock.away, ready, frozenset(stock.unread))

    # --- what WebUIs can do -------------------------------------------------------------------------------

    def _without(self, need: CapabilityNeed) -> Servers:
        found = self._lacking.get(need)
        if found is None:
            found = self._lacking[need] = self._those(
                lambda server: (
                    server.capabilities is not None
                    and missing_capability(need, server.capabilities) == "missing"
                )
            )
        return found

    def _cannot_load(self, one: StoredRequirement) -> Servers:
        base_model = self._base_model(one) if one.counts else None
        if one.role not in CHECKPOINTS or architecture_of(base_model) is None:
            return frozenset()
        return self._those(
            lambda server: (
                server.capabilities is not None
                and missing_architecture(base_model, server.capabilities.architectures) == "missing"
            )
        )

    def _could_mistake(self, wanted: WantedModel, source_id: str | None) -> Servers:
        """Servers that have it, and could take another file for it."""
        found = self._mistakable.get((wanted, source_id))
        if found is None:
            found = self._mistakable[wanted, source_id] = frozenset(
                server_id
                for server_id, stock in self.named.items()
                if cannot_be_named(stock, wanted, is_source=server_id == source_id)
            )
        return found

    def _base_model(self, one: StoredRequirement) -> str | None:
        stock = self._stock.get(one.sha256 or "")
        return stock.base_model if stock else None

    def aliases(self, some: Collection[str], word: str = "or") -> str:
        """Names of servers in a sentence; of many only how many."""
        if len(some) > ALIASES_MAX:
            return f"one of {len(some)} servers" if word == "or" else f"{len(some)} servers"
        return _joined([server.alias for key, server in self.servers.items() if key in some], word)


@dataclass(frozen=True)
class _Held:
    """``somehow``: servers that have a model, whether usable now or not; ``ready``: those where it is, None
    when nothing more is asked of them; ``unread``: those where nobody has read it."""

    somehow: Servers
    ready: Servers | None
    unread: Servers = frozenset()


def shown_name(one: StoredRequirement) -> str:
    """What people call it: without hash and ending, and not longer than a line."""
    return short_name(one.name)


@lru_cache(maxsize=4096)
def short_name(written: str) -> str:
    """As ``shown_name``."""
    name = checkpoint_parts(written)[0]
    ending = next((end for end in MODEL_EXTENSIONS if name.lower().endswith(end)), "")
    name = name[: len(name) - len(ending)] or written
    return name if len(name) <= NAME_MAX else f"{name[: NAME_MAX - 1]}…"


def _joined(names: Sequence[str], word: str) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"


def _plural(words: str, servers: Servers) -> str:
    if len(servers) == 1 or len(servers) > ALIASES_MAX:
        return words
    return (
        words.replace("which is", "which are")
        .replace("which does", "which do")
        .replace("which rests", "which rest")
    )
