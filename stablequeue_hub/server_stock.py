"""Which of the wanted models lie on a server, ready to be used, and under which names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.model_files import names_in_webui, stem_key
from stablequeue_client.protocol import ServerCapabilities
from stablequeue_client.requirements import can_be_written, checkpoint_parts
from stablequeue_hub.availability_rows import MAY_BECOME_READY
from stablequeue_hub.capabilities import stored_capabilities
from stablequeue_hub.db.bulk import slices
from stablequeue_hub.db.prepared import Prepared, in_list
from stablequeue_hub.db.tables import models, server_files, server_roots, servers
from stablequeue_hub.job_needs import Need

NOT_LOADABLE = ("corrupt", "partial")
"""States of files that no WebUI takes for the model of their name."""
_NOT_IN_A_WORD = frozenset("#<>\n")


@dataclass(frozen=True)
class StockFile:
    """A file of a wanted content. ``name``: what to call it in a job for this server's WebUI."""

    root: str
    path: str
    kind: str
    size: int
    name: str


@dataclass
class ServerStock:
    """One server as of one reading. ``asked``: the contents that were looked for.

    ``ready`` and ``claimed``: files by content; claimed ones are not read yet, and probably hold it.
    ``shared``: (kind, name) under which several contents lie, so that a WebUI may take the wrong one.
    """

    server_id: str
    capabilities: ServerCapabilities | None = None
    paused: bool = False
    asked: set[str] = field(default_factory=set)
    ready: dict[str, list[StockFile]] = field(default_factory=dict)
    claimed: dict[str, list[StockFile]] = field(default_factory=dict)
    shared: set[tuple[str, str]] = field(default_factory=set)
    unread: dict[tuple[str, str], list[StockFile]] = field(default_factory=dict)

    def has(self, need: Need, is_source: bool) -> bool:
        """Whether a WebUI there can be told to load it without doubt. Where the job was written, a file that
        is not read yet will do."""
        return self.file(need, is_source) is not None

    def file(self, need: Need, is_source: bool) -> StockFile | None:
        """The file to load for it, under the name to write."""
        if need.sha256 is None:
            return self._usable(self._unread(need), need, is_source) if is_source else None
        found = self._usable(self.ready.get(need.sha256, []), need, is_source)
        if found is None and is_source:
            found = self._usable(self.claimed.get(need.sha256, []), need, is_source)
        return found

    def _unread(self, need: Need) -> Iterator[StockFile]:
        """Files that are called so and that nobody has read."""
        path = _as_path(need.name)
        found = [file for kind in need.kinds for file in self.unread.get((kind, stem_key(path)), ())]
        # Names differ in case on some disks: the one that is called exactly so comes first.
        return iter(sorted(found, key=lambda file: path not in names_in_webui(file.kind, file.path)))

    def _usable(self, files: Iterable[StockFile], need: Need, is_source: bool) -> StockFile | None:
        for file in files:
            if file.kind in need.kinds:
                named = _as_written(file, need) if is_source else file
                if _can_be_named(named) and (file.kind, named.name) not in self.shared:
                    return named
        return None


def _as_path(name: str) -> str:
    """A title's path with ``/``."""
    return checkpoint_parts(name)[0].replace("\\", "/")


def _as_written(file: StockFile, need: Need) -> StockFile:
    """A checkpoint that was written with its folder, on this very server, is found so and by nothing else."""
    if file.kind != "checkpoint" or checkpoint_parts(need.name)[0] != file.path:
        return file
    return replace(file, name=file.path)


def _can_be_named(file: StockFile) -> bool:
    """Whether its name can stand in a prompt."""
    if file.kind == "lora":
        return can_be_written(file.name)
    return file.kind != "embedding" or not set(file.name) & _NOT_IN_A_WORD


def can_be_named_anywhere(path: str) -> bool:
    """Whether a file so called can be named in a prompt, whatever kind it is of."""
    name = name_for_webui("lora", path)
    return can_be_written(name) and not set(name) & _NOT_IN_A_WORD


