"""Which of the wanted models lie on a server, ready to be used, and under which names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.model_files import stem_key
from stablequeue_client.protocol import ServerCapabilities
from stablequeue_client.requirements import checkpoint_parts
from stablequeue_hub.availability_rows import MAY_BECOME_READY
from stablequeue_hub.capabilities import stored_capabilities
from stablequeue_hub.db.bulk import slices
from stablequeue_hub.db.prepared import Prepared, in_list
from stablequeue_hub.db.tables import models, server_files, server_roots, servers
from stablequeue_hub.job_needs import Need


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

    def has(self, need: Need, unread_too: bool) -> bool:
        """Whether a WebUI there can be told to load it without doubt."""
        if need.sha256 is None:
            return unread_too and self.unread_file(need) is not None
        return self.file(need, unread_too) is not None

    def file(self, need: Need, unread_too: bool) -> StockFile | None:
        """The file to load for it."""
        sha256 = need.sha256 or ""
        found = self.usable(self.ready.get(sha256, []), need.kinds)
        if found is None and unread_too:
            found = self.usable(self.claimed.get(sha256, []), need.kinds)
        return found

    def unread_file(self, need: Need) -> StockFile | None:
        """The file that is called so and that nobody has read."""
        key = stem_key(checkpoint_parts(need.name)[0].replace("\\", "/"))
        found = (file for kind in need.kinds for file in self.unread.get((kind, key), ()))
        return self.usable(found, need.kinds)

    def usable(self, files: Iterable[StockFile], kinds: Collection[str]) -> StockFile | None:
        return next(
            (file for file in files if file.kind in kinds and (file.kind, file.name) not in self.shared), None
        )


def _files(model_column: sa.Column[int], *conditions: sa.ColumnElement[bool]) -> Prepared:
    root = sa.and_(
        server_roots.c.server_id == server_files.c.server_id,
        server_roots.c.root_id == server_files.c.root_id,
    )
    joined = sa.join(models, server_files, model_column == models.c.id).join(server_roots, root)
    return Prepared(
        sa.select(
            models.c.hash_sha256,
            server_files.c.root_id,
            server_files.c.path,
            server_files.c.kind,
            server_files.c.size,
        )
        .select_from(joined)
        .where(
            in_list(models.c.hash_sha256, "contents"),
            server_files.c.server_id == sa.bindparam("server_id"),
            server_files.c.rejected.is_(None),
            server_roots.c.rejected.is_(None),
            server_roots.c.health == "healthy",
            *conditions,
        )
        .order_by(server_files.c.link, server_files.c.root_id, server_files.c.path)
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
        for name in names_of(kind, path):
            names[kind, name].add(sha256)
        if state in MAY_BECOME_READY and health == "healthy":
            file = StockFile(root, path, kind, size, name_for_webui(kind, path))
            stock.unread.setdefault((kind, stem_key(path)), []).append(file)
    stock.shared = {name for name, found in names.items() if len(found) > 1}
    add_contents(connection, stock, contents)
    return stock


def add_contents(connection: Connection, stock: ServerStock, contents: Collection[str]) -> None:
    """Look for further contents there."""
    for part in slices(set(contents) - stock.asked):
        _take(connection, _READY, stock.ready, stock.server_id, part)
        _take(connection, _CLAIMED, stock.claimed, stock.server_id, part)
        stock.asked.update(part)


def _take(
    connection: Connection,
    query: Prepared,
    into: dict[str, list[StockFile]],
    server_id: str,
    contents: list[str],
) -> None:
    values = {"contents": contents, "server_id": server_id}
    if query is _CLAIMED:
        values["states"] = list(MAY_BECOME_READY)
    for sha256, root, path, kind, size in query.all(connection, values):
        into.setdefault(sha256, []).append(StockFile(root, path, kind, size, name_for_webui(kind, path)))


def files_of(
    connection: Connection, server_id: str, contents: Collection[str], *, unread_too: bool
) -> ServerStock:
    """As ``load_stock``, of these contents only and without the names of everything else."""
    stock = ServerStock(server_id)
    _take(connection, _READY, stock.ready, server_id, list(contents))
    if unread_too:
        _take(connection, _CLAIMED, stock.claimed, server_id, list(contents))
    return stock


def names_of(kind: str, path: str) -> tuple[str, ...]:
    """All names under which a WebUI finds a file in a job, in its own case."""
    base = path.rsplit("/", 1)[-1]
    if kind in ("vae", "text_encoder"):
        return (base,)
    stem, dot, _ = base.rpartition(".")
    stem = stem if dot and stem else base
    return (path, stem) if kind == "checkpoint" else (stem,)


def name_for_webui(kind: str, path: str) -> str:
    """The one of them to write. A checkpoint's folder is joined differently on Windows, so it is left out."""
    names = names_of(kind, path)
    return names[-1] if "/" in path else names[0]
