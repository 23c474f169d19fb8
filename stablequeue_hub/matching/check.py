"""Gate 1: where a job can run, and why not elsewhere. Reads only; a warning, never a refusal."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from sqlalchemy import Connection

from stablequeue_client.shared.errors import InvalidValueError, NotFoundError, TooLargeError
from stablequeue_client.shared.generation.capability_needs import capability_needs
from stablequeue_client.shared.generation.infotext import (
    HashMention,
    infotext_hashes,
    left_out,
    parse_infotext,
    payload_from_infotext,
)
from stablequeue_client.shared.generation.payload_fields import (
    UnknownField,
    doubtful_settings,
    meant_by,
    read_payload,
)
from stablequeue_client.shared.generation.png_text import TEXT_MAX_BYTES
from stablequeue_client.shared.generation.requirements import Requirement
from stablequeue_client.shared.wire.jobs import Help, JobCheck, JobCheckRequest, ServerCheck
from stablequeue_hub.matching.job_requirements import JobNeeds
from stablequeue_hub.matching.judge import Judge
from stablequeue_hub.matching.obstacles import PlacementQuery, not_checked
from stablequeue_hub.matching.read_judge import read_judge
from stablequeue_hub.matching.reasons import ReasonTexts
from stablequeue_hub.matching.resolve import HERE, Resolution, payload_requirements, resolve
from stablequeue_hub.matching.server_facts import ServerFacts, servers_now
from stablequeue_hub.matching.why import job_row, load_context
from stablequeue_hub.servers.known_servers import KnownServer, known_servers
from stablequeue_hub.servers.presence import Live
from stablequeue_hub.servers.servers import alias_key


@dataclass(frozen=True)
class Judged:
    """A checked job: the answer, and what it was made of."""

    check: JobCheck
    payload: dict[str, Any]
    needs: JobNeeds
    target_ids: list[str] | None
    problems: tuple[InvalidValueError, ...] = ()
    """Values that no WebUI takes: a check tells them, and a submission is refused."""


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
    source_id = own_server if wanted.server is None else resolve_server(known, wanted.server)
    targets = None if wanted.targets is None else {resolve_server(known, name) for name in wanted.targets}
    payload, stated, untold = _payload(wanted)
    payload, problems = read_payload(payload)
    written = payload_requirements(connection, payload, source_id, [*stated, *mentions])
    judged = judge_payload(
        connection,
        payload,
        written,
        source_id,
        targets,
        live,
        submitted_by=f"server:{own_server}" if own_server is not None else "",
        now_ms=now_ms,
    )
    check = judged.check
    if problems:
        told = [f"{one.message} {one.remedy}" for one in problems]
        check = msgspec.structs.replace(check, possible=False, warnings=[*told, *check.warnings])
    if wanted.payload is None:
        check = msgspec.structs.replace(check, payload=payload, left_out=untold)
    return replace(judged, check=check, problems=tuple(problems))


def judge_payload(
    connection: Connection,
    payload: dict[str, Any],
    written: Sequence[Requirement],
    source_id: str | None,
    targets: Collection[str] | None,
    live: Live,
    *,
    submitted_by: str,
    now_ms: int,
) -> Judged:
    """Judge what is known in full. ``written``: the models it names; ``targets``: ids, also of servers that
    are not known any more; ``submitted_by``: who queues it, for whom a server works or does not."""
    requirements = resolve(connection, written, source_id, live, now_ms=now_ms)
    needs = JobNeeds(tuple(one.as_stored() for one in requirements), capability_needs(payload), source_id)
    job = PlacementQuery(needs, submitted_by, None if targets is None else frozenset(targets))
    judge = read_judge(connection, [needs], servers_now(connection, live))
    check = _job_check(judge, job, requirements)
    doubts = [one.text for one in doubtful_settings(payload)]
    if doubts:
        check = msgspec.structs.replace(check, warnings=[*check.warnings, *doubts])
    return Judged(check, payload, needs, None if targets is None else sorted(targets))


def check_queued_job(connection: Connection, job_id: str, live: Live, *, now_ms: int) -> JobCheck:
    """The check of a job as it is queued: what its names were found to mean, what was decided about them, and
    what came of former runs count. Raises NotFoundError."""
    row = job_row(connection, job_id)
    context = load_context(connection, [row], live)
    job = context.query(row)
    requirements = _as_queued(connection, job.needs, live, now_ms)
    return _job_check(context.judge, job, requirements)


def _as_queued(connection: Connection, needs: JobNeeds, live: Live, now_ms: int) -> list[Resolution]:
    """What was found is looked up by its content, whatever else is called so by now."""
    wanted = [
        replace(one.written, hash=one.content) if one.content else one.written for one in needs.requirements
    ]
    found = {one.written: one for one in resolve(connection, wanted, needs.source_id, live, now_ms=now_ms)}
    return [
        replace(found[asked], written=one.written)
        if found[asked].status == one.status
        else Resolution(one.written, one.status)
        for one, asked in zip(needs.requirements, wanted, strict=True)
    ]


def _job_check(judge: Judge, job: PlacementQuery, requirements: Sequence[Resolution]) -> JobCheck:
    texts = ReasonTexts(
        judge, job.needs, [len(one.candidates) for one in requirements], refusals=job.refusals
    )
    judged = [
        _server_check(judge, job, server, texts)
        for server_id, server in judge.servers.items()
        if job.targets is None or server_id in job.targets
    ]
    return JobCheck(
        any(server.ok for server in judged),
        [requirement.as_check() for requirement in requirements],
        judged,
        [
            found
            for place, one in enumerate(requirements)
            if (found := _help(place, one, judged, texts)) is not None
        ],
        warnings=[
            UnknownField(need.name, meant_by(need.name)).text
            for need in job.needs.capabilities
            if need.kind == "field"
        ],
    )


def _server_check(judge: Judge, job: PlacementQuery, server: ServerFacts, texts: ReasonTexts) -> ServerCheck:
    reasons = [texts.reason(one) for one in judge.obstacles(job, server.server_id)]
    unsure = not_checked(job.needs, server)
    return ServerCheck(server.server_id, server.alias, not reasons, reasons, unsure)


def _payload(wanted: JobCheckRequest) -> tuple[dict[str, Any], list[HashMention], list[str]]:
    """Return the payload, the hashes that a text states of the models it names, and what of the text the
    payload does not take over."""
    if (wanted.payload is None) == (wanted.infotext is None):
        raise InvalidValueError(
            "A job needs either its payload or a generation text.",
            remedy="Send `payload` or `infotext`, not both.",
        )
    if wanted.payload is not None:
        check_prompts(wanted.payload)
        return wanted.payload, [], []
    raw = wanted.infotext or ""
    check_generation_text(raw)
    text = parse_infotext(raw)
    payload = payload_from_infotext(text)
    check_prompts(payload)
    return payload, infotext_hashes(text), left_out(text)


PROMPTS = ("prompt", "negative_prompt", "hr_prompt", "hr_negative_prompt")
PROMPT_MAX = 256 * 1024


def check_prompts(payload: Mapping[str, Any]) -> None:
    """Raises TooLargeError for a prompt that nobody wrote: each name in it costs a search."""
    for name in PROMPTS:
        text = payload.get(name)
        if isinstance(text, str) and len(text) > PROMPT_MAX:
            raise TooLargeError(
                f"`{name}` must have at most {PROMPT_MAX:,} characters.",
                remedy="Shorten it, or split the job.",
            )


def check_generation_text(text: str) -> None:
    """Raises TooLargeError for one that no picture carries."""
    if len(text.encode("utf-8", "replace")) > TEXT_MAX_BYTES:
        raise TooLargeError(
            f"The generation text is longer than {TEXT_MAX_BYTES >> 20} MiB.",
            remedy="Send the text of one picture.",
        )


def check_targets(targets: Collection[str] | None) -> None:
    """Raises InvalidValueError for an empty list: no server could ever run the job."""
    if targets is not None and not targets:
        raise InvalidValueError(
            "`targets` is empty.", remedy="Leave it out, or send null, to allow any server."
        )


def resolve_server(known: dict[str, KnownServer], name: str) -> str:
    """The id of the server with this id or alias. Raises NotFoundError."""
    if name in known:
        return name
    key = alias_key(name)
    for server in known.values():
        if alias_key(server.alias) == key:
            return server.server_id
    raise NotFoundError("The job names an unknown server.", remedy="Look at the list of servers.")


def _only_its_name(place: int, server: ServerCheck) -> bool:
    """Return whether the only problem there is that another file has the same name."""
    return {one.code for one in server.reasons if one.requirement == place} == {"model_name_shared"}


def _help(
    place: int, requirement: Resolution, judged: Sequence[ServerCheck], texts: ReasonTexts
) -> Help | None:
    """Return what would help where a server lacks this one, or why it does not matter."""
    name = requirement.written.name
    sharing = [server.alias for server in judged if _only_its_name(place, server)]
    if sharing:
        text = f"Rename one of the files named {name} on {', '.join(sharing[:3])}."
        return Help(place, text, sharing)
    if requirement.status == "not_checked" and not requirement.written.is_filled_in:
        return Help(place, f"{name} may be an embedding or a word, so it blocks nothing.")
    if not any(reason.requirement == place for server in judged for reason in server.reasons):
        return None
    if requirement.status == "ambiguous":
        return Help(place, f"Add the hash of {name}, or use a name that only one model has.")
    if texts.source_never_reported(place):
        text = f"{name} can be resolved once the server where it was written has reported its models."
        return Help(place, f"{text} Its hash resolves it now.")
    have = (
        [entry for entry in requirement.match.servers if entry.availability in HERE]
        if requirement.match
        else []
    )
    if not have:
        return Help(place, f"No server has {name}: add the file to one of them, or correct the name.")
    aliases = [entry.alias for entry in have]
    if requirement.status == "unhashed" or all(entry.availability == "unhashed" for entry in have):
        return Help(place, f"{name} must be read first; “Read now” starts that at once.", aliases)
    return Help(place, f"{name} can be copied from {', '.join(aliases[:3])}.", aliases)
