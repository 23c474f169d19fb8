"""One inventory sync: what a server sent becomes what the hub has, in one transaction.

A **full** inventory is accepted under any new index_id, and again under the current one unless its sequence
is lower. A **delta** must start where the hub stands, (index_id, base_sequence), and lead to the digest it
states. Whatever does not fit changes nothing and is answered with what the hub has, from which the agent
knows what to send next. A delta that was applied before (its answer got lost) is answered as it was then.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.errors import (
    DigestMismatchError,
    RolledBackError,
    ServerFrozenError,
    SyncOutOfStepError,
)
from stablequeue_client.shared.wire.inventory import (
    RejectedEntry,
    SyncAnswer,
    digest_difference,
    digest_hex,
    digest_sum,
)
from stablequeue_hub.errors import unknown_server
from stablequeue_hub.inventory import file_rows
from stablequeue_hub.inventory.file_rows import FileChange, RootChange, StoredFile, StoredRoot
from stablequeue_hub.inventory.metadata import want_metadata
from stablequeue_hub.inventory.sync_decoding import (
    DecodedSync,
    ServerFileRow,
    decode_sync,
    decompress_limited,
)
from stablequeue_hub.store.engine import Store
from stablequeue_hub.store.tables import replaced_indexes, servers

__all__ = ["DecodedSync", "apply_sync", "decode_sync", "decompress_limited"]

UNKNOWN_ROOT = "lies in a folder that the server does not name"


@dataclass(frozen=True)
class _Known:
    """What the hub has of the server."""

    index_id: str | None
    sequence: int
    digest: str

    def details(self) -> dict[str, object]:
        return {"index_id": self.index_id, "sequence": self.sequence, "digest": self.digest}


@dataclass(frozen=True)
class _SyncPlan:
    """What a request changes, and the inventory's digest afterwards."""

    roots: RootChange
    files: FileChange
    digest: str
    rejected: list[RejectedEntry]


def apply_sync(store: Store, server_id: str, request: DecodedSync, *, now_ms: int) -> SyncAnswer:
    """Take over a full inventory or a delta. Errors: NotFoundError (server never joined),
    ServerFrozenError, and with ``details`` {index_id, sequence, digest} of what the hub has:
    SyncOutOfStepError, RolledBackError, DigestMismatchError. Nothing is changed then.
    """
    with store.write() as connection:
        known = _known(connection, server_id)
        if _was_applied(known, request):
            rejected = _rejected_before(connection, server_id, request)
        else:
            _check_step(connection, server_id, known, request)
            rejected = _apply(connection, server_id, known, request, now_ms)
        rejected = [RejectedEntry(r.root, "", r.rejected) for r in request.roots if r.rejected] + rejected
        return SyncAnswer(request.sequence, request.digest, rejected, want_metadata(connection, server_id))


def _known(connection: Connection, server_id: str) -> _Known:
    row = connection.execute(
        sa.select(servers.c.index_id, servers.c.sequence, servers.c.digest, servers.c.frozen).where(
            servers.c.server_id == server_id
        )
    ).first()
    if row is None:
        raise unknown_server(server_id)
    known = _Known(row.index_id, row.sequence, row.digest)
    if row.frozen is not None:
        raise ServerFrozenError(row.frozen, details=known.details())
    return known


def _was_applied(known: _Known, request: DecodedSync) -> bool:
    """The same delta again: its answer got lost on the way."""
    return (
        request.mode == "delta"
        and (request.index_id, request.sequence, request.digest)
        == (known.index_id, known.sequence, known.digest)
        and request.base_sequence < known.sequence
    )


def _check_step(connection: Connection, server_id: str, known: _Known, request: DecodedSync) -> None:
    if request.index_id == known.index_id:
        if request.sequence < known.sequence:
            raise RolledBackError(details=known.details())
    elif _was_replaced(connection, server_id, request.index_id):
        raise RolledBackError(details=known.details())
    if request.mode == "delta" and (request.index_id, request.base_sequence) != (
        known.index_id,
        known.sequence,
    ):
        raise SyncOutOfStepError(details=known.details())


def _was_replaced(connection: Connection, server_id: str, index_id: str) -> bool:
    found = sa.select(sa.literal(1)).where(
        replaced_indexes.c.server_id == server_id, replaced_indexes.c.index_id == index_id
    )
    return connection.execute(found).first() is not None


