"""Which files on all servers have a name, whatever their models were called first: for many names at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.generation.requirements import Requirement
from stablequeue_client.shared.model_files.model_file import ENDINGS_OF_NAMES, search_key, stem_key
from stablequeue_hub.inventory.metadata import OUTPUT_NAME
from stablequeue_hub.matching.host_lookup import (
    MATCHED_LOOSELY,
    NOT_READ,
    NamedFile,
    chosen_by_host,
    closest_checkpoints,
    stems_of,
    written_name,
)
from stablequeue_hub.store.bulk import slices
from stablequeue_hub.store.prepared import Prepared, in_list
from stablequeue_hub.store.tables import model_aliases, models, server_files, server_roots

# As expressions, or SQLite would begin with the folders, or with a server, and go through all files of each.
AT_ITS_ROOT = sa.and_(
    server_roots.c.server_id == server_files.c.server_id.concat(""),
    server_roots.c.root_id == server_files.c.root_id.concat(""),
)
_ON_SERVER = server_files.c.server_id.concat("") == sa.bindparam("server_id")
FILE = [server_files.c[name] for name in ("server_id", "root_id", "path", "kind", "size")]


class FileStatement:
    """A statement about files, for all servers and for a single one."""

    def __init__(self, statement: sa.Select[Any]) -> None:
        self._all, self._one = Prepared(statement), Prepared(statement.where(_ON_SERVER))

    def rows(
        self, connection: Connection, server_id: str | None, values: Mapping[str, Any]
    ) -> Sequence[Sequence[Any]]:
        """``server_id`` None: of all servers."""
        if server_id is None:
            return self._all.all(connection, values)
        return self._one.all(connection, {**values, "server_id": server_id})


_NAME = [*FILE, server_files.c.sha256, server_files.c.state, server_roots.c.health]
_READ = sa.join(model_aliases, server_files, server_files.c.model_id == model_aliases.c.model_id)
_CALLED = FileStatement(
    sa.select(*_NAME)
    .select_from(_READ.join(server_roots, AT_ITS_ROOT))
    .where(in_list(model_aliases.c.stem_key, "stems"))
)
_UNREAD = (
    sa.select(*_NAME)
    .select_from(sa.join(server_files, server_roots, AT_ITS_ROOT))
    .where(server_files.c.model_id.is_(None))
)
_UNREAD_CALLED = FileStatement(_UNREAD.where(in_list(server_files.c.name_key, "keys")))
# A checkpoint's name has its folder in front, which no index leaves out: the part behind the last "/" of each
# file that is not read. Choosing here keeps thousands of rows out of Python.
_FOLDER = sa.func.rtrim(server_files.c.name_key, sa.func.replace(server_files.c.name_key, "/", ""))
_BASE = sa.func.substr(server_files.c.name_key, sa.func.length(_FOLDER) + 1)
_UNREAD_IN_FOLDERS = FileStatement(_UNREAD.where(in_list(_BASE, "keys")))
_BY_HEADER = Prepared(
    sa.select(models.c.output_key, models.c.metadata_json, *_NAME)
    .select_from(
        sa.join(models, server_files, server_files.c.model_id == models.c.id).join(server_roots, AT_ITS_ROOT)
    )
    .where(in_list(models.c.output_key, "keys"), server_files.c.kind == "lora")
)
_HEADERS = Prepared(
    sa.select(models.c.hash_sha256, models.c.metadata_json).where(
        in_list(models.c.hash_sha256, "contents"), models.c.output_key.is_not(None)
    )
)
_CHECKPOINTS_ON = Prepared(
    sa.select(*_NAME)
    .select_from(sa.join(server_files, server_roots, AT_ITS_ROOT))
    .where(server_files.c.server_id == sa.bindparam("server_id"), server_files.c.kind == "checkpoint")
)


class FilesByName:
    """The files that may be meant by the names of ``wanted``. ``unread``: also those that nobody has read,
    which say something on the server only where a name was written."""

    def __init__(self, connection: Connection, wanted: Sequence[Requirement], *, unread: bool = True) -> None:
        self._connection = connection
        self._files: dict[tuple[str, str, str], NamedFile] = {}
        self._by_stem: dict[str, set[tuple[str, str, str]]] = defaultdict(set)
        self._by_header: dict[str, set[tuple[str, str, str]]] = defaultdict(set)
        self._checkpoints: dict[str, list[NamedFile]] = {}
        checkpoints = any("checkpoint" in one.kinds for one in wanted)
        stems = {stem for one in wanted for stem in stems_of(one)}
        found = known_files_named(connection, stems)
        if unread:
            found = chain(found, unread_files_named(connection, stems, in_folders=checkpoints))
        for row in found:
            self._add(row, self._by_stem[stem_key(row[2])])
        headers = {search_key(written_name(one)) for one in wanted if one.role == "lora"}
        for part in slices(sorted(headers)):
            for key, metadata, *row in _BY_HEADER.all(connection, {"keys": part}):
                self._add(row, self._by_header[key], _output_name(metadata))
        self._read_headers(key for key in headers if key in self._by_header)

    def _read_headers(self, keys: Iterable[str]) -> None:
        """Read the headers of LoRAs named like the headers of others, which makes a name ambiguous."""
        alike = {key for stem in keys for key in self._by_stem.get(stem, ())}
        contents = {sha256 for key in alike if (sha256 := self._files[key].sha256)}
        output_names = {}
        for part in slices(sorted(contents)):
            for sha256, metadata in _HEADERS.all(self._connection, {"contents": part}):
                output_names[sha256] = _output_name(metadata)
        for key in alike:
            file = self._files[key]
            if file.kind == "lora" and not file.output_name and file.sha256 in output_names:
                self._files[key] = replace(file, output_name=output_names[file.sha256])

    def _add(self, row: Sequence[Any], into: set[tuple[str, str, str]], output_name: str = "") -> None:
        file = _named_file(row, output_name)
        if file is not None:
            key = (row[0], row[1], row[2])
            if output_name or key not in self._files:
                self._files[key] = file
            into.add(key)

    def of(self, requirement: Requirement) -> list[NamedFile]:
        """Those with the stem of its name, and LoRAs whose header calls them so."""
        keys = {key for stem in stems_of(requirement) for key in self._by_stem.get(stem, ())}
        if requirement.role == "lora":
            keys |= self._by_header.get(search_key(written_name(requirement)), set())
        return [self._files[key] for key in sorted(keys)]

    def chosen_on(self, requirement: Requirement, server_id: str | None) -> list[NamedFile]:
        """Those of which a WebUI on that server takes one; none where it knows nothing of the name."""
        if server_id is None:
            return []
        here = [file for file in self.of(requirement) if file.server_id == server_id]
        taken = chosen_by_host(requirement, here)
        if not taken and requirement.role in MATCHED_LOOSELY:
            taken = closest_checkpoints(requirement, self._checkpoints_on(server_id))
        return taken

    def _checkpoints_on(self, server_id: str) -> list[NamedFile]:
        """All checkpoints of a server."""
        found = self._checkpoints.get(server_id)
        if found is None:
            rows = _CHECKPOINTS_ON.all(self._connection, {"server_id": server_id})
            found = [file for row in sorted(rows) if (file := _named_file(row)) is not None]
            self._checkpoints[server_id] = found
        return found


def _output_name(metadata: str | None) -> str:
    return str(msgspec.json.decode(metadata or "{}").get(OUTPUT_NAME, ""))


def _named_file(row: Sequence[Any], output_name: str = "") -> NamedFile | None:
    """None for what no WebUI can use, such as a damaged file."""
    server_id, root, path, kind, _size, sha256, state, health = row
    if state != "ready" and state not in NOT_READ:
        return None
    content = sha256 if state == "ready" else None
    return NamedFile(server_id, root, path, kind, content, health == "healthy", output_name)


def known_files_named(
    connection: Connection, stems: Collection[str], server_id: str | None = None
) -> Iterator[Sequence[Any]]:
    """Every file of a known model whose name has one of these stems; some of them more than once. Server,
    folder, path, kind, size, SHA256, state, health. ``server_id``: of that server only."""
    for part in slices(sorted(stems)):
        rows = _CALLED.rows(connection, server_id, {"stems": part})
        yield from (row for row in rows if stem_key(row[2]) in stems)


def unread_files_named(
    connection: Connection, stems: Iterable[str], server_id: str | None = None, *, in_folders: bool
) -> Iterator[Sequence[Any]]:
    """The same of files that are no known model. ``in_folders``: checkpoints lie in folders too."""
    unread = _UNREAD_IN_FOLDERS if in_folders else _UNREAD_CALLED
    keys = sorted({stem + ending for stem in stems for ending in ("", *ENDINGS_OF_NAMES)})
    for part in slices(keys):
        yield from unread.rows(connection, server_id, {"keys": part})
