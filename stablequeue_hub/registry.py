"""The registry as lists: models with their servers, and files that are no known model yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
from sqlalchemy import Connection

from stablequeue_client.model_files import Kind

if TYPE_CHECKING:
    from stablequeue_hub.presence import Live

PAGE_LIMIT_MAX = 200

StateFilter = Literal["everywhere", "missing", "one_only", "unhashed", "problem", "duplicates"]
SortOrder = Literal["name", "-name", "size", "-size", "newest", "oldest", "servers", "-servers"]


class ModelFilter(msgspec.Struct, frozen=True):
    """What to list. ``limit`` None: every row (the old contract); else 1 to 200 per ``page`` (from 1).

    ``search``: part of a name or path, or the start of a SHA256 (4 hex digits and more). ``server``: a
    server_id; only models that are or were there. ``state``: ``everywhere`` (on every server that has an
    inventory), ``missing`` (not on every one), ``one_only``, ``unhashed``, ``problem`` (a broken file claims to
    be it, or a claim contradicts its content), ``duplicates`` (twice on one server).
    """

    search: str = ""
    kind: Kind | None = None
    base_model: str | None = None
    server: str | None = None
    state: StateFilter | None = None
    sort: SortOrder = "name"
    page: int = 1
    limit: int | None = None


class ServerColumn(msgspec.Struct, frozen=True):
    """A column of the matrix. ``has_inventory`` False: it never told what it has."""

    server_id: str
    alias: str
    reachable: bool
    last_contact_ms: int | None
    has_inventory: bool


class Cell(msgspec.Struct, frozen=True):
    """A model on a server; a server without a cell never had it. Words as in ``availability``."""

    server_id: str
    availability: str
    files: int
    last_seen_ms: int
    age_s: int


class ModelRow(msgspec.Struct, frozen=True):
    """One model with the mission's columns, and its cells (``available_on`` counts the stored ``available``).

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
    available_on: int
    cells: tuple[Cell, ...] = ()


class ModelPage(msgspec.Struct, frozen=True):
    """``total`` counts the rows of the filter, ``count`` those of this page. ``servers``: every column."""

    count: int
    total: int
    page: int
    limit: int | None
    servers: tuple[ServerColumn, ...]
    models: tuple[ModelRow, ...]
    success: bool = True


class UnidentifiedFile(msgspec.Struct, frozen=True):
    """A file that is no known model (yet): being read, broken, set aside, or refused by the hub (``reason``).

    ``state`` is a file state, or ``rejected``. ``probably_id``/``probably``: the model that a claim points at.
    """

    server_id: str
    alias: str
    root: str
    label: str | None
    root_health: str
    path: str
    name: str
    kind: str
    size: int
    state: str
    reason: str | None
    probably_id: int | None
    probably: str | None


class UnidentifiedPage(msgspec.Struct, frozen=True):
    """``by_state`` counts every file of the filter without its ``state``: {state: files}."""

    count: int
    total: int
    by_state: dict[str, int]
    files: tuple[UnidentifiedFile, ...]


class FilterChoices(msgspec.Struct, frozen=True):
    """What the filters can be set to: kinds and base models that occur, with their number of models."""

    kinds: dict[str, int]
    base_models: dict[str, int]


def list_models(connection: Connection, wanted: ModelFilter, live: Live, *, now_ms: int) -> ModelPage:
    """Models with their cells. Together with ``list_unidentified``: everything in people's folders."""
    raise NotImplementedError


def list_unidentified(
    connection: Connection,
    *,
    search: str = "",
    kind: str | None = None,
    server: str | None = None,
    state: str | None = None,
    page: int = 1,
    limit: int = PAGE_LIMIT_MAX,
) -> UnidentifiedPage:
    """Every file without a computed SHA256, or refused: what a person has beside the models listed."""
    raise NotImplementedError


def filter_choices(connection: Connection) -> FilterChoices:
    """What occurs in the registry, for the filters of a page."""
    raise NotImplementedError
