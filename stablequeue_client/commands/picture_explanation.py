"""What the generation text of a picture says of its models, and what nobody can tell from it. Pure.

A hash of the content tells which file it was, whatever that is called today. A name alone tells only what is
called so now. What is known of files comes as ``KnownFile``s, from an index or from a hub.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from stablequeue_client.shared.generation.infotext import (
    HashMention,
    Infotext,
    infotext_hashes,
    payload_from_infotext,
    requirements_with_hashes,
)
from stablequeue_client.shared.generation.requirements import (
    EmbeddingNames,
    Requirement,
    checkpoint_parts,
    generation_requirements,
)
from stablequeue_client.shared.model_files.model_file import parse_hash, stem_key
from stablequeue_client.shared.model_files.roles import Role

Verdict = Literal["this", "several", "called_so", "other_content", "not_read", "nowhere", "filled_in"]
"""``this``: a file of exactly this content. ``several``: contents among which the short hash does not choose.
``called_so``: files of that name, and the text has no hash to compare. ``other_content``: files of that name
that are not it. ``not_read``: files of that name that nobody has read. ``filled_in``: no name, a template."""

NO_CHECKPOINT = "The text names no checkpoint: which one made the picture is not known."


@dataclass(frozen=True)
class KnownFile:
    """A file somewhere. ``where``: for people. ``sha256`` None: nobody has read it."""

    kind: str
    name: str
    where: str
    sha256: str | None
    autov1: str | None = None
    autov3: str | None = None


@dataclass(frozen=True)
class NamedInPicture:
    """A model that the text names. ``mentioned`` False: it stands only among the text's hashes, not in the
    prompt or the settings."""

    role: Role
    name: str
    hash: str | None
    dialect: str | None
    filled_in: bool = False
    mentioned: bool = True


@dataclass(frozen=True)
class Explained:
    """One of them, and the files that it means or that are called so."""

    named: NamedInPicture
    verdict: Verdict
    files: tuple[KnownFile, ...] = ()

    @property
    def sentence(self) -> str:
        return _SENTENCES[self.verdict].format(hash=self.named.hash or "")

    @property
    def where(self) -> tuple[str, ...]:
        """Where its files are, each place once."""
        return tuple(dict.fromkeys(file.where for file in self.files))

    @property
    def cannot_tell(self) -> str | None:
        """What the text leaves open about it."""
        if self.named.filled_in:
            return "is filled in by an extension, so which model it was is not known."
        if self.named.dialect == "file_name":
            return "carries a hash of its file's name (as Forge wrote it in 2024), not of its content."
        if self.named.hash is None:
            return "has no hash in the text: which content it was is not known, only what has this name now."
        return None


_SENTENCES: dict[Verdict, str] = {
    "this": "exactly this content, by its hash {hash}",
    "several": "several contents match the short hash {hash}; which of them is not known",
    "called_so": "same name; whether it is the same content is not known",
    "other_content": "same name, but other content than {hash}",
    "not_read": "same name, not read yet",
    "nowhere": "not known",
    "filled_in": "filled in by an extension",
}


def named_in(text: Infotext, embeddings: EmbeddingNames | None = None) -> list[NamedInPicture]:
    """Every model that the text names, with the hash that it gives; then those that only have a hash."""
    mentions = infotext_hashes(text)
    wanted = generation_requirements(payload_from_infotext(text), embeddings)
    found = [_named(one, mentions) for one in requirements_with_hashes(wanted, mentions)]
    found = list(dict.fromkeys(found))
    spoken_of = {one.hash for one in found} | {(one.role, stem_key(one.name)) for one in found}
    rest = [
        NamedInPicture(one.role, one.name, one.hash, one.dialect, mentioned=False)
        for one in mentions
        if one.hash not in spoken_of and (one.role, stem_key(one.name)) not in spoken_of
    ]
    return found + rest


def _named(one: Requirement, mentions: Sequence[HashMention]) -> NamedInPicture:
    name = checkpoint_parts(one.name)[0]
    said = next((m for m in mentions if m.hash == one.hash), None)
    if said is None:
        vague = (m for m in mentions if m.dialect == "file_name" and stem_key(m.name) == stem_key(name))
        said = next(vague, None)
    dialect = said.dialect if said else ("autov2" if one.hash else None)
    return NamedInPicture(one.role, name, said.hash if said else one.hash, dialect, one.is_filled_in)


def explain(named: NamedInPicture, files: Iterable[KnownFile]) -> Explained:
    """Return which of ``files`` (all of the kinds that may be meant) it is."""
    if named.filled_in:
        return Explained(named, "filled_in")
    several = list(files)
    called = [file for file in several if stem_key(file.name) == stem_key(named.name)]
    by_hash = named.hash is not None and named.dialect != "file_name"
    if by_hash:
        same = [file for file in several if _has_hash(file, named.hash or "")]
        if same:
            contents = {file.sha256 for file in same}
            return Explained(named, "this" if len(contents) == 1 else "several", tuple(same))
    unread = tuple(file for file in called if file.sha256 is None)
    read = tuple(file for file in called if file.sha256 is not None)
    if by_hash:
        if unread:
            return Explained(named, "not_read", unread)
        return Explained(named, "other_content" if read else "nowhere", read)
    if read:
        return Explained(named, "called_so", read + unread)
    return Explained(named, "not_read" if unread else "nowhere", unread)


def _has_hash(file: KnownFile, written: str) -> bool:
    query = parse_hash(written)
    if query is None or file.sha256 is None:
        return False
    value = query.value
    if len(value) == 8:
        return file.autov1 == value
    return file.sha256.startswith(value) or (len(value) == 12 and file.autov3 == value)


def open_questions(explained: Sequence[Explained]) -> list[str]:
    """Return what nobody can tell from this text, for people; names stand in it as written."""
    found = [
        f"{one.named.name} {one.cannot_tell}" for one in explained if one.cannot_tell and one.named.mentioned
    ]
    if not any(one.named.role == "checkpoint" for one in explained):
        found.append(NO_CHECKPOINT)
    return found
