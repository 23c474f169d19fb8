"""What servers have of the wanted models, and which names there mean them: the one reading of both.

The check, the reasons, the sentence and the dispatcher all go by these files and these rules.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from operator import itemgetter
from typing import Any, Literal, NamedTuple, TypeAlias

import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.generation.requirements import can_be_written, checkpoint_parts
from stablequeue_client.shared.model_files.model_file import names_in_webui, stem_key
from stablequeue_hub.inventory.availability_rows import MAY_BECOME_READY
from stablequeue_hub.matching.job_requirements import JobRequirement, Lookup
from stablequeue_hub.matching.named_files import (
    FILE,
    FileStatement,
    known_files_named,
    unread_files_named,
)
from stablequeue_hub.store.bulk import slices
from stablequeue_hub.store.prepared import Prepared, in_list
from stablequeue_hub.store.tables import model_aliases, models, server_files, server_roots
from stablequeue_hub.store.tables import model_server_availability as summary

NOT_LOADABLE = ("corrupt", "partial")
"""States of files that no WebUI takes for the model of their name."""
_NOT_IN_A_WORD = frozenset("#<>\n")

StockAnswer = Literal["usable", "name_shared", "unread", "away", "missing"]
"""``name_shared``: it is there, and its WebUI cannot be told to load it without doubt: every name of it is
another content's too, or cannot stand in a prompt. ``unread``: a claim says so. ``away``: in a folder that is
not connected."""


_Row: TypeAlias = tuple[str, int, str, str, str, str, int]
"""SHA256, whether it is a link, server, folder, path, kind, size."""


class StockFile(NamedTuple):
    """A file of a wanted content. ``name``: what to call it in a job for this server's WebUI."""

    root: str
    path: str
    kind: str
    size: int
    name: str


@dataclass
class ServerStock:
    """What is to be looked at closely on one server: files whose names leave a doubt, or that cannot be used
    as they are.

    ``ready`` and ``claimed``: files by content; claimed ones are not read yet, and probably hold it.
    ``away``: contents in folders that are not connected, with their kinds. ``unread``: files that nobody has
    read, by (kind, stem); ``being_copied``: the same of files that are not whole yet. ``shared``: names, by
    kind, under which several contents lie, so that a WebUI may take the wrong one.
    """

    server_id: str
    ready: dict[str, list[StockFile]] = field(default_factory=dict)
    claimed: dict[str, list[StockFile]] = field(default_factory=dict)
    away: dict[str, set[str]] = field(default_factory=dict)
    unread: dict[tuple[str, str], list[StockFile]] = field(default_factory=dict)
    being_copied: set[tuple[str, str]] = field(default_factory=set)
    shared: set[tuple[str, str]] = field(default_factory=set)

    def answer(self, one: JobRequirement, *, is_source: bool) -> StockAnswer:
        """Return whether its WebUI can be told to load the model. ``is_source``: the name was written there,
        where a file that is not read yet will do."""
        if self.file(one, is_source=is_source) is not None:
            return "usable"
        if any(True for _ in self._files(one, is_source=is_source)):
            return "name_shared"
        lookup, content = one.lookup, one.content or ""
        if lookup is not None and lookup.sha256 is None and is_source:
            copied = any((kind, lookup.stem) in self.being_copied for kind in one.kinds)
            return "unread" if copied else "missing"
        if any(file.kind in one.kinds for file in self.claimed.get(content, ())):
            return "unread"
        return "away" if self.away.get(content, set()) & set(one.kinds) else "missing"

    def file(self, one: JobRequirement, *, is_source: bool) -> StockFile | None:
        """Return the file to load for it, under the name to write."""
        for file in self._files(one, is_source=is_source):
            named = _as_written(file, one) if is_source else file
            if _can_be_named(file.kind, named.name) and (file.kind, named.name) not in self.shared:
                return named
        return None

    def _files(self, one: JobRequirement, *, is_source: bool) -> Iterator[StockFile]:
        """Files that hold it, those first that were read."""
        lookup = one.lookup
        if lookup is None:
            return
        if lookup.sha256 is None:
            yield from self._unread(one, lookup.stem) if is_source else ()
            return
        yield from (file for file in self.ready.get(lookup.sha256, ()) if file.kind in one.kinds)
        if is_source:
            yield from (file for file in self.claimed.get(lookup.sha256, ()) if file.kind in one.kinds)

    def _unread(self, one: JobRequirement, stem: str) -> Iterable[StockFile]:
        """Files that are called so and that nobody has read."""
        path = _as_path(one.name)
        found = [file for kind in one.kinds for file in self.unread.get((kind, stem), ())]
        # Names differ in case on some disks: the one that is called exactly so comes first.
        return sorted(found, key=lambda file: path not in names_in_webui(file.kind, file.path))

    def merge(self, further: ServerStock) -> None:
        """Add what was read later, of other models."""
        self.shared |= further.shared
        self.being_copied |= further.being_copied
        self.ready.update(further.ready)
        self.claimed.update(further.claimed)
        self.away.update(further.away)
        self.unread.update(further.unread)


