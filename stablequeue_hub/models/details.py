"""Everything the hub knows of one model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.errors import ConflictError, NotFoundError
from stablequeue_hub.inventory.availability_rows import ON_A_SERVER
from stablequeue_hub.models.availability import (
    AvailabilityAnswer,
    FileOnServer,
    ServerAvailability,
    availability_of_many,
)
from stablequeue_hub.models.matrix import ListedModel, model_rows
from stablequeue_hub.models.model_query import is_hash_of_nothing
from stablequeue_hub.models.unloadable import unloadable_on
from stablequeue_hub.servers.known_servers import KnownServer, known_servers
from stablequeue_hub.store.tables import model_aliases, models, server_files
from stablequeue_hub.store.tables import model_server_availability as summary

if TYPE_CHECKING:
    from stablequeue_hub.servers.presence import Live


class KnownDigest(msgspec.Struct, frozen=True):
    """A digest and where it comes from: ``computed`` by a server, ``registered`` by an admin, or
    ``claim:<source>`` (``contradicts`` True when it differs from the computed one)."""

    digest: str
    value: str
    source: str
    contradicts: bool = False


class DuplicateFiles(msgspec.Struct, frozen=True):
    """The same content more than once on one server; ``wasted_bytes`` is what all but one file take.

    A link takes nothing.
    """

    server_id: str
    alias: str
    paths: tuple[str, ...]
    wasted_bytes: int


SAME_NAME_MAX = 50
_DIGESTS = ("sha256", "autov2", "blake3", "autov1", "autov3")


class SameName(msgspec.Struct, frozen=True):
    """Another content under a name of this model. ``servers``: aliases of those that have it."""

    id: int
    name: str
    type: str
    hash_autov2: str | None
    size: int | None
    servers: tuple[str, ...]


class ModelDetailsAnswer(msgspec.Struct, frozen=True):
    """``metadata`` None: nobody sent it yet; ``{}``: the file has none. ``kinds`` holds more than one kind
    when servers keep the file in folders of different kinds. ``lead``: registered without a full SHA256."""

    model: ListedModel
    digests: tuple[KnownDigest, ...]
    aliases: tuple[str, ...]
    servers: tuple[ServerAvailability, ...]
    kinds: tuple[str, ...]
    metadata: dict[str, str] | None
    duplicates: tuple[DuplicateFiles, ...]
    wasted_bytes: int
    same_name: tuple[SameName, ...]
    lead: bool
    success: bool = True


def model_details(connection: Connection, text: str, live: Live, *, now_ms: int) -> ModelDetailsAnswer:
    """The model that ``text`` (row id, hash, name or path) means.

    Raises NotFoundError, and ConflictError naming the candidates when it means several.
    """
    answer = availability_of_many(connection, (text,), live, now_ms=now_ms)[0]
    model_id, there = _single(text, answer)
    known = known_servers(connection, live)
    row = model_rows(connection, (model_id,), known, now_ms=now_ms)[0]
    failed = unloadable_on(connection)
    there = tuple(
        msgspec.structs.replace(one, unloadable=failed.get(one.server_id, {}).get(row.hash_sha256 or "", ""))
        for one in there
    )
    its_files = _files_of(connection, model_id)
    aliases = tuple(
        connection.scalars(
            sa.select(model_aliases.c.alias_path)
            .where(model_aliases.c.model_id == model_id)
            .order_by(model_aliases.c.alias_key, model_aliases.c.id)
        ).all()
    )
    duplicates = tuple(_duplicates(there))
    text_of_metadata = connection.scalar(sa.select(models.c.metadata_json).where(models.c.id == model_id))
    return ModelDetailsAnswer(
        row,
        tuple(_digests(row, its_files)),
        aliases,
        there,
        tuple(sorted({row.type, *(file.kind for file in its_files if file.model_id == model_id)})),
        json.loads(text_of_metadata) if text_of_metadata is not None else None,
        duplicates,
        sum(duplicate.wasted_bytes for duplicate in duplicates),
        _same_name(connection, row, known),
        row.hash_sha256 is None,
    )


def _single(text: str, answer: AvailabilityAnswer) -> tuple[int, tuple[ServerAvailability, ...]]:
    """Row id and servers of the one model that ``text`` means, as ``where`` would answer."""
    found = [(match.id, match) for match in answer.matches if match.id is not None]
    if not found and is_hash_of_nothing(text):
        raise NotFoundError(
            f"{text} is the short hash of many small files.",
            remedy="Look for the name or the SHA256.",
        )
    if not found:
        raise NotFoundError(f"No model {text!r} is known here.")
    if len(found) > 1:
        raise ConflictError(
            f"{text!r} matches {len(found)} models.",
            remedy="Give the full SHA256 or the row id of one of them.",
            details={"candidates": [{"id": key, "hash_sha256": match.hash_sha256} for key, match in found]},
        )
    row_id, only = found[0]
    return row_id, only.servers


def _files_of(connection: Connection, model_id: int) -> Sequence[Any]:
    """Rows with the file's digests and claims: ready ones, and those that claim to be the model."""
    c = server_files.c
    query = sa.select(c.model_id, c.kind, c.blake3, c.autov1, c.autov3, c.claims_json)
    return connection.execute(
        query.where(sa.or_(c.model_id == model_id, c.claimed_model_id == model_id))
    ).all()


