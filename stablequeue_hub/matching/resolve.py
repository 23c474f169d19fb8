"""Which models a job means: names and hashes as written become contents, or the reason why not.

A hash decides alone, also in place of a checkpoint's name; a name counts as on the server where it was
written (in its own case, where files differ in that), and means nothing before that one told which models it
has. From elsewhere it is taken only when every server means the same content by it; else it is ambiguous, and
nothing is guessed. A LoRA may also be called as its header says (``ss_output_name``), where no file has that
name, as in the WebUIs. What was called so once, and is nowhere now, counts only where nothing else is called
so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.errors import InvalidValueError, TooLargeError
from stablequeue_client.shared.generation.infotext import HashMention, requirements_with_hashes
from stablequeue_client.shared.generation.requirements import (
    EmbeddingNames,
    Requirement,
    checkpoint_parts,
    generation_requirements,
)
from stablequeue_client.shared.models.model_files import normalize_hash, parse_hash, search_key, stem_key
from stablequeue_client.shared.wire.jobs import REQUIREMENTS_MAX, RequirementCheck, RequirementStatus
from stablequeue_hub.matching.embedding_words import embedding_names, may_be_a_word
from stablequeue_hub.matching.job_requirements import JobRequirement
from stablequeue_hub.matching.stock import names_of
from stablequeue_hub.models.availability import (
    ModelMatch,
    ServerAvailability,
    availability_of_many,
    servers_of,
    unhashed_of_names,
)
from stablequeue_hub.models.lookup import Asked, loras_by_output_name
from stablequeue_hub.models.model_query import NamedModel, name_query
from stablequeue_hub.store.prepared import Prepared
from stablequeue_hub.store.tables import servers

if TYPE_CHECKING:
    from stablequeue_hub.servers.presence import Live

CANDIDATES_MAX = 20
"""Of many LoRAs with one name in their headers (trainers write "last"), as many are named."""
DEPTH_MAX = 32
"""So deep may lists and objects lie in one another; extensions nest less than ten."""
HERE = ("available", "unhashed", "unreachable")
"""Words for a server that has the model, whether it can be reached now or not."""


@dataclass(frozen=True)
class Resolution:
    """A requirement and the content it means. ``match`` is None unless one is meant (``found``), or files of
    this name that are not read yet (``unhashed``). ``not_told``: it is missing because nobody knows yet what
    its name means where it was written."""

    written: Requirement
    status: RequirementStatus
    match: ModelMatch | None = None
    candidates: tuple[ModelMatch, ...] = ()
    not_told: bool = False

    def on(self, server_id: str) -> ServerAvailability | None:
        """What that server has of it."""
        having = self.match.servers if self.match else ()
        return next((entry for entry in having if entry.server_id == server_id), None)

    def as_stored(self) -> JobRequirement:
        """As it is kept with the job."""
        match = self.match if self.status == "found" else None
        written = self.written
        return JobRequirement(
            written.role,
            written.name,
            written.hash,
            self.status,
            match.hash_sha256 if match else None,
            base_model=match.base_model if match else None,
        )

    def as_check(self) -> RequirementCheck:
        match = self.match if self.status == "found" else None
        return RequirementCheck(
            self.written.role,
            self.written.name,
            self.written.hash,
            self.status,
            match.hash_sha256 if match else None,
            match.name if match else None,
            [found.hash_sha256 for found in self.candidates if found.hash_sha256],
        )


def payload_requirements(
    connection: Connection,
    payload: Mapping[str, Any],
    source_id: str | None,
    mentions: Sequence[HashMention] = (),
) -> list[Requirement]:
    """What a payload names, each model once. ``source_id``: the server on which it was written, where a word
    is an embedding or is none; ``mentions``: hashes that a text beside it states.

    Raises InvalidValueError for what is nested too deep to be walked through, and TooLargeError for more than
    any generation uses.
    """
    check_depth(payload)
    names = EmbeddingNames(embedding_names(connection, source_id, mentions))
    found = generation_requirements(payload, names)
    written: dict[tuple[str, str, str | None], Requirement] = {}
    for requirement in requirements_with_hashes(found, mentions):
        written.setdefault((requirement.role, requirement.name, requirement.hash), requirement)
    if len(written) > REQUIREMENTS_MAX:
        raise TooLargeError(
            f"The job names {len(written)} models; {REQUIREMENTS_MAX} are the most that are looked up."
        )
    return list(written.values())


def check_depth(payload: Mapping[str, Any]) -> None:
    """Raises InvalidValueError. Whatever reads a payload later may call itself for each level."""
    level: list[Any] = [payload]
    for _ in range(DEPTH_MAX):
        inner: list[Any] = []
        for value in level:
            values = value.values() if isinstance(value, Mapping) else value
            inner += [one for one in values if isinstance(one, dict | list)]
        if not inner:
            return
        level = inner
    raise InvalidValueError(
        f"The payload holds lists or objects more than {DEPTH_MAX} deep in one another.",
        remedy="Send the JSON of the WebUI's API, which is flatter.",
    )


def resolve(
    connection: Connection,
    wanted: Sequence[Requirement],
    source_id: str | None,
    live: Live,
    *,
    now_ms: int,
) -> list[Resolution]:
    """Each of ``wanted`` with the content it means; ``source_id``: the server on which it was written."""
    not_told = _names_not_told(connection, wanted, source_id)
    idle = frozenset(one for one in wanted if one.is_filled_in or _may_be_a_word(one, source_id))
    looked_up = [one for one in wanted if one not in not_told and one not in idle]
    asked = {requirement: _asked(requirement) for requirement in looked_up}
    flat = list(dict.fromkeys(one for several in asked.values() for one in several))
    answers = dict(zip(flat, availability_of_many(connection, flat, live, now_ms=now_ms), strict=True))
    names = [one for one in flat if isinstance(one, NamedModel)] if source_id is not None else []
    unread = unhashed_of_names(connection, names, live, now_ms)
    meant: dict[Requirement, list[ModelMatch]] = {}
    not_called_so: list[Requirement] = []
    for requirement, several in asked.items():
        matches = [match for one in several for match in answers[one].matches]
        matches = [match for match in matches if match.type in requirement.kinds]
        meant[requirement] = matches
        if not _decides_by_hash(requirement):
            here = [match for one in several for match in unread.get(one, []) if _on(match, source_id)]
            called = [
                match for match in matches if match.hash_sha256 and _is_called(match, requirement, source_id)
            ]
            exactly = [
                match for match in (*called, *here) if _is_called_exactly(match, requirement, source_id)
            ]
            meant[requirement] = exactly or [*called, *here] or _called_now(matches, requirement) or matches
            if requirement.role == "lora" and not called and not here:
                not_called_so.append(requirement)
    _take_output_names(connection, meant, not_called_so, source_id, live, now_ms)
    resolved = {requirement: _resolved(requirement, matches) for requirement, matches in meant.items()}
    resolved.update((one, Resolution(one, "missing", not_told=True)) for one in not_told)
    resolved.update((one, Resolution(one, "not_checked")) for one in idle)
    return [resolved[requirement] for requirement in dict.fromkeys(wanted)]


_TOLD = Prepared(sa.select(servers.c.index_id).where(servers.c.server_id == sa.bindparam("server_id")))


def _names_not_told(
    connection: Connection, wanted: Sequence[Requirement], source_id: str | None
) -> frozenset[Requirement]:
    """Those of which only the source's files say what they mean, and it never told which it has."""
    if source_id is None or _TOLD.all(connection, {"server_id": source_id}) != [(None,)]:
        return frozenset()
    return frozenset(one for one in wanted if not one.is_filled_in and not _decides_by_hash(one))


