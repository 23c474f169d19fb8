"""Which server has a model: the answer to "where is it", with age and source.

Words: ``available`` (a file there was hashed to this content), ``unhashed`` (a file there probably is it),
``unavailable`` (was there), ``unreachable`` (the server is not heard of, or every folder that holds the
model is not connected), ``unknown`` (the server never told what it has). ``unreachable`` and ``unknown``
are derived here, when ref, and stored nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.errors import InvalidValueError, TooLargeError
from stablequeue_client.shared.model_files.model_file import ENDINGS_OF_NAMES, search_key, stem_key
from stablequeue_client.shared.wire.inventory import AVAILABILITY_MAX_HASHES
from stablequeue_hub.inventory.availability_rows import MAY_BECOME_READY
from stablequeue_hub.models.lookup import ModelRef, ModelRefT, find_models, query_of
from stablequeue_hub.models.model_query import NamedModel, NameQuery, is_hash_of_nothing
from stablequeue_hub.servers.known_servers import KnownServer, known_servers
from stablequeue_hub.store.bulk import slices
from stablequeue_hub.store.prepared import Prepared, in_list
from stablequeue_hub.store.tables import model_server_availability, server_files, server_roots

if TYPE_CHECKING:
    from stablequeue_hub.servers.presence import Live


_SOURCES = {"available": "computed", "unhashed": "claim", "unavailable": "history"}


class FileOnServer(msgspec.Struct, frozen=True):
    """One file of the model on a server. ``path`` is a wire path relative to ``root``; ``label`` and
    ``root_health`` are the root's. ``name`` is the WebUI's name. ``link``: another name of a file that is
    there already."""

    root: str
    label: str | None
    path: str
    name: str
    kind: str
    size: int
    state: str
    root_health: str
    link: bool = False


class ServerAvailability(msgspec.Struct, frozen=True):
    """One server's answer. ``last_seen`` is UTC (``YYYY-MM-DD HH:MM:SS``), when the hub last knew the model
    there; ``age_s`` the seconds since then; both None when ``unknown``. ``source``: ``computed`` (hashed
    there), ``claim`` (somebody says so), ``name`` (a file of that name), ``history`` (was there), ``none``.
    ``unloadable``: what its WebUI said when it failed to load the content; only where one model is asked for.
    """

    server_id: str
    alias: str
    availability: str
    last_seen: str | None
    age_s: int | None
    source: str
    files: tuple[FileOnServer, ...] = ()
    unloadable: str = ""


class ModelMatch(msgspec.Struct, frozen=True):
    """A model that the query finds, and where it is. ``id`` and ``hash_sha256`` are None for files that have
    the name asked for and are not hashed yet."""

    id: int | None
    name: str
    type: str
    hash_sha256: str | None
    hash_autov2: str | None
    size: int | None
    base_model: str | None
    servers: tuple[ServerAvailability, ...] = ()


class AvailabilityAnswer(msgspec.Struct, frozen=True):
    """``servers`` is the one match's; empty when there is none, or several (``ambiguous``): never guessed."""

    query: str
    matches: tuple[ModelMatch, ...]
    ambiguous: bool
    servers: tuple[ServerAvailability, ...]
    success: bool = True


_SUMMARY = Prepared(
    sa.select(
        model_server_availability.c.model_id,
        model_server_availability.c.server_id,
        model_server_availability.c.availability,
        model_server_availability.c.last_seen,
    ).where(in_list(model_server_availability.c.model_id, "ids"))
)


def _files_by(column: sa.Column[Any]) -> sa.Select[Any]:
    root = sa.and_(
        server_roots.c.server_id == server_files.c.server_id,
        server_roots.c.root_id == server_files.c.root_id,
        server_roots.c.rejected.is_(None),
    )
    return (
        sa.select(
            column,
            server_files.c.server_id,
            server_files.c.root_id,
            server_roots.c.label,
            server_files.c.path,
            server_files.c.name,
            server_files.c.kind,
            server_files.c.size,
            server_files.c.state,
            sa.func.coalesce(server_roots.c.health, "unreachable"),
            server_files.c.link,
        )
        .select_from(sa.outerjoin(server_files, server_roots, root))
        .where(in_list(column, "ids"))
    )