@dataclass
class Stock:
    """What servers have of the wanted models, as of one reading. ``asked``: what was looked for.

    ``plain``: by content and kind, the servers that have it ready under a name that means nothing else, which
    are most of all. ``doubtful``: the rest, by server; ``holding``: where it is that some content may be.
    """

    asked: set[Lookup] = field(default_factory=set)
    plain: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    doubtful: dict[str, ServerStock] = field(default_factory=dict)
    holding: dict[str, set[str]] = field(default_factory=dict)

    def answers(self, one: JobRequirement, source_id: str | None) -> dict[StockAnswer, set[str]]:
        """Return the servers that have something of it, by what they can do with it."""
        content, kinds = one.content or "", one.kinds
        usable: set[str] = set()
        for kind, servers in self.plain.get(content, {}).items():
            if kind in kinds:
                usable |= servers
        found: dict[StockAnswer, set[str]] = {"usable": usable}
        if content not in self.holding and source_id not in self.doubtful:
            return found
        for server_id in {*self.holding.get(content, ()), source_id or ""} - usable:
            if server_id in self.doubtful:
                answer = self.doubtful[server_id].answer(one, is_source=server_id == source_id)
                found.setdefault(answer, set()).add(server_id)
        return found

    def take(self, row: _Row, unusable: Mapping[tuple[str, str], str | None], *, is_read: bool) -> None:
        """A file that is to be looked at closely."""
        sha256, _, its_server, root, path, kind, size = row
        stock = self.doubtful.setdefault(its_server, ServerStock(its_server))
        self.holding.setdefault(sha256, set()).add(its_server)
        if (its_server, root) not in unusable:
            files = stock.ready if is_read else stock.claimed
            files.setdefault(sha256, []).append(_file(root, path, kind, size))
        elif unusable[its_server, root] is None:
            stock.away.setdefault(sha256, set()).add(kind)

    def of_server(self, server_id: str) -> ServerStock:
        return self.doubtful.get(server_id) or ServerStock(server_id)

    def merge(self, further: Stock) -> None:
        """Add what was read later, of other models."""
        self.asked |= further.asked
        self.plain.update(further.plain)
        self.holding.update(further.holding)
        for server_id, stock in further.doubtful.items():
            mine = self.doubtful.setdefault(server_id, stock)
            if mine is not stock:
                mine.merge(stock)


def _as_path(name: str) -> str:
    """A title's path with ``/``."""
    return checkpoint_parts(name)[0].replace("\\", "/")


def _as_written(file: StockFile, one: JobRequirement) -> StockFile:
    """A checkpoint that was written with its folder, on this very server, is found so and by nothing else."""
    if file.kind != "checkpoint" or checkpoint_parts(one.name)[0] != file.path:
        return file
    return file._replace(name=file.path)


@lru_cache(maxsize=8_192)
def _can_be_named(kind: str, name: str) -> bool:
    """Return whether its name can stand in a prompt."""
    if kind == "lora":
        return can_be_written(name)
    return kind != "embedding" or not set(name) & _NOT_IN_A_WORD


# --- reading ----------------------------------------------------------------------------------------------


def _holding(model_column: sa.Column[int], *conditions: sa.ColumnElement[bool]) -> FileStatement:
    return FileStatement(
        sa.select(models.c.hash_sha256, server_files.c.link, *FILE)
        .select_from(sa.join(models, server_files, model_column == models.c.id))
        .where(in_list(models.c.hash_sha256, "contents"), server_files.c.rejected.is_(None), *conditions)
    )


