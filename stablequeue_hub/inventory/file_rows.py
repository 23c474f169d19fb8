"""The one writer of ``server_roots``, ``server_files`` and ``model_server_availability``.

``write_files`` takes what a sync changes and keeps everything that follows from it in the same transaction:
models of contents never seen, aliases, what claims point at, availability and its events.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_hub.inventory import model_rows
from stablequeue_hub.inventory.availability_rows import Affected, refresh_availability
from stablequeue_hub.inventory.claim_rows import connect_claims, resolve_claims
from stablequeue_hub.inventory.sync_decoding import ServerFileRow, ServerRootRow, strongest_claim
from stablequeue_hub.store.bulk import change_rows, insert_rows, slices
from stablequeue_hub.store.prepared import Prepared, in_list
from stablequeue_hub.store.tables import server_files, server_roots

FileKey: TypeAlias = tuple[str, str]

_FILE_COLUMNS = (
    "server_id",
    "root_id",
    "path",
    "kind",
    "name",
    "name_key",
    "size",
    "state",
    "sha256",
    "blake3",
    "autov1",
    "autov3",
    "claims_json",
    "claim",
    "rejected",
    "row_digest",
    "link",
    "model_id",
    "claimed_model_id",
    "kind_differs",
    "changed_ms",
)
_FILE_KEY = _FILE_COLUMNS[:3]
_ROOT_COLUMNS = ("server_id", "root_id", "kind", "health", "label", "rejected", "row_digest", "since_ms")


@dataclass(frozen=True)
class StoredRoot:
    """A root as the hub has it."""

    digest: bytes
    rejected: str | None

    @classmethod
    def of(cls, root: ServerRootRow) -> StoredRoot:
        return cls(root.digest, root.rejected)


class StoredFile(msgspec.Struct, frozen=True):
    """A file as the hub has it, as far as a change needs to know."""

    digest: bytes
    rejected: str | None
    model_id: int | None
    claimed_model_id: int | None


@dataclass(frozen=True)
class RootChange:
    """Roots to write, and ids of those that are gone."""

    written: list[ServerRootRow]
    gone: list[str]


@dataclass(frozen=True)
class FileChange:
    """Files to write, keys of those that are gone, and what the hub had under all of these keys."""

    written: list[ServerFileRow]
    gone: list[FileKey]
    old: dict[FileKey, StoredFile]


# --- reading ------------------------------------------------------------------------------------------

_FILE_STATE = sa.select(
    server_files.c.root_id,
    server_files.c.path,
    server_files.c.row_digest,
    server_files.c.rejected,
    server_files.c.model_id,
    server_files.c.claimed_model_id,
).where(server_files.c.server_id == sa.bindparam("server_id"))
_ALL_FILES = Prepared(_FILE_STATE)
_SOME_FILES = Prepared(
    _FILE_STATE.where(
        server_files.c.root_id == sa.bindparam("root_id"), in_list(server_files.c.path, "paths")
    )
)


def load_roots(connection: Connection, server_id: str) -> dict[str, StoredRoot]:
    """The server's roots by id."""
    query = sa.select(server_roots.c.root_id, server_roots.c.row_digest, server_roots.c.rejected).where(
        server_roots.c.server_id == server_id
    )
    return {root: StoredRoot(digest, rejected) for root, digest, rejected in connection.execute(query)}


def load_files(
    connection: Connection, server_id: str, keys: Collection[FileKey] | None = None
) -> dict[FileKey, StoredFile]:
    """The server's files by key: all of them, or those of ``keys`` that there are."""
    if keys is None:
        return _old_files(_ALL_FILES.all(connection, {"server_id": server_id}))
    found: dict[FileKey, StoredFile] = {}
    by_root: dict[str, list[str]] = {}
    for root, path in keys:
        by_root.setdefault(root, []).append(path)
    for root, paths in by_root.items():
        for part in slices(paths):
            values = {"server_id": server_id, "root_id": root, "paths": part}
            found.update(_old_files(_SOME_FILES.all(connection, values)))
    return found


def _old_files(rows: Iterable[Any]) -> dict[FileKey, StoredFile]:
    return {
        (root, path): StoredFile(digest, rejected, model_id, claimed_model_id)
        for root, path, digest, rejected, model_id, claimed_model_id in rows
    }


