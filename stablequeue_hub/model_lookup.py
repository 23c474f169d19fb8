"""Which rows of ``models`` a text means: many texts in a few statements."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection

from stablequeue_client.model_files import HashQuery
from stablequeue_hub.db.bulk import slices
from stablequeue_hub.db.prepared import Prepared, in_list
from stablequeue_hub.db.tables import model_aliases, models
from stablequeue_hub.identity import NameQuery, RowIdQuery, name_query, parse_query


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


class _Search:
    """Texts that still look for their models, and what was found."""

    def __init__(self, connection: Connection, texts: Iterable[str]) -> None:
        self.connection = connection
        self.queries = {text: parse_query(text) for text in texts}
        self.found: dict[str, dict[int, FoundModel]] = {text: {} for text in self.queries}

    def take(
        self,
        statement: Prepared,
        wanted: dict[str, Any],
        accept: Callable[[str, FoundModel], bool] = lambda _text, _model: True,
    ) -> None:
        """Run ``statement`` for the values of ``wanted`` (text -> value); what it finds is the text's."""
        if not wanted:
            return
        texts_of: dict[Any, list[str]] = {}
        for text, value in wanted.items():
            texts_of.setdefault(value, []).append(text)
        for part in slices(texts_of):
            for value, *columns in statement.all(self.connection, {"values": part}):
                model = FoundModel(*columns)
                for text in texts_of[value]:
                    if accept(text, model):
                        self.found[text][model.id] = model

    def hashes(self, length: int) -> dict[str, str]:
        """The texts that are hashes of this length, with their values."""
        return {
            text: query.value
            for text, query in self.queries.items()
            if isinstance(query, HashQuery) and len(query.value) == length
        }

    def names(self) -> dict[str, NameQuery]:
        """The texts that are names, and those whose hash nobody has: perhaps it is a name."""
        wanted = {}
        for text, query in self.queries.items():
            if isinstance(query, NameQuery):
                wanted[text] = query
            elif isinstance(query, HashQuery) and not self.found[text]:
                wanted[text] = name_query(text)
        return wanted


def find_models(connection: Connection, texts: Sequence[str]) -> dict[str, list[FoundModel]]:
    """The models that each text means, by id; several where a short hash or a name is not unique.

    A hash of 64 digits is a SHA256, else a BLAKE3; of 12 an AutoV3 or the start of a SHA256 (as LoRAs carry
    either); of 10 an AutoV2; of 8 an AutoV1. A name is looked for as a whole path or name first, then
    without folder and extension.
    """
    search = _Search(connection, texts)
    ids = {text: query.row_id for text, query in search.queries.items() if isinstance(query, RowIdQuery)}
    search.take(_BY_ID, ids)
    _find_hashes(search)
    _find_names(search)
    return {text: sorted(found.values()) for text, found in search.found.items()}


def _find_hashes(search: _Search) -> None:
    full = search.hashes(64)
    search.take(_BY_SHA256, full)
    search.take(_BY_BLAKE3, {text: value for text, value in full.items() if not search.found[text]})
    twelve = search.hashes(12)
    search.take(_BY_AUTOV3, twelve)
    starts = {text: value[:10] for text, value in twelve.items()}
    search.take(_BY_AUTOV2, starts, lambda text, model: (model.hash_sha256 or "").startswith(twelve[text]))
    search.take(_BY_AUTOV2, search.hashes(10))
    search.take(_BY_AUTOV1, search.hashes(8))


def _find_names(search: _Search) -> None:
    names = search.names()
    if not names:
        return
    keys = {text: name.key for text, name in names.items()}
    search.take(_BY_PATH, keys)
    search.take(_BY_NAME, keys)
    stems = {text: name.stem for text, name in names.items() if not search.found[text]}
    search.take(_BY_STEM, stems)
    search.take(_BY_NAME, {text: stem for text, stem in stems.items() if not search.found[text]})
