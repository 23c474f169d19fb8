"""The registry's answers as the values of the models' views. Reads only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias, get_args

import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.model_files.model_file import KINDS, search_key
from stablequeue_client.shared.views import values as v
from stablequeue_client.shared.views.labels import TROUBLED_STATES, UNREAD_STATES
from stablequeue_client.shared.views.views import FILE_STATES
from stablequeue_hub.inventory.availability_rows import ON_A_SERVER
from stablequeue_hub.models.filters import ModelFilter, SortOrder, StateFilter
from stablequeue_hub.models.matrix import (
    ListedModel,
    MatrixCell,
    MatrixServer,
    count_models,
    filter_choices,
    list_models,
)
from stablequeue_hub.models.unidentified import (
    LIMIT_MAX,
    UnidentifiedFile,
    UnidentifiedPage,
    list_unidentified,
)
from stablequeue_hub.page import labels as words
from stablequeue_hub.servers.presence import Presence
from stablequeue_hub.store.tables import models

PAGE_SIZE = 50
TROUBLED_SHOWN = 10
UNREAD_SHOWN = 10
SEARCH_MAX = 200

NameOfKind: TypeAlias = tuple[str, str]
"""Kind and search key."""


def filters_of(query: Mapping[str, str]) -> v.Filters:
    """The filters in an address. What cannot be is left out, except that a page is at least 1."""
    page = query.get("page", "1")
    return v.Filters(
        search=query.get("search", "").strip()[:SEARCH_MAX],
        kind=_one_of(query.get("kind", ""), KINDS),
        base_model=query.get("base_model", "")[:100],
        server=query.get("server", "")[:64],
        state=_one_of(query.get("state", ""), (*get_args(StateFilter), *FILE_STATES)),
        sort=_one_of(query.get("sort", ""), get_args(SortOrder)),
        page=max(1, int(page)) if page.isdecimal() and len(page) <= 6 else 1,
    )


def _one_of(value: str, allowed: tuple[str, ...]) -> str:
    return value if value in allowed else ""


def models_page(connection: Connection, filters: v.Filters, live: Presence, *, now_ms: int) -> v.ModelsPage:
    """One page of the matrix, and the files beside it that are no models yet. Without a state chosen, what no
    server has any more is only counted."""
    files_only = filters.state in FILE_STATES
    listed = list_models(connection, _wanted(filters), live, now_ms=now_ms)
    twice = _names_used_twice(connection, listed.models)
    rows = () if files_only else tuple(_model_row(row, listed.servers, twice) for row in listed.models)
    troubled, unread, files = _file_lists(connection, filters)
    return v.ModelsPage(
        servers=tuple(map(_column, listed.servers)),
        rows=rows,
        total=0 if files_only else listed.total,
        everything=_everything(connection, filters, listed.total + files),
        troubled=troubled,
        unread=unread,
        gone=0 if filters.state else count_models(connection, _wanted(replace(filters, state="gone"))),
        filters=filters,
        page_size=PAGE_SIZE,
        base_models=tuple(sorted(filter_choices(connection).base_models)),
    )


def _everything(connection: Connection, filters: v.Filters, found: int) -> int:
    """Models without filters; asked for only where a view says it, when nothing was found."""
    if found or filters == v.Filters():
        return found
    return count_models(connection, ModelFilter(state="present"))


def _wanted(filters: v.Filters) -> ModelFilter:
    """Only what ``filters_of`` let through, so the words are the registry's."""
    return ModelFilter(
        search=filters.search,
        kind=filters.kind or None,  # type: ignore[arg-type]
        base_model=filters.base_model or None,
        server=filters.server or None,
        state="present" if filters.state in ("", *FILE_STATES) else filters.state,  # type: ignore[arg-type]
        sort=filters.sort or "name",  # type: ignore[arg-type]
        page=filters.page,
        limit=1 if filters.state in FILE_STATES else PAGE_SIZE,
    )


def _column(server: MatrixServer) -> v.ServerColumn:
    return v.ServerColumn(server.server_id, server.alias, server.reachable, server.last_contact_ms)


def _model_row(row: ListedModel, servers: tuple[MatrixServer, ...], twice: set[NameOfKind]) -> v.ModelRow:
    cells = {cell.server_id: cell for cell in row.cells}
    return v.ModelRow(
        model_id=row.id,
        name=row.name,
        kind=row.type,
        cells=tuple(_cell(cells.get(server.server_id), server) for server in servers),
        base_model=row.base_model,
        size=row.size,
        short_hash=row.hash_autov2,
        on=row.available_on,
        name_twice=(row.type, search_key(row.name)) in twice,
    )


def _names_used_twice(connection: Connection, rows: Sequence[ListedModel]) -> set[NameOfKind]:
    """Return the names that stand for more than one content that somebody has."""
    keys = {search_key(row.name) for row in rows}
    name = (models.c.type, models.c.search_key)
    kinds = {row.type for row in rows}
    query = sa.select(*name).where(models.c.type.in_(kinds), models.c.search_key.in_(keys), ON_A_SERVER)
    return {
        (kind, key) for kind, key in connection.execute(query.group_by(*name).having(sa.func.count() > 1))
    }


def _cell(cell: MatrixCell | None, server: MatrixServer) -> v.Cell:
    if cell is None:
        return v.Cell("absent" if server.has_inventory else "unknown")
    return v.Cell(
        words.cell_mark(cell.availability, reachable=server.reachable), cell.last_seen_ms, cell.files
    )


def _file_lists(connection: Connection, filters: v.Filters) -> tuple[v.FileList, v.FileList, int]:
    """Files that need their owner, files that need time, and how many there are in all."""
    if filters.base_model or (filters.state and filters.state not in FILE_STATES) or filters.page > 1:
        return v.FileList(), v.FileList(), 0
    counts = _unidentified(connection, filters, limit=1).by_state
    troubled = _file_list(connection, filters, "troubled", TROUBLED_STATES, counts, TROUBLED_SHOWN)
    unread = _file_list(connection, filters, "unread", UNREAD_STATES, counts, UNREAD_SHOWN)
    if filters.state == "troubled":
        unread = v.FileList()
    elif filters.state == "unread":
        troubled = v.FileList()
    return troubled, unread, sum(counts.values())


def _file_list(
    connection: Connection,
    filters: v.Filters,
    name: str,
    states: tuple[str, ...],
    counts: Mapping[str, int],
    shown: int,
) -> v.FileList:
    """The files in these states; all that one answer holds when the filter chose them, else the first few."""
    limit = LIMIT_MAX if filters.state == name else shown
    rows: list[v.FileRow] = []
    for state in states:
        if counts.get(state) and len(rows) < limit:
            found = _unidentified(connection, filters, state=state, limit=limit - len(rows))
            rows.extend(map(file_row, found.files))
    more = "" if filters.state == name else name
    return v.FileList(tuple(rows), sum(counts.get(state, 0) for state in states), more)


def _unidentified(
    connection: Connection, filters: v.Filters, *, limit: int, state: str | None = None
) -> UnidentifiedPage:
    return list_unidentified(
        connection,
        search=filters.search,
        kind=filters.kind or None,
        server=filters.server or None,
        state=state,
        limit=limit,
    )


def file_row(file: UnidentifiedFile) -> v.FileRow:
    return v.FileRow(
        server_id=file.server_id,
        server=file.alias,
        root_id=file.root,
        folder=file.label or file.root,
        path=file.path,
        kind=file.kind,
        mark=words.file_mark(file.state, probably=file.probably_id is not None),
        size=file.size,
        reason=file.reason or "",
        probably=file.probably or "",
        probably_id=file.probably_id,
    )
