"""Rows of ``models`` and ``model_aliases`` as contents bring them. Used by the writer of the inventory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.model_files.model_file import natural_name, search_key, stem_key
from stablequeue_hub.inventory.sync_decoding import ServerFileRow
from stablequeue_hub.store.bulk import change_rows, insert_rows, slices
from stablequeue_hub.store.prepared import Prepared, in_list
from stablequeue_hub.store.tables import model_aliases, models, server_files

_MODEL_COLUMNS = (
    "name",
    "type",
    "hash_autov2",
    "hash_sha256",
    "hash_blake3",
    "hash_autov1",
    "hash_autov3",
    "size",
    "search_key",
    "created_ms",
    "source",
)
_BY_SHA256 = Prepared(
    sa.select(
        models.c.hash_sha256,
        models.c.id,
        models.c.type,
        models.c.hash_blake3,
        models.c.hash_autov1,
        models.c.hash_autov3,
        models.c.size,
    ).where(in_list(models.c.hash_sha256, "values"))
)

# A file in a folder of another kind is called as that kind is.
_NAMES = Prepared(
    sa.select(models.c.id, models.c.name, server_files.c.server_id, server_files.c.name)
    .select_from(sa.join(models, server_files, server_files.c.model_id == models.c.id))
    .where(in_list(models.c.id, "ids"), models.c.source == "sync", server_files.c.kind == models.c.type)
)


@dataclass
class ModelsByContent:
    """Models by SHA256 (``ids``), their kind by id, and ``touched``: those new or with new digests."""

    ids: dict[str, int]
    kinds: dict[int, str]
    touched: list[int]


def ensure_models(connection: Connection, files: Iterable[ServerFileRow], *, now_ms: int) -> ModelsByContent:
    """The models of every hashed content among ``files``; made where there are none.

    The first file names a new model and decides its kind. Digests that a model lacks are taken over.
    ``name_models`` looks at all files once they are stored.
    """
    wanted: dict[str, ServerFileRow] = {}
    for file in files:
        if file.content:
            wanted.setdefault(file.content, file)
    contents = ModelsByContent({}, {}, [])
    _load_known(connection, wanted, contents)
    missing = [(sha256, file) for sha256, file in wanted.items() if sha256 not in contents.ids]
    if missing:
        rows = [_model_values(sha256, file, now_ms) for sha256, file in missing]
        insert_rows(connection, models, _MODEL_COLUMNS, rows)
        _load_known(connection, dict(missing), contents)
        contents.touched += [contents.ids[sha256] for sha256, _ in missing]
    return contents


def _load_known(connection: Connection, wanted: dict[str, ServerFileRow], contents: ModelsByContent) -> None:
    lacking = []
    for part in slices(sorted(wanted)):
        for sha256, model_id, kind, *known in _BY_SHA256.all(connection, {"values": part}):
            contents.ids[sha256], contents.kinds[model_id] = model_id, kind
            file = wanted[sha256]
            told = (file.blake3, file.autov1, file.autov3, file.size)
            if any(old is None and new is not None for old, new in zip(known, told, strict=True)):
                lacking.append((*told, model_id))
    change_rows(
        connection,
        "UPDATE models SET hash_blake3 = coalesce(hash_blake3, ?), hash_autov1 = coalesce(hash_autov1, ?),"
        " hash_autov3 = coalesce(hash_autov3, ?), size = coalesce(size, ?) WHERE id = ?",
        lacking,
    )
    contents.touched += [row[-1] for row in lacking]


def _model_values(sha256: str, file: ServerFileRow, now_ms: int) -> tuple[object, ...]:
    return (
        file.name,
        file.kind,
        sha256[:10],
        sha256,
        file.blake3,
        file.autov1,
        file.autov3,
        file.size,
        file.name_key,
        now_ms,
        "sync",
    )


def name_models(connection: Connection, model_ids: Iterable[int]) -> None:
    """Call models as most servers do now; one whose name somebody stated, or that lies nowhere, keeps it."""
    renamed = []
    for part in slices(sorted(model_ids)):
        names: dict[int, set[tuple[str, str]]] = defaultdict(set)
        current: dict[int, str] = {}
        for model_id, name, server_id, called in _NAMES.all(connection, {"ids": part}):
            current[model_id] = name
            names[model_id].add((called, server_id))
        for model_id, used in names.items():
            name = natural_name(used)
            if name != current[model_id]:
                renamed.append((name, search_key(name), model_id))
    change_rows(connection, "UPDATE models SET name = ?, search_key = ? WHERE id = ?", renamed)


def add_aliases(connection: Connection, aliases: Sequence[tuple[int, str]]) -> None:
    """Remember (model id, path) pairs; those known already stay."""
    rows = [(model_id, path, search_key(path), stem_key(path)) for model_id, path in sorted(set(aliases))]
    insert_rows(
        connection,
        model_aliases,
        ("model_id", "alias_path", "alias_key", "stem_key"),
        rows,
        key=("model_id", "alias_path"),
    )