def _apply(
    connection: Connection, server_id: str, known: _Known, request: DecodedSync, now_ms: int
) -> list[RejectedEntry]:
    """Write the change and where the hub stands now; the refused files of this request."""
    plan = _planned(connection, server_id, known, request)
    if plan.digest != request.digest:
        error = DigestMismatchError if request.mode == "full" else SyncOutOfStepError
        raise error(details={**known.details(), "computed": plan.digest})
    file_rows.write_roots(connection, server_id, plan.roots, now_ms=now_ms)
    file_rows.write_files(connection, server_id, plan.files, now_ms=now_ms)
    if known.index_id not in (None, request.index_id):
        connection.execute(
            replaced_indexes.insert(),
            {"server_id": server_id, "index_id": known.index_id, "replaced_ms": now_ms},
        )
    connection.execute(
        servers.update()
        .where(servers.c.server_id == server_id)
        .values(
            index_id=request.index_id,
            sequence=request.sequence,
            digest=request.digest,
            last_sync_ms=now_ms,
        )
    )
    return plan.rejected


def _planned(connection: Connection, server_id: str, known: _Known, request: DecodedSync) -> _SyncPlan:
    old_roots = file_rows.load_roots(connection, server_id)
    if request.mode == "full":
        old_files = file_rows.load_files(connection, server_id)
        gone_roots = old_roots.keys() - {root.root for root in request.roots}
        gone_files = old_files.keys() - {file.key for file in request.files}
        digest = digest_sum(_digests(request))
    else:
        keys = [file.key for file in request.files] + list(request.removed_files)
        old_files = file_rows.load_files(connection, server_id, keys)
        gone_roots = old_roots.keys() & set(request.removed_roots)
        gone_files = old_files.keys() & set(request.removed_files)
        replaced = [old_roots[root.root].digest for root in request.roots if root.root in old_roots]
        replaced += [old_roots[root].digest for root in gone_roots]
        replaced += [old.digest for old in old_files.values()]
        digest = digest_sum(_digests(request), digest_difference(int(known.digest, 16), replaced))
    roots = RootChange(
        [root for root in request.roots if old_roots.get(root.root) != StoredRoot.of(root)],
        sorted(gone_roots),
    )
    accepted = _accepted_roots(request, old_roots)
    judged = [_under_roots(file, accepted) for file in request.files]
    changed = [file for file in judged if not _is_same(old_files.get(file.key), file)]
    rejected = [RejectedEntry(file.root, file.path, file.rejected) for file in judged if file.rejected]
    rejudged = _rejudged(connection, server_id, request, old_roots, accepted)
    old_files.update(file_rows.load_files(connection, server_id, [file.key for file in rejudged]))
    files = FileChange(changed + rejudged, sorted(gone_files), old_files)
    return _SyncPlan(roots, files, digest_hex(digest), rejected)


def _digests(request: DecodedSync) -> Iterable[bytes]:
    yield from (root.digest for root in request.roots)
    yield from (file.digest for file in request.files)


def _accepted_roots(request: DecodedSync, old_roots: dict[str, StoredRoot]) -> set[str]:
    """The roots in which files may lie after this request."""
    accepted = {root.root for root in request.roots if root.rejected is None}
    if request.mode == "delta":
        named = {root.root for root in request.roots}.union(request.removed_roots)
        accepted |= {root for root, old in old_roots.items() if old.rejected is None and root not in named}
    return accepted


def _rejudged(
    connection: Connection,
    server_id: str,
    request: DecodedSync,
    old_roots: dict[str, StoredRoot],
    accepted: set[str],
) -> list[ServerFileRow]:
    """Rows that a delta does not name, under roots that it brought or took away."""
    before = {root for root, old in old_roots.items() if old.rejected is None}
    if request.mode == "full" or before == accepted:
        return []
    named = {file.key for file in request.files}.union(request.removed_files)
    stored = file_rows.load_rows_of_roots(connection, server_id, before ^ accepted)
    return [_under_roots(file, accepted) for file in stored if file.key not in named]


def _is_same(old: StoredFile | None, new: ServerFileRow) -> bool:
    return old is not None and old.digest == new.digest and old.rejected == new.rejected


def _under_roots(file: ServerFileRow, accepted: set[str]) -> ServerFileRow:
    """The row with its refusal for an unknown root set or lifted."""
    if file.rejected not in (None, UNKNOWN_ROOT):
        return file
    rejected = None if file.root in accepted else UNKNOWN_ROOT
    return file if rejected == file.rejected else msgspec.structs.replace(file, rejected=rejected)


def _rejected_before(connection: Connection, server_id: str, request: DecodedSync) -> list[RejectedEntry]:
    """Return the rejected files of a request that was applied before."""
    stored = file_rows.load_files(connection, server_id, [file.key for file in request.files])
    return [RejectedEntry(*key, old.rejected) for key, old in stored.items() if old.rejected]
