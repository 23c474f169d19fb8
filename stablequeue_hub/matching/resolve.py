"""Which models a job means: names and hashes as written become contents, or the reason why not.

A hash decides alone, also in place of a checkpoint's name; a name counts as on the server where it was
written (in its own case, where files differ in that), and means nothing before that one told which models it
has. From elsewhere it is taken only when every server means the same content by it; else it is ambiguous, and
nothing is guessed (``host_lookup`` has the hosts' rules). What was called so once, and is nowhere now, counts
only where nothing else is called so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from stablequeue_client.shared.errors import InvalidValueError, TooLargeError
from stablequeue_client.shared.generation.infotext import HashMention, requirements_with_hashes
from stablequeue_client.shared.generation.requirements import (
    EmbeddingNames,
    Requirement,
    checkpoint_parts,
    generation_requirements,
)
from stablequeue_client.shared.model_files.model_file import (
    Kind,
    normalize_hash,
    parse_hash,
    search_key,
    webui_name,
)
from stablequeue_client.shared.model_files.roles import KINDS_OF
from stablequeue_client.shared.wire.inventory import AVAILABILITY_MAX_HASHES
from stablequeue_client.shared.wire.jobs import REQUIREMENTS_MAX, RequirementCheck, RequirementStatus
from stablequeue_hub.matching.embedding_words import embedding_names, may_be_a_word
from stablequeue_hub.matching.host_lookup import NOT_READ, NamedFile, is_called_whole, possible_files
from stablequeue_hub.matching.job_requirements import JobRequirement
from stablequeue_hub.matching.named_files import FilesByName
from stablequeue_hub.models.availability import (
    ModelMatch,
    availability_of_many,
    servers_of,
    unhashed_of_names,
)
from stablequeue_hub.models.lookup import loras_by_output_name
from stablequeue_hub.models.model_query import NamedModel
from stablequeue_hub.servers.known_servers import never_reported
from stablequeue_hub.store.bulk import slices

if TYPE_CHECKING:
    from stablequeue_hub.servers.presence import Live

CANDIDATES_MAX = 20
"""Of many models with one name (trainers write "last" into headers), as many are named."""
DEPTH_MAX = 32
"""So deep may lists and objects lie in one another; extensions nest less than ten."""
HERE = ("available", "unhashed", "unreachable")
"""Words for a server that has the model, whether it can be reached now or not."""
_KINDS: dict[str, Kind] = {kind: kind for kinds in KINDS_OF.values() for kind in kinds}


@dataclass(frozen=True)
class Resolution:
    """A requirement and the content it means. ``match`` is None unless one is meant (``found``), or files of
    this name that are not read yet (``unhashed``)."""

    written: Requirement
    status: RequirementStatus
    match: ModelMatch | None = None
    candidates: tuple[ModelMatch, ...] = ()

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
        raise TooLargeError(f"The job names {len(written)} models; {REQUIREMENTS_MAX} is the limit.")
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
        f"The payload nests lists or objects more than {DEPTH_MAX} levels deep.",
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
    unreported = _names_never_reported(connection, wanted, source_id)
    idle = frozenset(one for one in wanted if one.is_filled_in or _may_be_a_word(one, source_id))
    looked_up = [one for one in dict.fromkeys(wanted) if one not in unreported and one not in idle]
    finder = _ModelFinder(connection, source_id, live, now_ms)
    by_hash = [one for one in looked_up if decides_by_hash(one)]
    called = finder.called_whole([one for one in by_hash if checkpoint_parts(one.name)[1] == one.hash])
    hashes = {one: normalize_hash(one.hash or "") or "" for one in by_hash if one not in called}
    names = [one for one in looked_up if one not in hashes]
    matched = finder.by_hash(hashes)
    matched.update(finder.unread_titles([one for one, matches in matched.items() if not matches]))
    resolved = {one: _resolved(one, matches) for one, matches in matched.items()}
    resolved.update((one, _resolved(one, matches)) for one, matches in finder.by_name(names).items())
    resolved.update((one, Resolution(one, "missing")) for one in unreported)
    resolved.update((one, Resolution(one, "not_checked")) for one in idle)
    return [resolved[requirement] for requirement in dict.fromkeys(wanted)]


class _ModelFinder:
    """The models that hashes and names mean, looked up for all of them in a few statements."""

    def __init__(self, connection: Connection, source_id: str | None, live: Live, now_ms: int) -> None:
        self._connection = connection
        self._source_id = source_id
        self._live = live
        self._now_ms = now_ms

    def by_hash(self, hashes: Mapping[Requirement, str]) -> dict[Requirement, list[ModelMatch]]:
        matches = self._matches(hashes.values())
        return {
            one: [match for match in matches[value] if _is_of_kind(match, one)]
            for one, value in hashes.items()
        }

    def unread_titles(self, titles: Sequence[Requirement]) -> dict[Requirement, list[ModelMatch]]:
        """Titles whose hash no read file has, of files on the source that nobody has read yet, though its
        WebUI knows the hash."""
        if self._source_id is None or not titles:
            return {}
        found = self.by_name([one for one in titles if checkpoint_parts(one.name)[1] == one.hash])
        return {
            one: matches
            for one, matches in found.items()
            if matches and all(m.hash_sha256 is None and _is_on(m, self._source_id) for m in matches)
        }

    def called_whole(self, titles: Sequence[Requirement]) -> set[Requirement]:
        """Return those that are no titles with a hash but the whole names of files: on the server where they
        were written, if it is known."""
        files = FilesByName(self._connection, titles, unread=self._source_id is not None) if titles else None
        return {
            one
            for one in titles
            if files is not None
            and any(
                is_called_whole(one, file) and self._source_id in (None, file.server_id)
                for file in files.of(one)
            )
        }

    def by_name(self, names: Sequence[Requirement]) -> dict[Requirement, list[ModelMatch]]:
        """What the host on the source takes, else everything that the name may mean; what was called so once
        counts only where nothing is called so now."""
        called = self._files_named(names)
        hashes = {one: found for one in names if (found := _as_hash(one))}
        contents = {
            one: list(dict.fromkeys(file.sha256 for file in files if file.sha256))[:CANDIDATES_MAX]
            for one, files in called.items()
        }
        matches = self._matches(
            [*(sha256 for some in contents.values() for sha256 in some), *hashes.values()]
        )
        unread = self._unread({file for files in called.values() for file in files if not file.sha256})
        meant: dict[Requirement, list[ModelMatch]] = {}
        for one, files in called.items():
            meant[one] = [match for sha256 in contents[one] for match in matches[sha256]]
            meant[one] += dict.fromkeys(unread[file] for file in files if file in unread)
        for one, value in hashes.items():
            hashed = [match for match in matches[value] if _is_of_kind(match, one)]
            on_source = any(file.server_id == self._source_id for file in called[one])
            here = [] if on_source else [match for match in hashed if _is_ready_on(match, self._source_id)]
            meant[one] = here or meant[one] or hashed
        meant.update(self._formerly_named([one for one in names if not meant[one]]))
        return meant

    def _files_named(self, names: Sequence[Requirement]) -> dict[Requirement, list[NamedFile]]:
        """The files that each name means: one content, or several that nobody can choose between."""
        files = FilesByName(self._connection, names, unread=self._source_id is not None)
        found: dict[Requirement, list[NamedFile]] = {}
        for one in names:
            several = files.chosen_on(one, self._source_id) or possible_files(
                one, files.of(one), self._source_id
            )
            # What nobody has read may be anything, and says something only where the name was written.
            found[one] = [file for file in several if file.sha256 or file.server_id == self._source_id]
        return found

    def _matches(self, texts: Iterable[str]) -> dict[str, tuple[ModelMatch, ...]]:
        found: dict[str, tuple[ModelMatch, ...]] = {}
        for part in slices(list(dict.fromkeys(texts)), AVAILABILITY_MAX_HASHES):
            answers = availability_of_many(self._connection, part, self._live, now_ms=self._now_ms)
            found.update((answer.query, answer.matches) for answer in answers)
        return found

    def _unread(self, files: Collection[NamedFile]) -> dict[NamedFile, ModelMatch]:
        """The entry of each file on the source that nobody has read: by its kind and name only."""
        kinds = {file: _KINDS[file.kind] for file in files}
        names = {file: NamedModel(webui_name(kind, file.path), kind) for file, kind in kinds.items()}
        groups = unhashed_of_names(
            self._connection, list(names.values()), self._live, self._now_ms, states=NOT_READ
        )
        return {
            file: match
            for file, asked in names.items()
            for match in groups.get(asked, ())
            if match.name == asked.name and _is_on(match, file.server_id)
        }

    def _formerly_named(self, names: Sequence[Requirement]) -> dict[Requirement, list[ModelMatch]]:
        """For what no known file is called now: models that were called so, those registered under the name,
        and files elsewhere that nobody has read; else LoRAs whose header calls them so."""
        asked = {one: [NamedModel(_bare_name(one), kind) for kind in one.kinds] for one in names}
        flat = list(dict.fromkeys(one for several in asked.values() for one in several))
        answers: dict[NamedModel, tuple[ModelMatch, ...]] = {}
        for part in slices(flat, AVAILABILITY_MAX_HASHES):
            found = availability_of_many(self._connection, part, self._live, now_ms=self._now_ms)
            answers.update((one, answer.matches) for one, answer in zip(part, found, strict=True))
        meant = {one: [m for model in several for m in answers[model]] for one, several in asked.items()}
        headers = {
            one: search_key(one.name.strip()) for one in names if one.role == "lora" and not meant[one]
        }
        gone = loras_by_output_name(self._connection, headers.values()) if headers else {}
        ids = [model.id for models in gone.values() for model in models[:CANDIDATES_MAX]]
        having = servers_of(self._connection, ids, self._live, now_ms=self._now_ms) if ids else {}
        for one, key in headers.items():
            some = gone.get(key, ())[:CANDIDATES_MAX]
            meant[one] = [ModelMatch(*model, servers=having[model.id]) for model in some]
        return meant


def _names_never_reported(
    connection: Connection, wanted: Sequence[Requirement], source_id: str | None
) -> frozenset[Requirement]:
    """Those of which only the source's files say what they mean, and it never told which it has."""
    if source_id is None or not never_reported(connection, source_id):
        return frozenset()
    return frozenset(one for one in wanted if not one.is_filled_in and not decides_by_hash(one))