def _digests(row: ListedModel, files: Sequence[Any]) -> Iterable[KnownDigest]:
    """Yield the registry's digests, then the claimed ones; each (digest, value, source) once."""
    known = {digest: getattr(row, f"hash_{digest}") for digest in _DIGESTS}
    ready = [file for file in files if file.model_id == row.id]
    for digest, value in known.items():
        if value is not None:
            counted = row.source == "sync" or _computed(digest, value, ready)
            yield KnownDigest(digest, value, "computed" if counted else "registered")
    claimed = {
        (claim["digest"], claim["value"], claim["source"])
        for file in files
        if file.claims_json
        for claim in json.loads(file.claims_json)
    }
    for digest, value, source in sorted(claimed):
        contradicts = known[digest] is not None and known[digest] != value
        yield KnownDigest(digest, value, f"claim:{source}", contradicts)


def _computed(digest: str, value: str, ready: Sequence[Any]) -> bool:
    if digest in ("sha256", "autov2"):
        return bool(ready)
    return any(getattr(file, digest) == value for file in ready)


def _duplicates(there: Iterable[ServerAvailability]) -> Iterable[DuplicateFiles]:
    for server in there:
        same = [file for file in server.files if file.state == "ready"]
        if len(same) > 1:
            paths = tuple(_shown(file) for file in same)
            wasted = sum(file.size for file in [file for file in same if not file.link][1:])
            yield DuplicateFiles(server.server_id, server.alias, paths, wasted)


def _shown(file: FileOnServer) -> str:
    return f"{file.label}/{file.path}" if file.label else file.path


def _same_name(
    connection: Connection, row: ListedModel, known: dict[str, KnownServer]
) -> tuple[SameName, ...]:
    """Models of the same type that somebody has and that have a file name in common with this one."""
    its_stems = sa.select(model_aliases.c.stem_key).where(model_aliases.c.model_id == row.id)
    alike = sa.select(model_aliases.c.model_id).where(model_aliases.c.stem_key.in_(its_stems))
    query = (
        sa.select(models.c.id, models.c.name, models.c.type, models.c.hash_autov2, models.c.size)
        .where(models.c.id.in_(alike), models.c.id != row.id, models.c.type == row.type, ON_A_SERVER)
        .order_by(models.c.search_key, models.c.id)
        .limit(SAME_NAME_MAX)
    )
    others = connection.execute(query).all()
    have = _aliases_having(connection, [other.id for other in others], known)
    return tuple(SameName(*other, servers=have.get(other.id, ())) for other in others)


def _aliases_having(
    connection: Connection, ids: Sequence[int], known: dict[str, KnownServer]
) -> dict[int, tuple[str, ...]]:
    query = sa.select(summary.c.model_id, summary.c.server_id).where(
        summary.c.model_id.in_(ids), summary.c.availability == "available"
    )
    having: dict[int, list[str]] = {}
    for model_id, server_id in connection.execute(query):
        having.setdefault(model_id, []).append(known[server_id].alias)
    return {model_id: tuple(sorted(names)) for model_id, names in having.items()}