def _files(model_column: sa.Column[int], *conditions: sa.ColumnElement[bool]) -> Prepared:
    root = sa.and_(
        server_roots.c.server_id == server_files.c.server_id,
        server_roots.c.root_id == server_files.c.root_id,
    )
    return Prepared(
        sa.select(
            models.c.hash_sha256,
            server_files.c.root_id,
            server_files.c.path,
            server_files.c.kind,
            server_files.c.size,
            server_files.c.link,
        )
        .select_from(sa.join(models, server_files, model_column == models.c.id).join(server_roots, root))
        .where(
            in_list(models.c.hash_sha256, "contents"),
            # As an expression, or SQLite would go through all files of the server instead of the model's few.
            server_files.c.server_id.concat("") == sa.bindparam("server_id"),
            server_files.c.rejected.is_(None),
            server_roots.c.rejected.is_(None),
            server_roots.c.health == "healthy",
            *conditions,
        )
    )


_READY = _files(server_files.c.model_id, server_files.c.state == "ready")
_CLAIMED = _files(server_files.c.claimed_model_id, in_list(server_files.c.state, "states"))
_NAMES = Prepared(
    sa.select(
        server_files.c.root_id,
        server_files.c.path,
        server_files.c.kind,
        server_files.c.size,
        server_files.c.sha256,
        server_files.c.state,
        server_roots.c.health,
    )
    .select_from(
        sa.join(
            server_files,
            server_roots,
            sa.and_(
                server_roots.c.server_id == server_files.c.server_id,
                server_roots.c.root_id == server_files.c.root_id,
            ),
        )
    )
    .where(server_files.c.server_id == sa.bindparam("server_id"))
)
_SERVER = Prepared(
    sa.select(servers.c.capabilities_json, servers.c.jobs_paused).where(
        servers.c.server_id == sa.bindparam("server_id")
    )
)


def load_stock(connection: Connection, server_id: str, contents: Collection[str]) -> ServerStock:
    """What a server has of ``contents``, and what it can do."""
    rows = _SERVER.all(connection, {"server_id": server_id})
    stock = ServerStock(server_id)
    if not rows:
        return stock
    stock.capabilities, stock.paused = stored_capabilities(rows[0][0]), bool(rows[0][1])
    names: dict[tuple[str, str], set[str | None]] = defaultdict(set)
    for root, path, kind, size, sha256, state, health in _NAMES.all(connection, {"server_id": server_id}):
        if sha256 is None and state in NOT_LOADABLE:
            continue
        for name in names_in_webui(kind, path):
            names[kind, name].add(sha256)
        if state in MAY_BECOME_READY and health == "healthy":
            file = StockFile(root, path, kind, size, name_for_webui(kind, path))
            stock.unread.setdefault((kind, stem_key(path)), []).append(file)
    stock.shared = {name for name, found in names.items() if len(found) > 1}
    add_contents(connection, stock, contents)
    return stock


def add_contents(connection: Connection, stock: ServerStock, contents: Collection[str]) -> None:
    """Look for further contents there."""
    wanted = set(contents) - stock.asked
    _take_files(connection, stock, wanted, unread_too=True)
    stock.asked |= wanted


def files_of(
    connection: Connection, server_id: str, contents: Collection[str], *, unread_too: bool
) -> ServerStock:
    """As ``load_stock``, of these contents only and without the names of everything else."""
    stock = ServerStock(server_id)
    _take_files(connection, stock, contents, unread_too=unread_too)
    return stock


def _take_files(
    connection: Connection, stock: ServerStock, contents: Collection[str], *, unread_too: bool
) -> None:
    for part in slices(contents):
        values = {"contents": part, "server_id": stock.server_id}
        _sort_in(stock.ready, _READY.all(connection, values))
        if unread_too:
            states = {"states": list(MAY_BECOME_READY)}
            _sort_in(stock.claimed, _CLAIMED.all(connection, {**values, **states}))


def _sort_in(into: dict[str, list[StockFile]], rows: Sequence[tuple[Any, ...]]) -> None:
    """Real files before links, then by name, so that it is always the same one."""
    for sha256, root, path, kind, size, _ in sorted(rows, key=lambda row: (row[5], row[1], row[2])):
        into.setdefault(sha256, []).append(StockFile(root, path, kind, size, name_for_webui(kind, path)))


def name_for_webui(kind: str, path: str) -> str:
    """The one of them to write. A checkpoint's folder is joined differently on Windows, so it is left out."""
    names = names_in_webui(kind, path)
    return names[-1] if "/" in path else names[0]