def _as_hash(requirement: Requirement) -> str | None:
    """A WebUI knows a checkpoint by its hash too: what looks like one is one, unless a file is called so."""
    found = parse_hash(_bare_name(requirement)) if requirement.kinds == ("checkpoint",) else None
    return found.value if found else None


def _may_be_a_word(requirement: Requirement, source_id: str | None) -> bool:
    """A plain word as well as an embedding: nobody says where it was written, and no text states its hash."""
    is_bare = requirement.role == "embedding" and not requirement.hash
    return is_bare and source_id is None and may_be_a_word(requirement.name)


def _bare_name(requirement: Requirement) -> str:
    return checkpoint_parts(requirement.name)[0]


def decides_by_hash(requirement: Requirement) -> bool:
    """It carries a hash of the content. Forge of 2024-08 to 2025-02 put that of the file's *name* there."""
    found = parse_hash(requirement.hash or "")
    if found is None:
        return False
    name = _bare_name(requirement).replace("\\", "/").rsplit("/", 1)[-1]
    of_the_name = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()
    return not of_the_name.startswith(found.value)


def _resolved(requirement: Requirement, matches: Sequence[ModelMatch]) -> Resolution:
    if len(matches) > 1:
        return Resolution(requirement, "ambiguous", candidates=tuple(matches))
    if not matches:
        return Resolution(requirement, "missing")
    return Resolution(requirement, "found" if matches[0].hash_sha256 else "unhashed", matches[0])


def _is_of_kind(match: ModelMatch, requirement: Requirement) -> bool:
    """A file of it lies where a WebUI looks for this kind, or it is of this kind where there are no files."""
    kinds = {file.kind for entry in match.servers for file in entry.files}
    return match.type in requirement.kinds or bool(kinds.intersection(requirement.kinds))


def _is_on(match: ModelMatch, server_id: str | None) -> bool:
    return any(entry.server_id == server_id for entry in match.servers)


def _is_ready_on(match: ModelMatch, server_id: str | None) -> bool:
    """A file of it was read on that server."""
    return any(
        entry.server_id == server_id and any(file.state == "ready" for file in entry.files)
        for entry in match.servers
    )
