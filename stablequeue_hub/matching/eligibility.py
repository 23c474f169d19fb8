"""Gate 1: where a job can run, and why not elsewhere. Reads only; a warning, never a refusal."""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.errors import InvalidValueError, NotFoundError, TooLargeError
from stablequeue_client.shared.generation.capability_needs import (
    CapabilityKind,
    CapabilityNeed,
    capability_needs,
    missing_capability,
)
from stablequeue_client.shared.generation.infotext import (
    HashMention,
    infotext_hashes,
    parse_infotext,
    payload_from_infotext,
)
from stablequeue_client.shared.generation.png_text import TEXT_MAX_BYTES
from stablequeue_client.shared.generation.requirements import Requirement
from stablequeue_client.shared.models.architectures import (
    architecture_of,
    architecture_text,
    missing_architecture,
)
from stablequeue_client.shared.wire.inventory import ServerCapabilities
from stablequeue_client.shared.wire.jobs import (
    Help,
    JobCheck,
    JobCheckRequest,
    Reason,
    ReasonCode,
    ServerCheck,
)
from stablequeue_hub.matching.resolve import HERE, JobRequirement, payload_requirements, resolve
from stablequeue_hub.matching.server_stock import ServerStock
from stablequeue_hub.matching.stock_of_many import cannot_be_named, stock_of_servers
from stablequeue_hub.servers.capabilities import stored_capabilities
from stablequeue_hub.servers.known_servers import KnownServer, known_servers
from stablequeue_hub.servers.servers import NO_AGENT, alias_key
from stablequeue_hub.store.tables import servers

if TYPE_CHECKING:
    from stablequeue_hub.servers.presence import Live

_WORDS: dict[str, tuple[ReasonCode, str]] = {
    "unhashed": ("model_unhashed", "{name} is not read there yet."),
    "unreachable": ("model_unreachable", "{name} is there, in a folder that is not connected."),
}
_SHARED = "Another file there has the same name as {name}; rename one of them."
_MISSING: tuple[ReasonCode, str] = ("model_missing", "{name} is not there.")
_NEEDS: dict[CapabilityKind, tuple[ReasonCode, str]] = {
    "sampler": ("sampler_missing", "sampler"),
    "scheduler": ("scheduler_missing", "scheduler"),
    "upscaler": ("upscaler_missing", "upscaler"),
    "script": ("script_missing", "script"),
    "alwayson_script": ("script_missing", "script"),
    "controlnet_model": ("controlnet_model_missing", "ControlNet model"),
    "style": ("script_missing", "style"),  # of styles no server says anything
}


CHECKPOINTS = frozenset({"checkpoint", "hires_checkpoint", "refiner"})
"""Roles of what must be of an architecture that the WebUI can load."""


@dataclass(frozen=True)
class Judged:
    """A checked job: the answer, and what it was made of."""

    check: JobCheck
    payload: dict[str, Any]
    requirements: list[JobRequirement]
    source_id: str | None
    target_ids: list[str] | None


def check_job(
    connection: Connection, wanted: JobCheckRequest, live: Live, *, own_server: str | None, now_ms: int
) -> JobCheck:
    """The answer of ``judge_job``."""
    return judge_job(connection, wanted, live, own_server=own_server, now_ms=now_ms).check


def judge_job(
    connection: Connection,
    wanted: JobCheckRequest,
    live: Live,
    *,
    own_server: str | None,
    now_ms: int,
    mentions: Sequence[HashMention] = (),
) -> Judged:
    """Judge every server that may run it. ``own_server``: the server that asks, where its names count.
    ``mentions``: hashes of what a payload names, stated elsewhere.

    Raises NotFoundError for a server that is not known, TooLargeError for too many names or too long
    a text, InvalidValueError for anything but one of payload and infotext, for a payload nested too deep, and
    for an empty list of servers.
    """
    check_targets(wanted.targets)
    known = known_servers(connection, live)
    source_id = own_server if wanted.server is None else server_called(known, wanted.server)
    targets = None if wanted.targets is None else {server_called(known, name) for name in wanted.targets}
    payload, stated = _payload(wanted)
    written = payload_requirements(connection, payload, source_id, [*stated, *mentions])
    judged = judge_payload(connection, payload, written, source_id, targets, live, now_ms=now_ms)
    if wanted.payload is not None:
        return judged
    return replace(judged, check=msgspec.structs.replace(judged.check, payload=payload))


