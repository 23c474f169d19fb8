"""Which rows of ``models`` a text means: many texts in a few statements."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection

from stablequeue_client.shared.model_files.model_file import HashQuery
from stablequeue_hub.models.model_query import (
    ModelQuery,
    NamedModel,
    NameQuery,
    RowIdQuery,
    is_hash_of_nothing,
    name_query,
    parse_query,
)
from stablequeue_hub.store.bulk import slices
from stablequeue_hub.store.prepared import Prepared, in_list
from stablequeue_hub.store.tables import model_aliases, models

ModelRef: TypeAlias = str | NamedModel
"""A text that may be a row id, a hash or a name, or a name of a kind."""
ModelRefT = TypeVar("ModelRefT", str, NamedModel, ModelRef)


class FoundModel(NamedTuple):
    """A row of ``models``, as far as an answer shows it."""

    id: int
    name: str
    type: str
    hash_sha256: str | None
    hash_autov2: str | None
    size: int | None
    base_model: str | None


_COLUMNS = [models.c[name] for name in FoundModel._fields]


def _by(column: ColumnElement[Any]) -> Prepared:
    return Prepared(sa.select(column, *_COLUMNS).where(in_list(column, "values")))


def _by_alias(column: ColumnElement[Any]) -> Prepared:
    joined = sa.join(model_aliases, models, models.c.id == model_aliases.c.model_id)
    statement = sa.select(column, *_COLUMNS).distinct().select_from(joined)
    return Prepared(statement.where(in_list(column, "values")))


_BY_ID = _by(models.c.id)
_BY_SHA256 = _by(models.c.hash_sha256)
_BY_BLAKE3 = _by(models.c.hash_blake3)
_BY_AUTOV1 = _by(models.c.hash_autov1)
_BY_AUTOV2 = _by(models.c.hash_autov2)
_BY_AUTOV3 = _by(models.c.hash_autov3)
_BY_NAME = _by(models.c.search_key)
_BY_PATH = _by_alias(model_aliases.c.alias_key)
_BY_STEM = _by_alias(model_aliases.c.stem_key)


_BY_OUTPUT_NAME = Prepared(
    sa.select(models.c.output_key, *_COLUMNS).where(
        models.c.type == "lora", models.c.hash_sha256.is_not(None), in_list(models.c.output_key, "values")
    )
)


def query_of(ref: ModelRef) -> ModelQuery:
    """Return what ``ref`` asks for."""
    return name_query(ref.name) if isinstance(ref, NamedModel) else parse_query(ref)


class _Search:
    """What still looks for its models, and what was found."""

    def __init__(self, connection: Connection, wanted: Iterable[ModelRef]) -> None:
        self.connection = connection
        self.queries = {ref: query_of(ref) for ref in wanted}
        self.found: dict[ModelRef, dict[int, FoundModel]] = {ref: {} for ref in self.queries}

    def run(
        self,
        statement: Prepared,
        wanted: Mapping[ModelRef, Any],
        accept: Callable[[ModelRef, FoundModel], bool] = lambda _ref, _model: True,
    ) -> None:
        """Run ``statement`` for the values of ``wanted`` (ref -> value); what it finds is the ref's."""
        if not wanted:
            return
        refs_of: dict[Any, list[ModelRef]] = {}
        for ref, value in wanted.items():
            refs_of.setdefault(value, []).append(ref)
        for part in slices(refs_of):
            for value, *columns in statement.all(self.connection, {"values": part}):
                model = FoundModel(*columns)
                for ref in refs_of[value]:
                    if accept(ref, model):
                        self.found[ref][model.id] = model

    def hashes(self, length: int) -> dict[ModelRef, str]:
        """Return the refs that are hashes of this length. A hash of no bytes finds nothing."""
        return {
            ref: query.value
            for ref, query in self.queries.items()
            if isinstance(query, HashQuery)
            and len(query.value) == length
            and not is_hash_of_nothing(query.value)
        }

    def names(self) -> dict[ModelRef, NameQuery]:
        """Return the names, and the hashes that nobody has: perhaps one is a name."""
        wanted = {}
        for ref, query in self.queries.items():
            if isinstance(query, NameQuery):
                wanted[ref] = query
            elif isinstance(query, HashQuery) and not self.found[ref]:
                wanted[ref] = name_query(str(ref))
        return wanted


def find_models(connection: Connection, wanted: Sequence[ModelRefT]) -> dict[ModelRefT, list[FoundModel]]:
    """The models that each of ``wanted`` means, by id; several where a short hash or a name is not unique.

    A hash of 64 digits is a SHA256, else a BLAKE3; of 12 an AutoV3 or the start of a SHA256 (as LoRAs carry
    either); of 10 an AutoV2; of 8 an AutoV1. A name with a folder or an extension is looked for
    as it stands first, then without them.
    """
    search = _Search(connection, wanted)
    ids = {ref: query.row_id for ref, query in search.queries.items() if isinstance(query, RowIdQuery)}
    search.run(_BY_ID, ids)
    _find_hashes(search)
    _find_names(search)
    return {ref: sorted(search.found[ref].values()) for ref in wanted}


def loras_by_output_name(connection: Connection, keys: Iterable[str]) -> dict[str, list[FoundModel]]:
    """The LoRAs whose header carries a name (``ss_output_name``), by the name's search key, also those that
    lie nowhere any more."""
    found: dict[str, list[FoundModel]] = {}
    for part in slices(sorted(set(keys))):
        for key, *columns in _BY_OUTPUT_NAME.all(connection, {"values": part}):
            found.setdefault(key, []).append(FoundModel(*columns))
    return found


def _find_hashes(search: _Search) -> None:
    full = search.hashes(64)
    search.run(_BY_SHA256, full)
    search.run(_BY_BLAKE3, {text: value for text, value in full.items() if not search.found[text]})
    twelve = search.hashes(12)
    search.run(_BY_AUTOV3, twelve)
    starts = {text: value[:10] for text, value in twelve.items()}
    search.run(_BY_AUTOV2, starts, lambda text, model: (model.hash_sha256 or "").startswith(twelve[text]))
    search.run(_BY_AUTOV2, search.hashes(10))
    search.run(_BY_AUTOV1, search.hashes(8))


def _find_names(search: _Search) -> None:
    names = search.names()
    if not names:
        return
    keys = {ref: name.key for ref, name in names.items()}
    search.run(_BY_PATH, keys, _is_of_kind)
    search.run(_BY_NAME, keys, _is_of_kind)
    # A bare name may be the file's of a model that was called otherwise first: its own name has no privilege.
    stems = {ref: name.stem for ref, name in names.items() if name.key == name.stem or not search.found[ref]}
    search.run(_BY_STEM, stems, _is_of_kind)
    search.run(_BY_NAME, {ref: stem for ref, stem in stems.items() if not search.found[ref]}, _is_of_kind)


def _is_of_kind(ref: ModelRef, model: FoundModel) -> bool:
    return not isinstance(ref, NamedModel) or ref.kind == model.type