_FILES = Prepared(_files_by(server_files.c.model_id).union_all(_files_by(server_files.c.claimed_model_id)))
_NAMED = Prepared(
    _files_by(server_files.c.name_key).where(
        server_files.c.model_id.is_(None),
        server_files.c.rejected.is_(None),
        in_list(server_files.c.state, "states"),
    )
)

_FilesOf: TypeAlias = dict[tuple[Any, str], list[FileOnServer]]
"""(model id, server_id) -> files."""


def availability_of(connection: Connection, text: str, live: Live, *, now_ms: int) -> AvailabilityAnswer:
    """Return where the model that ``text`` (row id, hash, name or path) means is; no matches if unknown.

    Raises InvalidValueError for a short hash that says nothing.
    """
    answer = availability_of_many(connection, (text,), live, now_ms=now_ms)[0]
    if not answer.matches and is_hash_of_nothing(text):
        raise InvalidValueError(
            f"{text.strip()} is the short hash of many small files: it was made of none of their bytes.",
            remedy="Look for the name or the first 10 digits of the SHA256 (AutoV2).",
        )
    return answer


def availability_of_many(
    connection: Connection, wanted: Sequence[ModelRef], live: Live, *, now_ms: int
) -> list[AvailabilityAnswer]:
    """As ``availability_of`` for up to 1,000 texts and names of a kind, in their order. What says nothing
    finds nothing. Raises TooLargeError above."""
    if len(wanted) > AVAILABILITY_MAX_HASHES:
        raise TooLargeError(f"One request asks for at most {AVAILABILITY_MAX_HASHES:,} models.")
    found = find_models(connection, wanted)
    models_found = {model.id: model for models in found.values() for model in models}
    servers = servers_of(connection, list(models_found), live, now_ms=now_ms)
    matches = {model.id: ModelMatch(*model, servers=servers[model.id]) for model in models_found.values()}
    unhashed = unhashed_of_names(connection, [ref for ref in found if not found[ref]], live, now_ms)
    return [
        _answer(
            ref,
            _called_so_now(ref, [matches[model.id] for model in found[ref]]) or unhashed.get(ref, []),
        )
        for ref in wanted
    ]


def _called_so_now(ref: ModelRef, matches: list[ModelMatch]) -> list[ModelMatch]:
    """Drop models whose files all have other names now, and those that nobody has, where files have this
    name."""
    query = query_of(ref)
    if len(matches) < 2 or not isinstance(query, NameQuery):
        return matches
    files = {match.id: [file for entry in match.servers for file in entry.files] for match in matches}
    called = {
        match_id
        for match_id, its in files.items()
        if any(
            query.key in (search_key(file.path), search_key(file.name)) or query.stem == stem_key(file.path)
            for file in its
        )
    }
    return [match for match in matches if not called or match.id in called]


def servers_of(
    connection: Connection, model_ids: Sequence[int], live: Live, *, now_ms: int
) -> dict[int, tuple[ServerAvailability, ...]]:
    """Per model every server that has or had it, and those that never told what they have."""
    files: _FilesOf = {}
    summary: dict[int, dict[str, tuple[str, int]]] = {model_id: {} for model_id in model_ids}
    for part in slices(model_ids):
        for model_id, server_id, availability, last_seen in _SUMMARY.all(connection, {"ids": part}):
            summary[model_id][server_id] = (availability, last_seen)
        for model_id, server_id, *columns in _FILES.all(connection, {"ids": part}):
            files.setdefault((model_id, server_id), []).append(_file(*columns))
    some = {server_id for there in summary.values() for server_id in there}
    known = known_servers(connection, live, some)
    silent = [server for server in known.values() if not server.has_inventory]
    order = {server_id: place for place, server_id in enumerate(known)}
    return {
        model_id: tuple(
            [
                _known_entry(known[server_id], stored, files.get((model_id, server_id), []), now_ms)
                for server_id, stored in sorted(there.items(), key=lambda pair: order[pair[0]])
            ]
            + [_unknown_entry(server) for server in silent if server.server_id not in there]
        )
        for model_id, there in summary.items()
    }


def _known_entry(
    server: KnownServer, stored: tuple[str, int], files: list[FileOnServer], now_ms: int
) -> ServerAvailability:
    availability, last_seen = stored
    if availability != "unavailable":
        last_seen = max(last_seen, server.heard_ms or 0)
    return ServerAvailability(
        server.server_id,
        server.alias,
        effective_availability(
            availability, server.reachable, [file for file in files if _counts(availability, file)]
        ),
        utc_text(last_seen),
        max(0, now_ms - last_seen) // 1000,
        _SOURCES[availability],
        tuple(files),
    )