def _take_output_names(
    connection: Connection,
    meant: dict[Requirement, list[ModelMatch]],
    loras: Sequence[Requirement],
    source_id: str | None,
    live: Live,
    now_ms: int,
) -> None:
    """Put the LoRAs with such a name in their header into ``meant``: those on the source before files of that
    name elsewhere, those elsewhere last. ``loras``: requirements that no file on the source is called."""
    left = {requirement: search_key(requirement.name.strip()) for requirement in loras}
    for server_id in dict.fromkeys((source_id, None)):
        if server_id is None:
            left = {requirement: key for requirement, key in left.items() if not meant[requirement]}
        found = loras_by_output_name(connection, left.values(), server_id=server_id) if left else {}
        some = {key: models_found[:CANDIDATES_MAX] for key, models_found in found.items()}
        ids = [model.id for several in some.values() for model in several]
        having = servers_of(connection, ids, live, now_ms=now_ms) if ids else {}
        for requirement in [one for one, key in left.items() if key in some]:
            several = [ModelMatch(*model, servers=having[model.id]) for model in some[left.pop(requirement)]]
            lying = [match for match in several if any(entry.availability in HERE for entry in match.servers)]
            meant[requirement] = lying or several


def _asked(requirement: Requirement) -> list[Asked]:
    """What to look for: the hash alone where there is one, else the name once for each kind.

    A WebUI knows a checkpoint by its hash too: what looks like one is one, unless a file is called so.
    """
    if _decides_by_hash(requirement):
        return [normalize_hash(requirement.hash or "") or ""]
    named: list[Asked] = [NamedModel(_bare(requirement), kind) for kind in requirement.kinds]
    as_hash = parse_hash(_bare(requirement)) if requirement.kinds == ("checkpoint",) else None
    return [*named, as_hash.value] if as_hash else named


