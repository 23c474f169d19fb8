"""What each server has of some wanted models, and which names there mean them: read for many jobs at once.

The same files and the same rules as those the hand-over goes by (``server_stock``), so that what is said of a
server and what it gets never differ; but of all its names only those that the wanted models have.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.generation.requirements import checkpoint_parts
from stablequeue_client.shared.models.model_files import MODEL_EXTENSIONS, stem_key
from stablequeue_client.shared.models.roles import KINDS_OF, Role
from stablequeue_hub.inventory.availability_rows import MAY_BECOME_READY
from stablequeue_hub.matching.needs import Need
from stablequeue_hub.matching.server_stock import (
    NOT_LOADABLE,
    ServerStock,
    StockFile,
    can_be_named_anywhere,
    name_for_webui,
    names_of,
)
from stablequeue_hub.store.bulk import slices
from stablequeue_hub.store.prepared import Prepared, in_list
from stablequeue_hub.store.tables import model_aliases, models, server_files, server_roots


@dataclass(frozen=True)
class WantedModel:
    """A model that a job names. ``sha256``: None for a file that is only known by its name, where that was
    written."""

    role: Role
    name: str
    sha256: str | None

    @property
    def stem(self) -> str:
        """What files of that name are called without folder and extension."""
        return stem_key(checkpoint_parts(self.name)[0].replace("\\", "/"))


_AT_ITS_ROOT = sa.and_(
    server_roots.c.server_id == server_files.c.server_id,
    server_roots.c.root_id == server_files.c.root_id,
)
_FILE = [server_files.c[name] for name in ("server_id", "root_id", "path", "kind", "size")]


def _holding(model_column: sa.Column[int], *conditions: sa.ColumnElement[bool]) -> Prepared:
    files = sa.join(models, server_files, model_column == models.c.id).join(server_roots, _AT_ITS_ROOT)
    return Prepared(
        sa.select(models.c.hash_sha256, *_FILE)
        .select_from(files)
        .where(
            in_list(models.c.hash_sha256, "contents"),
            server_files.c.rejected.is_(None),
            server_roots.c.rejected.is_(None),
            server_roots.c.health == "healthy",
            *conditions,
        )
    )


_READY = _holding(server_files.c.model_id, server_files.c.state == "ready")
_CLAIMED = _holding(server_files.c.claimed_model_id, in_list(server_files.c.state, "states"))
_NAME = [*_FILE, server_files.c.sha256, server_files.c.state, server_roots.c.health]
_READ = sa.join(model_aliases, server_files, server_files.c.model_id == model_aliases.c.model_id)
_CALLED = Prepared(
    sa.select(*_NAME)
    .select_from(_READ.join(server_roots, _AT_ITS_ROOT))
    .where(in_list(model_aliases.c.stem_key, "stems"))
)
# As an expression, or SQLite would begin with the folders and go through all files of each.
_AT_ITS_ROOT_LAST = sa.and_(
    server_roots.c.server_id == server_files.c.server_id.concat(""),
    server_roots.c.root_id == server_files.c.root_id.concat(""),
)
_UNREAD = (
    sa.select(*_NAME)
    .select_from(sa.join(server_files, server_roots, _AT_ITS_ROOT_LAST))
    .where(server_files.c.model_id.is_(None))
)
_UNREAD_CALLED = Prepared(_UNREAD.where(in_list(server_files.c.name_key, "keys")))
# A checkpoint's name has its folder in front, which no index leaves out: the part behind the last "/" of each
# file that is not read. Choosing here keeps thousands of rows out of Python.
_FOLDER = sa.func.rtrim(server_files.c.name_key, sa.func.replace(server_files.c.name_key, "/", ""))
_BASE = sa.func.substr(server_files.c.name_key, sa.func.length(_FOLDER) + 1)
_UNREAD_IN_FOLDERS = Prepared(_UNREAD.where(in_list(_BASE, "keys")))


_ALIASES = Prepared(
    sa.select(models.c.hash_sha256, model_aliases.c.alias_path)
    .join_from(models, model_aliases, model_aliases.c.model_id == models.c.id)
    .where(in_list(models.c.hash_sha256, "contents"))
)
_CLAIMED_CONTENTS = Prepared(
    sa.select(models.c.hash_sha256)
    .join_from(models, server_files, server_files.c.claimed_model_id == models.c.id)
    .where(in_list(models.c.hash_sha256, "contents"))
)
_SHARED_STEMS = Prepared(
    sa.select(model_aliases.c.stem_key)
    .where(in_list(model_aliases.c.stem_key, "stems"))
    .group_by(model_aliases.c.stem_key)
    .having(sa.func.count(model_aliases.c.model_id.distinct()) > 1)
)


def _doubtful(connection: Connection, contents: Collection[str], checkpoints: bool) -> list[str]:
    """Those of which some name somewhere may mean something else, or cannot be written: few, or none."""
    of_stem: dict[str, set[str]] = defaultdict(set)
    found: set[str] = set()
    for part in slices(sorted(contents)):
        for sha256, path in _ALIASES.all(connection, {"contents": part}):
            of_stem[stem_key(path)].add(sha256)
            if not can_be_named_anywhere(path):
                found.add(sha256)
        # Files that only probably hold it have names of their own.
        found.update(sha256 for (sha256,) in _CLAIMED_CONTENTS.all(connection, {"contents": part}))
    shared: set[str] = set()
    for part in slices(sorted(of_stem)):
        shared.update(stem for (stem,) in _SHARED_STEMS.all(connection, {"stems": part}))
    shared.update(stem_key(row[2]) for row in _unread_called(connection, set(of_stem), checkpoints))
    return sorted(found.union(*(of_stem.get(stem, set()) for stem in shared)))


def stock_of_servers(connection: Connection, wanted: Collection[WantedModel]) -> dict[str, ServerStock]:
    """By server id; none for a server that has nothing of it under a name that leaves a doubt."""
    checkpoints = any("checkpoint" in KINDS_OF[one.role] for one in wanted)
    known = {one.sha256 for one in wanted if one.sha256 is not None}
    contents = _doubtful(connection, known, checkpoints)
    stocks: dict[str, ServerStock] = {}
    stems = {one.stem for one in wanted if one.sha256 is None}
    for part in slices(contents):
        ready = _READY.all(connection, {"contents": part})
        claimed = _CLAIMED.all(connection, {"contents": part, "states": list(MAY_BECOME_READY)})
        for rows, claims in ((ready, False), (claimed, True)):
            for sha256, server_id, *file in rows:
                stock = stocks.setdefault(server_id, ServerStock(server_id))
                files = stock.claimed if claims else stock.ready
                files.setdefault(sha256, []).append(_file(*file))
                stems.add(stem_key(file[1]))
    if stems:
        _take_names(connection, stocks, stems, checkpoints)
    return stocks


def _take_names(
    connection: Connection, stocks: dict[str, ServerStock], stems: set[str], checkpoints: bool
) -> None:
    """Which of the names with these stems several contents share, and which files are only known by them."""
    names: dict[tuple[str, str, str], set[str | None]] = defaultdict(set)
    for server_id, root, path, kind, size, sha256, state, health in _called(connection, stems, checkpoints):
        if sha256 is not None or state not in NOT_LOADABLE:
            for name in names_of(kind, path):
                names[server_id, kind, name].add(sha256)
        if state in MAY_BECOME_READY and health == "healthy":
            stock = stocks.setdefault(server_id, ServerStock(server_id))
            stock.unread.setdefault((kind, stem_key(path)), []).append(_file(root, path, kind, size))
    for (server_id, kind, name), found in names.items():
        if len(found) > 1 and server_id in stocks:
            stocks[server_id].shared.add((kind, name))


def _called(connection: Connection, stems: set[str], checkpoints: bool) -> Iterator[Sequence[Any]]:
    """Every file whose name has one of these stems; some of them more than once."""
    for part in slices(sorted(stems)):
        yield from (row for row in _CALLED.all(connection, {"stems": part}) if stem_key(row[2]) in stems)
    yield from _unread_called(connection, stems, checkpoints)


def _unread_called(connection: Connection, stems: set[str], checkpoints: bool) -> Iterator[Sequence[Any]]:
    """Those of them that are no known model."""
    unread = _UNREAD_IN_FOLDERS if checkpoints else _UNREAD_CALLED
    keys = sorted({stem + ending for stem in stems for ending in ("", *MODEL_EXTENSIONS)})
    for part in slices(keys):
        yield from unread.all(connection, {"keys": part})


def _file(root: str, path: str, kind: str, size: int) -> StockFile:
    return StockFile(root, path, kind, size, name_for_webui(kind, path))


def cannot_be_named(stock: ServerStock | None, one: WantedModel, *, is_source: bool) -> bool:
    """The server has it, and its WebUI cannot be told to load it without doubt: every name of it there is
    another content's too, or cannot stand in a prompt. ``is_source``: files not read yet count."""
    if stock is None:
        return False
    kinds = KINDS_OF[one.role]
    if one.sha256 is not None:
        there = bool(stock.ready.get(one.sha256)) or (is_source and bool(stock.claimed.get(one.sha256)))
    else:
        there = is_source and any(stock.unread.get((kind, one.stem)) for kind in kinds)
    return there and not stock.has(Need(kinds, one.sha256, one.name, one.role == "checkpoint"), is_source)