_ALIASES = Prepared(
    sa.select(models.c.hash_sha256, models.c.type, model_aliases.c.alias_path)
    .join_from(models, model_aliases, model_aliases.c.model_id == models.c.id, isouter=True)
    .where(in_list(models.c.hash_sha256, "contents"))
)
_IN_OTHER_FOLDERS = Prepared(
    sa.select(models.c.hash_sha256)
    .join_from(models, server_files, server_files.c.model_id == models.c.id)
    .where(server_files.c.kind_differs == 1)
)
_HAVING = (
    sa.select(models.c.hash_sha256, summary.c.server_id, summary.c.availability)
    .join_from(models, summary, summary.c.model_id == models.c.id)
    .where(in_list(models.c.hash_sha256, "contents"), summary.c.availability != "unavailable")
)
_SUMMARY = Prepared(_HAVING)
_SUMMARY_OF_ONE = Prepared(_HAVING.where(summary.c.server_id == sa.bindparam("server_id")))
_UNUSABLE_ROOTS = Prepared(
    sa.select(server_roots.c.server_id, server_roots.c.root_id, server_roots.c.rejected).where(
        sa.or_(server_roots.c.health != "healthy", server_roots.c.rejected.is_not(None))
    )
)
_READY = _holding(server_files.c.model_id, server_files.c.state == "ready")
_CLAIMED = _holding(server_files.c.claimed_model_id, in_list(server_files.c.state, "states"))
_SHARED_STEMS = Prepared(
    sa.select(model_aliases.c.stem_key)
    .where(in_list(model_aliases.c.stem_key, "stems"))
    .group_by(model_aliases.c.stem_key)
    .having(sa.func.min(model_aliases.c.model_id) != sa.func.max(model_aliases.c.model_id))
)


def read_stock(connection: Connection, wanted: Collection[Lookup], server_id: str | None = None) -> Stock:
    """Return what all servers (or the one) have of ``wanted``."""
    stock = Stock(set(wanted))
    contents = sorted({one.sha256 for one in wanted if one.sha256 is not None})
    by_name = {one.stem for one in wanted if one.sha256 is None}
    named = _named(connection, contents)
    stems = by_name.union(*(one.stems for one in named.values()))
    in_folders = bool(by_name) or any(one.kind == "checkpoint" for one in named.values())
    unread = list(unread_files_named(connection, stems, server_id, in_folders=in_folders))
    doubtful = by_name | _shared_stems(connection, stems) | {stem_key(row[2]) for row in unread}
    unusable = _unusable_roots(connection)
    close = {sha256 for sha256, one in named.items() if one.unwritable or one.stems & doubtful}
    close.update(sha256 for (sha256,) in _IN_OTHER_FOLDERS.all(connection, {}))
    looked_at = {its_server for its_server, _ in unusable}
    for sha256, its_server, availability in _summary(connection, contents, server_id):
        if sha256 in close or availability != "available" or its_server in looked_at:
            close.add(sha256)
            stock.plain.pop(sha256, None)
        else:
            stock.plain.setdefault(sha256, {}).setdefault(named[sha256].kind, set()).add(its_server)
    ready, claimed = _files(connection, close.intersection(contents), server_id)
    # Files that only probably hold a content have names of their own.
    further = {stem_key(row[4]) for row in (*ready, *claimed)} - stems
    if further:
        unread += unread_files_named(connection, further, server_id, in_folders=True)
        doubtful |= _shared_stems(connection, further) | {stem_key(row[2]) for row in unread}
    for rows, is_read in ((ready, True), (claimed, False)):
        for row in rows:
            stock.take(row, unusable, is_read=is_read)
    _index_names(stock.doubtful, known_files_named(connection, doubtful, server_id), unread)
    return stock


@dataclass
class _KnownNames:
    """What a content is called, or was. ``unwritable``: one of its names cannot stand in a prompt."""

    kind: str
    stems: set[str] = field(default_factory=set)
    unwritable: bool = False


def _named(connection: Connection, contents: Sequence[str]) -> dict[str, _KnownNames]:
    found: dict[str, _KnownNames] = {}
    for part in slices(contents):
        for sha256, kind, path in _ALIASES.all(connection, {"contents": part}):
            one = found.get(sha256)
            if one is None:
                one = found[sha256] = _KnownNames(kind)
            if path is not None:
                one.stems.add(stem_key(path))
                one.unwritable |= not _can_be_named(kind, name_for_webui(kind, path))
    return found


