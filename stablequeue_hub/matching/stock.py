"""What servers have of the wanted models, and which names there mean them: the one reading of both.

The check, the reasons, the sentence and the dispatcher all go by these files and these rules.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.generation.requirements import can_be_written, checkpoint_parts
from stablequeue_client.shared.models.model_files import names_in_webui, stem_key
from stablequeue_hub.inventory.availability_rows import MAY_BECOME_READY
from stablequeue_hub.matching.job_requirements import JobRequirement, Lookup
from stablequeue_hub.matching.named_files import (
    AT_ITS_ROOT,
    FILE,
    FileStatement,
    known_files_named,
    unread_files_named,
)
from stablequeue_hub.store.bulk import slices
from stablequeue_hub.store.prepared import Prepared, in_list
from stablequeue_hub.store.tables import model_aliases, models, server_files, server_roots

NOT_LOADABLE = ("corrupt", "partial")
"""States of files that no WebUI takes for the model of their name."""
_NOT_IN_A_WORD = frozenset("#<>\n")

StockAnswer = Literal["usable", "name_shared", "unread", "away", "missing"]
"""``name_shared``: it is there, and its WebUI cannot be told to load it without doubt: every name of it is
another content's too, or cannot stand in a prompt. ``unread``: a claim says so. ``away``: in a folder that is
not connected."""


class StockFile(NamedTuple):
    """A file of a wanted content. ``name``: what to call it in a job for this server's WebUI."""

    root: str
    path: str
    kind: str
    size: int
    name: str


@dataclass
class ServerStock:
    """One server as of one reading. ``asked``: what was looked for.

    ``ready`` and ``claimed``: files by content; claimed ones are not read yet, and probably hold it.
    ``away``: contents in folders that are not connected, with their kinds. ``unread``: files that nobody has
    read, by (kind, stem); ``being_copied``: the same of files that are not whole yet. ``shared``: names, by
    kind, under which several contents lie, so that a WebUI may take the wrong one.
    """

    server_id: str
    asked: set[Lookup] = field(default_factory=set)
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
            if _can_be_named(named) and (file.kind, named.name) not in self.shared:
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
        self.asked |= further.asked
        self.shared |= further.shared
        self.being_copied |= further.being_copied
        self.ready.update(further.ready)
        self.claimed.update(further.claimed)
        self.away.update(further.away)
        self.unread.update(further.unread)


def _as_path(name: str) -> str:
    """A title's path with ``/``."""
    return checkpoint_parts(name)[0].replace("\\", "/")


def _as_written(file: StockFile, one: JobRequirement) -> StockFile:
    """A checkpoint that was written with its folder, on this very server, is found so and by nothing else."""
    if file.kind != "checkpoint" or checkpoint_parts(one.name)[0] != file.path:
        return file
    return file._replace(name=file.path)


def _can_be_named(file: StockFile) -> bool:
    """Return whether its name can stand in a prompt."""
    if file.kind == "lora":
        return can_be_written(file.name)
    return file.kind != "embedding" or not set(file.name) & _NOT_IN_A_WORD


# --- reading ----------------------------------------------------------------------------------------------


def _holding(model_column: sa.Column[int], *conditions: sa.ColumnElement[bool]) -> FileStatement:
    files = sa.join(models, server_files, model_column == models.c.id).join(server_roots, AT_ITS_ROOT)
    return FileStatement(
        # Real files before links, then by name, so that it is always the same one.
        sa.select(models.c.hash_sha256, server_roots.c.health, server_files.c.link, *FILE)
        .select_from(files)
        .where(
            in_list(models.c.hash_sha256, "contents"),
            server_files.c.rejected.is_(None),
            server_roots.c.rejected.is_(None),
            *conditions,
        )
    )


_READY = _holding(server_files.c.model_id, server_files.c.state == "ready")
_CLAIMED = _holding(server_files.c.claimed_model_id, in_list(server_files.c.state, "states"))
_SHARED_STEMS = Prepared(
    sa.select(model_aliases.c.stem_key)
    .where(in_list(model_aliases.c.stem_key, "stems"))
    .group_by(model_aliases.c.stem_key)
    .having(sa.func.count(model_aliases.c.model_id.distinct()) > 1)
)


def stocks_of(
    connection: Connection, wanted: Collection[Lookup], server_id: str | None = None
) -> dict[str, ServerStock]:
    """Return by server (or of the one) what it has of ``wanted``; none for one that has nothing of it."""
    stocks = _files_of(connection, wanted, server_id)
    stems: dict[str, bool] = {one.stem: False for one in wanted if one.sha256 is None}
    for stock in stocks.values():
        for files in (*stock.ready.values(), *stock.claimed.values()):
            for file in files:
                stem = stem_key(file.path)
                stems[stem] = stems.get(stem, False) or file.kind == "checkpoint"
    checkpoints = any(stems.values()) or any(one.sha256 is None for one in wanted)
    doubtful = {one.stem for one in wanted if one.sha256 is None} | _shared_stems(connection, stems)
    unread = list(unread_files_named(connection, stems, server_id, in_folders=checkpoints))
    doubtful |= {stem_key(row[2]) for row in unread}
    _index_names(stocks, known_files_named(connection, doubtful, server_id), unread)
    return stocks


def stock_of_server(connection: Connection, server_id: str, wanted: Collection[Lookup]) -> ServerStock:
    """As ``stocks_of``, of one server."""
    stock = stocks_of(connection, wanted, server_id).get(server_id) or ServerStock(server_id)
    stock.asked = set(wanted)
    return stock


def reload_files(
    connection: Connection, before: ServerStock, wanted: Collection[Lookup], *, is_source: bool
) -> ServerStock:
    """Return the files of a few models as they are now, with the names as they were read ``before``; those
    not read yet only where the names were written, where they will do."""
    found = _files_of(connection, wanted, before.server_id, unread_too=is_source).get(before.server_id)
    return replace(found or ServerStock(before.server_id), shared=before.shared, unread=before.unread)


def _files_of(
    connection: Connection,
    wanted: Collection[Lookup],
    server_id: str | None,
    *,
    unread_too: bool = True,
) -> dict[str, ServerStock]:
    stocks: dict[str, ServerStock] = {}
    states = list(MAY_BECOME_READY)
    for part in slices(sorted({one.sha256 for one in wanted if one.sha256 is not None})):
        ready = _READY.rows(connection, server_id, {"contents": part})
        claimed: Sequence[Sequence[Any]] = ()
        if unread_too:
            claimed = _CLAIMED.rows(connection, server_id, {"contents": part, "states": states})
        for rows, read in ((ready, True), (claimed, False)):
            for sha256, health, _, its_server, *file in sorted(
                rows, key=lambda row: (row[2], row[4], row[5])
            ):
                stock = stocks.get(its_server)
                if stock is None:
                    stock = stocks[its_server] = ServerStock(its_server)
                if health != "healthy":
                    stock.away.setdefault(sha256, set()).add(file[2])
                else:
                    files = stock.ready if read else stock.claimed
                    files.setdefault(sha256, []).append(_file(*file))
    return stocks


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


def name_for_webui(kind: str, path: str) -> str:
    """Return the one of them to write. A checkpoint's folder is joined differently on Windows, so it is left
    out."""
    names = names_in_webui(kind, path)
    return names[-1] if "/" in path else names[0]