def judge_payload(
    connection: Connection,
    payload: dict[str, Any],
    written: Sequence[Requirement],
    source_id: str | None,
    targets: Collection[str] | None,
    live: Live,
    *,
    now_ms: int,
) -> Judged:
    """Judge what is known in full. ``written``: the models it names; ``targets``: ids, also of servers that
    are not known any more."""
    known = known_servers(connection, live)
    requirements = resolve(connection, written, source_id, live, now_ms=now_ms)
    needs = capability_needs(payload)
    told = what_servers_told(connection)
    named = stock_of_servers(connection, {wanted for one in requirements if (wanted := one.wanted)})
    judged = [
        judge_server(
            server,
            requirements,
            needs,
            told[server_id],
            is_source=server_id == source_id,
            stock=named.get(server_id),
        )
        for server_id, server in known.items()
        if targets is None or server_id in targets
    ]
    check = JobCheck(
        any(server.ok for server in judged),
        [requirement.as_check() for requirement in requirements],
        judged,
        [found for place, one in enumerate(requirements) if (found := _help(place, one, judged))],
    )
    return Judged(check, payload, requirements, source_id, None if targets is None else sorted(targets))


def _payload(wanted: JobCheckRequest) -> tuple[dict[str, Any], list[HashMention]]:
    """What is to be generated, and the hashes that a text states of what it names."""
    if (wanted.payload is None) == (wanted.infotext is None):
        raise InvalidValueError(
            "A job is given by its payload or by a generation text, one of the two.",
            remedy="Send `payload` or `infotext`.",
        )
    if wanted.payload is not None:
        return with_plain_switches(wanted.payload), []
    raw = wanted.infotext or ""
    check_generation_text(raw)
    text = parse_infotext(raw)
    return payload_from_infotext(text), infotext_hashes(text)


def check_generation_text(text: str) -> None:
    """Raises TooLargeError for one that no picture carries."""
    if len(text.encode("utf-8", "replace")) > TEXT_MAX_BYTES:
        raise TooLargeError(
            f"The generation text is longer than {TEXT_MAX_BYTES >> 20} MiB.",
            remedy="Send the text of one picture.",
        )


_SWITCHES = ("enable_hr",)
_ON = frozenset({"1", "on", "t", "true", "y", "yes"})


def with_plain_switches(payload: dict[str, Any]) -> dict[str, Any]:
    """What decides whether other fields count, as the WebUI's API (pydantic) reads it: 1 and "yes" too."""
    said = {name: payload[name] for name in _SWITCHES if isinstance(payload.get(name), int | float | str)}
    return {**payload, **{name: str(value).removesuffix(".0").lower() in _ON for name, value in said.items()}}


def check_targets(targets: Collection[str] | None) -> None:
    """Raises InvalidValueError for an empty list: no server could ever run the job."""
    if targets is not None and not targets:
        raise InvalidValueError(
            "`targets` names no server.", remedy="Leave it out, or send null, for any server."
        )


def server_called(known: dict[str, KnownServer], name: str) -> str:
    """The id of the server with this id or alias. Raises NotFoundError."""
    if name in known:
        return name
    key = alias_key(name)
    for server in known.values():
        if alias_key(server.alias) == key:
            return server.server_id
    raise NotFoundError(
        "A server that the job names is not known here.", remedy="Look at the list of servers."
    )


class Told(NamedTuple):
    """What a server said of itself."""

    frozen: bool
    capabilities: ServerCapabilities | None


def what_servers_told(connection: Connection) -> Mapping[str, Told]:
    """By server id."""
    query = sa.select(servers.c.server_id, servers.c.frozen, servers.c.capabilities_json)
    return {
        server_id: Told(frozen is not None, stored_capabilities(text))
        for server_id, frozen, text in connection.execute(query)
    }


def judge_server(
    server: KnownServer,
    requirements: Sequence[JobRequirement],
    needs: Sequence[CapabilityNeed],
    told: Told,
    *,
    is_source: bool,
    stock: ServerStock | None,
    waived: Container[int] = (),
) -> ServerCheck:
    """Whether a job could run there now. ``is_source``: its names were written there. ``stock``: what it has
    of the models, and which names there mean them. ``waived``: places of requirements that do not count
    there, because a person said so."""
    reasons = _reasons_of_the_server(server, frozen=told.frozen)
    not_checked: list[str] = []
    counting = [(place, one) for place, one in enumerate(requirements) if place not in waived]
    for place, requirement in counting if server.has_inventory else ():
        reason = _reason(place, requirement, server, is_source=is_source)
        if reason is not None:
            reasons.append(reason)
        if requirement.wanted and cannot_be_named(stock, requirement.wanted, is_source=is_source):
            reasons.append(Reason("model_name_shared", _SHARED.format(name=requirement.written.name), place))
    loadable = told.capabilities.architectures if told.capabilities else []
    for place, requirement in counting if loadable else ():
        answer = _architecture(place, requirement, loadable)
        if isinstance(answer, Reason):
            reasons.append(answer)
        elif answer:
            not_checked.append(answer)
    for need in needs:
        code, word = need_words(need.kind)
        found = missing_capability(need, told.capabilities) if told.capabilities else "not_checked"
        if found == "missing":
            reasons.append(Reason(code, f"Its WebUI has no {word} {need.name}."))
        elif found == "not_checked":
            not_checked.append(f"{word} {need.name}")
    return ServerCheck(server.server_id, server.alias, not reasons, reasons, not_checked)