def _counts(availability: str, file: FileOnServer) -> bool:
    return (file.state == "ready") == (availability == "available")


def effective_availability(availability: str, reachable: bool, files: Sequence[FileOnServer]) -> str:
    """The stored word, or ``unreachable``: nobody answers there, or no folder of ``files`` is connected."""
    if availability == "unavailable":
        return availability
    if not reachable or (files and all(file.root_health != "healthy" for file in files)):
        return "unreachable"
    return availability


def _unknown_entry(server: KnownServer) -> ServerAvailability:
    return ServerAvailability(server.server_id, server.alias, "unknown", None, None, "none")


_Group: TypeAlias = tuple[str, str]
"""Kind and name of files that are no known model yet."""
_NamedFiles: TypeAlias = dict[str, dict[_Group, dict[str, list[FileOnServer]]]]
"""name key -> group -> server_id -> files."""


def unhashed_of_names(
    connection: Connection,
    wanted: Sequence[ModelRefT],
    live: Live,
    now_ms: int,
    *,
    states: Sequence[str] = MAY_BECOME_READY,
) -> dict[ModelRefT, list[ModelMatch]]:
    """Files of these names that are no known model yet, grouped by kind and name; hashes find none."""
    keys_of = {ref: keys for ref in wanted if (keys := _name_keys(ref))}
    if not keys_of:
        return {}
    files = _named_files(connection, {key for keys in keys_of.values() for key in keys}, states)
    owners = {server_id for groups in files.values() for there in groups.values() for server_id in there}
    known = known_servers(connection, live, owners)
    found: dict[ModelRefT, list[ModelMatch]] = {}
    for ref, keys in keys_of.items():
        groups = {group: there for key in keys for group, there in files.get(key, {}).items()}
        found[ref] = [
            ModelMatch(None, name, kind, None, None, None, None, servers=_named_entries(there, known, now_ms))
            for (kind, name), there in sorted(groups.items())
            if not isinstance(ref, NamedModel) or ref.kind == kind
        ]
    return found


def _name_keys(ref: ModelRef) -> list[str]:
    """The key of a name, alone and with each extension; none for what is no name."""
    query = query_of(ref)
    if not isinstance(query, NameQuery) or not query.key:
        return []
    return [query.key, *(query.key + extension for extension in ENDINGS_OF_NAMES)]


def _named_files(connection: Connection, keys: Iterable[str], states: Sequence[str]) -> _NamedFiles:
    found: _NamedFiles = {}
    for part in slices(sorted(keys)):
        for key, server_id, *columns in _NAMED.all(connection, {"ids": part, "states": list(states)}):
            file = _file(*columns)
            groups = found.setdefault(key, {})
            groups.setdefault((file.kind, file.name), {}).setdefault(server_id, []).append(file)
    return found


def _file(*columns: Any) -> FileOnServer:
    """A row of ``_files_by``: databases without booleans give numbers."""
    values = (*columns[:-1], bool(columns[-1]))
    return FileOnServer(*values)


def _named_entries(
    there: dict[str, list[FileOnServer]], known: dict[str, KnownServer], now_ms: int
) -> tuple[ServerAvailability, ...]:
    entries = []
    for server_id, files in there.items():
        server = known[server_id]
        last_seen = server.heard_ms or now_ms
        word = effective_availability("unhashed", server.reachable, files)
        age_s = max(0, now_ms - last_seen) // 1000
        entries.append(
            ServerAvailability(
                server_id, server.alias, word, utc_text(last_seen), age_s, "name", tuple(files)
            )
        )
    return tuple(sorted(entries, key=lambda entry: entry.alias))


def _answer(ref: ModelRef, matches: list[ModelMatch]) -> AvailabilityAnswer:
    text = ref.name if isinstance(ref, NamedModel) else ref
    servers = matches[0].servers if len(matches) == 1 else ()
    return AvailabilityAnswer(text, tuple(matches), len(matches) > 1, servers)


def utc_text(milliseconds: int) -> str:
    """``YYYY-MM-DD HH:MM:SS`` UTC, as the old StableQueue wrote times."""
    return datetime.fromtimestamp(milliseconds // 1000, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