def _may_be_a_word(requirement: Requirement, source_id: str | None) -> bool:
    """A plain word as well as an embedding: nobody says where it was written, and no text states its hash."""
    is_bare = requirement.role == "embedding" and not requirement.hash
    return is_bare and source_id is None and may_be_a_word(requirement.name)


def _bare(requirement: Requirement) -> str:
    return checkpoint_parts(requirement.name)[0]


def _decides_by_hash(requirement: Requirement) -> bool:
    """It carries a hash of the content. Forge of 2024-08 to 2025-02 put that of the file's *name* there."""
    found = parse_hash(requirement.hash or "")
    if found is None:
        return False
    name = _bare(requirement).replace("\\", "/").rsplit("/", 1)[-1]
    of_the_name = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()
    return not of_the_name.startswith(found.value)


def _resolved(requirement: Requirement, matches: Sequence[ModelMatch]) -> Resolution:
    if len(matches) > 1:
        return Resolution(requirement, "ambiguous", candidates=tuple(matches))
    if not matches:
        return Resolution(requirement, "missing")
    return Resolution(requirement, "found" if matches[0].hash_sha256 else "unhashed", matches[0])


def _called_now(matches: Sequence[ModelMatch], requirement: Requirement) -> list[ModelMatch]:
    """Those of which a file has that name somewhere; not those that had it once, such as the former content
    of a file that was replaced."""
    return [
        match
        for match in matches
        if any(_is_called(match, requirement, entry.server_id) for entry in match.servers)
    ]


def _is_called(match: ModelMatch, requirement: Requirement, source_id: str | None) -> bool:
    """A file of this model has that name on the source: as a whole path, or without folder and extension."""
    wanted = name_query(_bare(requirement))
    return any(
        wanted.key in (search_key(file.path), search_key(file.name)) or wanted.stem == stem_key(file.path)
        for entry in match.servers
        if entry.server_id == source_id
        for file in entry.files
    )


def _is_called_exactly(match: ModelMatch, requirement: Requirement, source_id: str | None) -> bool:
    """A WebUI on the source finds a file of this model by that very name: where files differ in case only, it
    takes this one. An embedding is a word in any case."""
    name = _bare(requirement).strip().replace("\\", "/")
    return any(
        name in names_of(file.kind, file.path)
        or (file.kind == "checkpoint" and name == file.path.rpartition(".")[0])
        for entry in match.servers
        if entry.server_id == source_id
        for file in entry.files
        if file.kind != "embedding"
    )


def _on(match: ModelMatch, server_id: str | None) -> bool:
    return any(entry.server_id == server_id for entry in match.servers)
