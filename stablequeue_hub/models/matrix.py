"""The registry as a list: models with their servers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection

from stablequeue_client.shared.errors import InvalidValueError
from stablequeue_client.shared.model_files.model_file import KINDS
from stablequeue_hub.models.availability import utc_text
from stablequeue_hub.models.filters import ModelFilter, conditions_of
from stablequeue_hub.servers.known_servers import KnownServer, known_servers
from stablequeue_hub.store.bulk import slices
from stablequeue_hub.store.prepared import Prepared, in_list
from stablequeue_hub.store.tables import model_aliases, models, server_files, server_roots
from stablequeue_hub.store.tables import model_server_availability as summary

if TYPE_CHECKING:
    from stablequeue_hub.servers.presence import Live

PAGE_LIMIT_MAX = 200


class MatrixServer(msgspec.Struct, frozen=True):
    """A column of the matrix. ``has_inventory`` False: it never told what it has."""

    server_id: str
    alias: str
    reachable: bool
    last_contact_ms: int | None
    has_inventory: bool


class MatrixCell(msgspec.Struct, frozen=True):
    """A model on a server; a server without a cell never had it. Words as in ``availability``; ``stored`` is
    the word without regard to who can be reached now."""

    server_id: str
    availability: str
    files: int
    last_seen_ms: int
    age_s: int
    stored: str


class ModelColumns(msgspec.Struct, frozen=True):
    """One model in the old columns.

    ``filename`` and ``local_path`` come from one of its paths; ``has_preview`` is always False: previews are
    not recorded. ``created_at`` is UTC text.
    """

    id: int
    name: str
    type: str
    hash_autov2: str | None
    hash_sha256: str | None
    hash_blake3: str | None
    hash_autov1: str | None
    hash_autov3: str | None
    size: int | None
    base_model: str | None
    civitai_id: str | None
    civitai_version_id: str | None
    source: str
    created_at: str
    filename: str
    local_path: str
    has_preview: bool


class ListedModel(ModelColumns, frozen=True):
    """One model with its cells (``available_on`` counts the stored ``available``)."""

    available_on: int
    cells: tuple[MatrixCell, ...] = ()


class ModelPage(msgspec.Struct, frozen=True):
    """``total`` counts the rows of the filter, ``count`` those of this page. ``servers``: every column."""

    count: int
    total: int
    page: int
    limit: int | None
    servers: tuple[MatrixServer, ...]
    models: tuple[ListedModel, ...]
    success: bool = True


class FilterChoices(msgspec.Struct, frozen=True):
    """What the filters can be set to: kinds and base models that occur, with their number of models."""

    kinds: dict[str, int]
    base_models: dict[str, int]


_COLUMNS = (
    models.c.id,
    models.c.name,
    models.c.type,
    models.c.hash_autov2,
    models.c.hash_sha256,
    models.c.hash_blake3,
    models.c.hash_autov1,
    models.c.hash_autov3,
    models.c.size,
    models.c.base_model,
    models.c.civitai_id,
    models.c.civitai_version_id,
    models.c.source,
    models.c.created_ms,
)
_AVAILABLE_ON = (
    sa.select(sa.func.count())
    .where(summary.c.model_id == models.c.id, summary.c.availability == "available")
    .correlate(models)
    .scalar_subquery()
)
_ORDERS: dict[str, tuple[ColumnElement[Any], ...]] = {
    "name": (models.c.search_key, models.c.id),
    "-name": (models.c.search_key.desc(), models.c.id.desc()),
    "size": (sa.func.coalesce(models.c.size, 0), models.c.id),
    "-size": (sa.func.coalesce(models.c.size, 0).desc(), models.c.id),
    "newest": (models.c.id.desc(),),
    "oldest": (models.c.id,),
    "servers": (_AVAILABLE_ON, models.c.search_key, models.c.id),
    "-servers": (_AVAILABLE_ON.desc(), models.c.search_key, models.c.id),
}
_ROWS = Prepared(sa.select(*_COLUMNS).where(in_list(models.c.id, "ids")))
_CELLS = Prepared(
    sa.select(
        summary.c.model_id,
        summary.c.server_id,
        summary.c.availability,
        summary.c.files,
        summary.c.last_seen,
    ).where(in_list(summary.c.model_id, "ids"))
)
_PATHS = Prepared(
    sa.select(model_aliases.c.model_id, sa.func.min(model_aliases.c.alias_path))
    .where(in_list(model_aliases.c.model_id, "ids"))
    .group_by(model_aliases.c.model_id)
)
_UNCONNECTED = Prepared(
    sa.select(server_roots.c.server_id)
    .distinct()
    .where(server_roots.c.health != "healthy", server_roots.c.rejected.is_(None))
)


def _connected(column: ColumnElement[Any], word: str) -> sa.Select[Any]:
    """(model, server, word) of which at least one file lies in a healthy root."""
    root = sa.and_(
        server_roots.c.server_id == server_files.c.server_id,
        server_roots.c.root_id == server_files.c.root_id,
        server_roots.c.health == "healthy",
    )
    return (
        sa.select(column, server_files.c.server_id, sa.literal_column(f"'{word}'"))
        .select_from(sa.join(server_files, server_roots, root))
        .where(in_list(column, "ids"))
    )


_CONNECTED = Prepared(
    _connected(server_files.c.model_id, "available").union(
        _connected(server_files.c.claimed_model_id, "unhashed")
    )
)


def list_models(connection: Connection, wanted: ModelFilter, live: Live, *, now_ms: int) -> ModelPage:
    """Models with their cells. Together with ``list_unidentified``: everything in people's folders."""
    _check(wanted)
    known = known_servers(connection, live)
    with_inventory = sum(server.has_inventory for server in known.values())
    conditions = conditions_of(wanted, with_inventory)
    query = sa.select(models.c.id).where(*conditions).order_by(*_ORDERS[wanted.sort])
    if wanted.limit is not None:
        query = query.limit(wanted.limit).offset((wanted.page - 1) * wanted.limit)
    ids = list(connection.scalars(query).all())
    total = len(ids) if wanted.limit is None else _count(connection, conditions)
    rows = tuple(model_rows(connection, ids, known, now_ms=now_ms))
    return ModelPage(len(rows), total, wanted.page, wanted.limit, server_columns(known), rows)