def _summary(
    connection: Connection, contents: Sequence[str], server_id: str | None
) -> Iterator[tuple[str, str, str]]:
    """Content, server, and what it has of it."""
    for part in slices(contents):
        if server_id is None:
            yield from _SUMMARY.all(connection, {"contents": part})
        else:
            values = {"contents": part, "server_id": server_id}
            yield from _SUMMARY_OF_ONE.all(connection, values)


def reload_files(
    connection: Connection, before: ServerStock, wanted: Collection[Lookup], *, is_source: bool
) -> ServerStock:
    """Return the files of a few models as they are now, with the names as they were read ``before``; those
    not read yet only where the names were written, where they will do."""
    found, unusable = Stock(), _unusable_roots(connection)
    contents = {one.sha256 for one in wanted if one.sha256 is not None}
    ready, claimed = _files(connection, contents, before.server_id, unread_too=is_source)
    for rows, is_read in ((ready, True), (claimed, False)):
        for row in rows:
            found.take(row, unusable, is_read=is_read)
    return replace(found.of_server(before.server_id), shared=before.shared, unread=before.unread)


def _files(
    connection: Connection, contents: Collection[str], server_id: str | None, *, unread_too: bool = True
) -> tuple[list[_Row], list[_Row]]:
    """Files of the contents that were read, and those that probably hold one. Real files before links,
    then by name, so that it is always the same one."""
    ready: list[_Row] = []
    claimed: list[_Row] = []
    states = list(MAY_BECOME_READY)
    for part in slices(sorted(contents)):
        ready += _READY.rows(connection, server_id, {"contents": part})  # type: ignore[arg-type]
        if unread_too:
            values = {"contents": part, "states": states}
            claimed += _CLAIMED.rows(connection, server_id, values)  # type: ignore[arg-type]
    order = itemgetter(1, 3, 4)
    return sorted(ready, key=order), sorted(claimed, key=order)


def _unusable_roots(connection: Connection) -> dict[tuple[str, str], str | None]:
    """Those that are not connected, or were rejected with a reason. Few: cheaper to read by themselves than
    beside each file."""
    return {(its, root): rejected for its, root, rejected in _UNUSABLE_ROOTS.all(connection, {})}


def _shared_stems(connection: Connection, stems: Iterable[str]) -> set[str]:
    """Those that several models are called by, somewhere or once."""
    shared: set[str] = set()
    for part in slices(sorted(stems)):
        shared.update(stem for (stem,) in _SHARED_STEMS.all(connection, {"stems": part}))
    return shared


def _index_names(
    stocks: dict[str, ServerStock],
    called: Iterable[Sequence[Any]],
    unread: Iterable[Sequence[Any]],
) -> None:
    """Note the names that several contents share, and the files known only by name."""
    names: dict[tuple[str, str, str], set[str | None]] = defaultdict(set)
    seen: set[tuple[str, str, str]] = set()
    for rows in (called, unread):
        for server_id, root, path, kind, size, sha256, state, health in rows:
            if (server_id, root, path) in seen:
                continue
            seen.add((server_id, root, path))
            if sha256 is not None or state not in NOT_LOADABLE:
                for name in names_in_webui(kind, path):
                    names[server_id, kind, name].add(sha256)
            if state == "partial" and health == "healthy":
                stocks.setdefault(server_id, ServerStock(server_id)).being_copied.add((kind, stem_key(path)))
            if state in MAY_BECOME_READY and health == "healthy":
                stock = stocks.setdefault(server_id, ServerStock(server_id))
                stock.unread.setdefault((kind, stem_key(path)), []).append(_file(root, path, kind, size))
    for (server_id, kind, name), found in names.items():
        if len(found) > 1 and server_id in stocks:
            stocks[server_id].shared.add((kind, name))


def _file(root: str, path: str, kind: str, size: int) -> StockFile:
    return StockFile(root, path, kind, size, name_for_webui(kind, path))


# --- names ------------------------------------------------------------------------------------------------


@lru_cache(maxsize=8_192)
def name_for_webui(kind: str, path: str) -> str:
    """Return the one of them to write. A checkpoint's folder is joined differently on Windows, so it is left
    out."""
    names = names_in_webui(kind, path)
    return names[-1] if "/" in path else names[0]