def load_rows_of_roots(connection: Connection, server_id: str, roots: Collection[str]) -> list[ServerFileRow]:
    """Every file row under ``roots``, as it was decoded when it came."""
    c = server_files.c
    columns = [server_files.c[name] for name in _FILE_COLUMNS[1 : _FILE_COLUMNS.index("model_id")]]
    query = sa.select(*columns).where(c.server_id == server_id, c.root_id.in_(sorted(roots)))
    return [_with_claim(ServerFileRow(*tuple(row))) for row in connection.execute(query)]


def _with_claim(file: ServerFileRow) -> ServerFileRow:
    """A refused row is stored without its ``claim``; here it is again."""
    if file.state in ("", "ready"):
        return file
    claims = msgspec.json.decode(file.claims_json) if file.claims_json else []
    return msgspec.structs.replace(file, claim=strongest_claim(file.sha256, claims))


# --- writing ------------------------------------------------------------------------------------------


def write_roots(connection: Connection, server_id: str, change: RootChange, *, now_ms: int) -> None:
    """Store roots and drop those that are gone."""
    rows = [
        (server_id, root.root, root.kind, root.health, root.label, root.rejected, root.digest, now_ms)
        for root in change.written
    ]
    insert_rows(
        connection, server_roots, _ROOT_COLUMNS, rows, key=_ROOT_COLUMNS[:2], update=_ROOT_COLUMNS[2:]
    )
    gone = [(server_id, root) for root in change.gone]
    change_rows(connection, "DELETE FROM server_roots WHERE server_id = ? AND root_id = ?", gone)


def write_files(connection: Connection, server_id: str, change: FileChange, *, now_ms: int) -> None:
    """Store files, drop those that are gone, and bring all that follows from it up to date."""
    if not change.written and not change.gone:
        return
    written = sorted(change.written, key=lambda file: file.key)
    contents = model_rows.ensure_models(connection, written, now_ms=now_ms)
    claims = {file.claim for file in written if file.claim and file.rejected is None}
    claimed = resolve_claims(connection, claims)
    affected: Affected = {server_id: _old_models(change)}
    rows = []
    for file in written:
        model = contents.ids.get(file.content) if file.content else None
        claim = file.claim if file.rejected is None else None
        claimed_id = claimed.get(claim) if claim else None
        differs = int(model is not None and contents.kinds[model] != file.kind)
        affected[server_id].update(found for found in (model, claimed_id) if found is not None)
        rows.append(_file_values(server_id, file, claim, model, claimed_id, differs, now_ms))
    _delete_files(connection, server_id, change.gone)
    insert_rows(connection, server_files, _FILE_COLUMNS, rows, key=_FILE_KEY, update=_FILE_COLUMNS[3:])
    model_rows.add_aliases(
        connection, [(contents.ids[file.content], file.path) for file in written if file.content]
    )
    model_rows.name_models(connection, affected[server_id])
    connect_claims(connection, contents.touched, affected)
    refresh_availability(connection, affected, actor=f"server:{server_id}", now_ms=now_ms)


def _old_models(change: FileChange) -> set[int]:
    """The models that rows about to change or go were counted for."""
    keys = [file.key for file in change.written] + change.gone
    before = [change.old[key] for key in keys if key in change.old]
    ids = {old.model_id for old in before} | {old.claimed_model_id for old in before}
    return {found for found in ids if found is not None}


def _delete_files(connection: Connection, server_id: str, keys: Sequence[FileKey]) -> None:
    sql = "DELETE FROM server_files WHERE server_id = ? AND root_id = ? AND path = ?"
    change_rows(connection, sql, [(server_id, *key) for key in keys])


def _file_values(
    server_id: str,
    file: ServerFileRow,
    claim: str | None,
    model_id: int | None,
    claimed_model_id: int | None,
    kind_differs: int,
    now_ms: int,
) -> tuple[Any, ...]:
    return (
        server_id,
        file.root,
        file.path,
        file.kind,
        file.name,
        file.name_key,
        file.size,
        file.state,
        file.sha256,
        file.blake3,
        file.autov1,
        file.autov3,
        file.claims_json,
        claim,
        file.rejected,
        file.digest,
        file.link,
        model_id,
        claimed_model_id,
        kind_differs,
        now_ms,
    )