def count_models(connection: Connection, wanted: ModelFilter) -> int:
    """Return how many models there are on all pages. ``wanted.state``: "present", "gone" or None."""
    return _count(connection, conditions_of(wanted, servers_with_inventory=0))


def _count(connection: Connection, conditions: Sequence[ColumnElement[bool]]) -> int:
    return connection.scalar(sa.select(sa.func.count()).select_from(models).where(*conditions)) or 0


def _check(wanted: ModelFilter) -> None:
    if wanted.limit is not None and not 1 <= wanted.limit <= PAGE_LIMIT_MAX:
        raise InvalidValueError(f"`limit` must be a number from 1 to {PAGE_LIMIT_MAX}.")
    if wanted.page < 1:
        raise InvalidValueError("`page` must be a number from 1.")
    if wanted.sort not in _ORDERS:
        raise InvalidValueError(f"`sort` must be one of {', '.join(_ORDERS)}.")
    if wanted.kind is not None and wanted.kind not in KINDS:
        raise InvalidValueError(f"`kind` must be one of {', '.join(KINDS)}.")


def server_columns(known: dict[str, KnownServer]) -> tuple[MatrixServer, ...]:
    """The columns of the matrix, ordered by alias."""
    return tuple(
        MatrixServer(server.server_id, server.alias, server.reachable, server.heard_ms, server.has_inventory)
        for server in known.values()
    )


def model_rows(
    connection: Connection, ids: Sequence[int], known: dict[str, KnownServer], *, now_ms: int
) -> list[ListedModel]:
    """These models, in this order, with their cells; ids that are no model are left out."""
    unconnected = {server_id for (server_id,) in _UNCONNECTED.all(connection, {})}
    order = {server_id: place for place, server_id in enumerate(known)}
    found: list[ListedModel] = []
    for part in slices(ids):
        values = {"ids": part}
        rows = {row[0]: row for row in _ROWS.all(connection, values)}
        paths = dict(_PATHS.all(connection, values))
        connected = set(_CONNECTED.all(connection, values)) if unconnected else set()
        cells: dict[int, list[MatrixCell]] = {}
        for model_id, server_id, stored, files, last_seen in _CELLS.all(connection, values):
            server = known[server_id]
            lost = server_id in unconnected and (model_id, server_id, stored) not in connected
            cells.setdefault(model_id, []).append(_cell(server, stored, files, last_seen, lost, now_ms))
        for model_id in part:
            if model_id in rows:
                its = sorted(cells.get(model_id, ()), key=lambda cell: order[cell.server_id])
                found.append(_model_row(rows[model_id], paths.get(model_id), tuple(its)))
    return found


def _cell(
    server: KnownServer, stored: str, files: int, last_seen: int, folder_lost: bool, now_ms: int
) -> MatrixCell:
    word = stored
    if stored != "unavailable":
        last_seen = max(last_seen, server.heard_ms or 0)
        if folder_lost or not server.reachable:
            word = "unreachable"
    age_s = max(0, now_ms - last_seen) // 1000
    return MatrixCell(server.server_id, word, files, last_seen, age_s, stored)


def _model_row(row: tuple[Any, ...], path: str | None, cells: tuple[MatrixCell, ...]) -> ListedModel:
    folder, _, filename = (path or row[1]).rpartition("/")
    available_on = sum(cell.stored == "available" for cell in cells)
    values: tuple[Any, ...] = (*row[:-1], utc_text(row[-1]), filename, folder, False, available_on, cells)
    return ListedModel(*values)


def filter_choices(connection: Connection) -> FilterChoices:
    """Return the kinds and base models in the registry, for the filters of a page."""

    def counted(column: ColumnElement[Any]) -> dict[str, int]:
        query = (
            sa.select(column, sa.func.count()).where(column.is_not(None)).group_by(column).order_by(column)
        )
        return {str(value): count for value, count in connection.execute(query)}

    return FilterChoices(counted(models.c.type), counted(models.c.base_model))