def _architecture(place: int, requirement: JobRequirement, loadable: Sequence[str]) -> Reason | str:
    """Why a checkpoint cannot be loaded there, or what nobody knows of it; "" when all is well."""
    match = requirement.match
    if requirement.written.role not in CHECKPOINTS or requirement.status != "found" or match is None:
        return ""
    answer = missing_architecture(match.base_model, loadable)
    if answer == "not_checked":
        return f"architecture of {requirement.written.name}"
    if answer == "ok":
        return ""
    kind = architecture_text(architecture_of(match.base_model) or "")
    text = f"{requirement.written.name} is a model of {kind}, which its WebUI cannot load."
    return Reason("architecture_unsupported", text, place)


def need_words(kind: CapabilityKind) -> tuple[ReasonCode, str]:
    """The code for a WebUI without such a thing, and what people call it."""
    return _NEEDS[kind]


def _reasons_of_the_server(server: KnownServer, *, frozen: bool) -> list[Reason]:
    if frozen:
        return [Reason("server_frozen", "Two running copies use its identity.")]
    if server.no_agent:
        return [Reason("no_agent", NO_AGENT)]
    if not server.has_inventory:
        return [Reason("server_unknown", "It never told which models it has.")]
    return [] if server.reachable else [Reason("server_unreachable", "It is switched off or not connected.")]


def _reason(
    place: int, requirement: JobRequirement, server: KnownServer, *, is_source: bool
) -> Reason | None:
    """Why this requirement does not hold there; None when it does."""
    name = requirement.written.name
    if requirement.status == "not_checked":
        return None
    if requirement.status == "ambiguous":
        text = f"{name} may mean {len(requirement.candidates)} different models."
        return Reason("model_ambiguous", text, place)
    if requirement.not_told:
        return Reason("model_missing", f"What {name} means where it was written is not known yet.", place)
    there = requirement.on(server.server_id)
    word = there.availability if there else ""
    if word == "unreachable" and not server.reachable:
        return None  # the server's own reason says it
    if word == "available" or (word == "unhashed" and is_source):
        return None  # where a job was written it never waits for a file to be read
    code, text = _WORDS.get(word, _MISSING)
    return Reason(code, text.format(name=name), place)


def _only_its_name(place: int, server: ServerCheck) -> bool:
    """All that is wrong there with this requirement is that another file is called so too."""
    return {one.code for one in server.reasons if one.requirement == place} == {"model_name_shared"}


def _help(place: int, requirement: JobRequirement, judged: Sequence[ServerCheck]) -> Help | None:
    """What would help where a server lacks this one, or why it is no matter."""
    name = requirement.written.name
    sharing = [server.alias for server in judged if _only_its_name(place, server)]
    if sharing:
        text = f"Rename one of the files that are called like {name} on {', '.join(sharing[:3])}."
        return Help(place, text, sharing)
    if requirement.status == "not_checked" and not requirement.written.is_filled_in:
        return Help(place, f"{name} may be an embedding or a word, so it holds up nothing.")
    if not any(reason.requirement == place for server in judged for reason in server.reasons):
        return None
    if requirement.status == "ambiguous":
        return Help(place, f"Name {name} with its hash, or by a name that only one model has.")
    if requirement.not_told:
        text = f"{name} is known once the server where it was written told which models it has."
        return Help(place, f"{text} Its hash would say it now.")
    have = (
        [entry for entry in requirement.match.servers if entry.availability in HERE]
        if requirement.match
        else []
    )
    if not have:
        return Help(place, f"No server has {name}: add the file to one of them, or mend the name.")
    aliases = [entry.alias for entry in have]
    if requirement.status == "unhashed" or all(entry.availability == "unhashed" for entry in have):
        return Help(place, f"{name} has to be read first; Read now does not wait.", aliases)
    return Help(place, f"{name} can be copied from {', '.join(aliases[:3])}.", aliases)
