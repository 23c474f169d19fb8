"""The inventory's sequence, digest and tombstones, changed in one transaction with the rows they describe.

Every function takes the connection of an open write (or read) transaction of the index.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from stablequeue_client.index.checked_tables import get_fact, set_facts
from stablequeue_client.index.inventory import SyncContent, file_digest, file_entry, root_digest, root_entry
from stablequeue_client.index.rows import ACKS, FILES, ROOTS, TOMBSTONES, IndexRow, Key, RootRow
from stablequeue_client.shared.wire.inventory import (
    SYNC_MAX_ROWS,
    Removal,
    digest_difference,
    digest_hex,
    digest_sum,
)


@dataclass(frozen=True)
class Position:
    """Which inventory this is: of which index, after how many changes, with which digest.

    ``delta_from``: the lowest sequence from which every later change is still known.
    """

    index_id: str
    sequence: int
    digest: int
    delta_from: int


def new_index_id() -> str:
    return secrets.token_hex(16)


def first_facts(connection: sqlite3.Connection) -> None:
    """An empty inventory under a new identity."""
    _set_position(connection, Position(new_index_id(), 0, 0, 0))


def position(connection: sqlite3.Connection) -> Position:
    names = ("index_id", "sequence", "digest", "delta_from")
    index_id, sequence, digest, delta_from = (get_fact(connection, name) or "0" for name in names)
    return Position(index_id, int(sequence), int(digest, 16), int(delta_from))


def _set_position(connection: sqlite3.Connection, now: Position) -> None:
    set_facts(
        connection,
        {
            "index_id": now.index_id,
            "sequence": str(now.sequence),
            "digest": digest_hex(now.digest),
            "delta_from": str(now.delta_from),
        },
    )


def problem(connection: sqlite3.Connection) -> str | None:
    """Return what is wrong with the whole although every row is sound: pages of two times, lost rows."""
    here = position(connection)
    rows = connection.execute(
        "SELECT row_digest, sequence FROM files UNION ALL SELECT row_digest, sequence FROM roots"
    ).fetchall()
    highest = max((sequence for _, sequence in rows), default=0)
    if digest_sum(digest for digest, _ in rows) != here.digest or highest > here.sequence:
        return "its rows are not those of its last change"
    return None


def put_files(connection: sqlite3.Connection, changes: Iterable[tuple[IndexRow | None, IndexRow]]) -> None:
    """Stores (old, new) pairs; ``old`` None is a new row. Sequence and row digest of ``new`` are set here."""
    here = position(connection)
    stored, added = [], []
    for old, new in changes:
        digest = file_digest(new)
        if old is None or old.row_digest != digest:
            here = _moved(here, old, digest)
            added.append(new.key)
            new = new._replace(sequence=here.sequence, row_digest=digest)
        stored.append(new)
    FILES.put(connection, stored)
    _unbury(connection, added)
    _set_position(connection, here)


def remove_files(connection: sqlite3.Connection, rows: Sequence[IndexRow]) -> None:
    if not rows:
        return
    here = position(connection)
    graves = []
    for row in rows:
        here = replace(
            here, sequence=here.sequence + 1, digest=digest_difference(here.digest, (row.row_digest,))
        )
        graves.append((row.root_id, row.path, here.sequence))
    connection.executemany("DELETE FROM files WHERE root_id = ? AND path = ?", (row.key for row in rows))
    _bury(connection, here, graves)


def put_root(connection: sqlite3.Connection, old: RootRow | None, new: RootRow) -> None:
    here = position(connection)
    digest = root_digest(new)
    if old is None or old.row_digest != digest:
        here = _moved(here, old, digest)
        new = new._replace(sequence=here.sequence, row_digest=digest)
        _unbury(connection, [(new.root_id, "")])
    ROOTS.put(connection, [new])
    _set_position(connection, here)


def remove_root(connection: sqlite3.Connection, root: RootRow) -> None:
    here = position(connection)
    here = replace(
        here, sequence=here.sequence + 1, digest=digest_difference(here.digest, (root.row_digest,))
    )
    connection.execute("DELETE FROM roots WHERE root_id = ?", (root.root_id,))
    _bury(connection, here, [(root.root_id, "", here.sequence)])


def _moved(here: Position, old: IndexRow | RootRow | None, digest: bytes) -> Position:
    gone = (old.row_digest,) if old is not None else ()
    total = digest_sum((digest,), digest_difference(here.digest, gone))
    return replace(here, sequence=here.sequence + 1, digest=total)


def _bury(connection: sqlite3.Connection, here: Position, graves: Sequence[tuple[str, str, int]]) -> None:
    """Tombstones are for a hub that has acknowledged something; any other gets the full inventory."""
    if ACKS.select(connection):
        TOMBSTONES.put(connection, graves)
    else:
        here = replace(here, delta_from=here.sequence)
    _set_position(connection, here)


def _unbury(connection: sqlite3.Connection, keys: Iterable[Key]) -> None:
    connection.executemany("DELETE FROM tombstones WHERE root_id = ? AND path = ?", keys)


def content_since(
    connection: sqlite3.Connection, base: int | None, *, limit: int = SYNC_MAX_ROWS
) -> SyncContent:
    """The changes after ``base``, or everything.

    Everything when ``base`` is None, when the changes are not all known any more, or are over ``limit`` rows.
    """
    here = position(connection)
    if base is not None and here.delta_from <= base <= here.sequence:
        content = _content(connection, here, base)
        if content.rows <= limit:
            return content
    return _content(connection, here, None)


def _content(connection: sqlite3.Connection, here: Position, base: int | None) -> SyncContent:
    where = ("sequence > ?", (base or 0,))
    graves = [] if base is None else TOMBSTONES.select(connection, *where)
    return SyncContent(
        index_id=here.index_id,
        mode="full" if base is None else "delta",
        base_sequence=base or 0,
        sequence=here.sequence,
        digest=here.digest,
        roots=tuple(root_entry(RootRow(*row)) for row in ROOTS.select(connection, *where)),
        upserts=tuple(file_entry(IndexRow(*row)) for row in FILES.select(connection, *where)),
        removals=tuple(Removal(root_id, path or None) for root_id, path, _ in graves),
    )


def acknowledge(connection: sqlite3.Connection, hub_id: str, index_id: str, sequence: int) -> None:
    """The hub has everything up to ``sequence``. A server has one hub: another one's word is forgotten."""
    here = position(connection)
    if index_id != here.index_id or sequence > here.sequence:
        return  # an answer to what this index was before
    connection.execute("DELETE FROM acks")
    ACKS.put(connection, [(hub_id, sequence)])
    connection.execute("DELETE FROM tombstones WHERE sequence <= ?", (sequence,))
    _set_position(connection, replace(here, delta_from=max(here.delta_from, sequence)))


def new_identity(connection: sqlite3.Connection) -> str:
    """The same rows as another index, of which no hub knows anything."""
    here = position(connection)
    connection.execute("DELETE FROM acks")
    connection.execute("DELETE FROM tombstones")
    fresh = replace(here, index_id=new_index_id(), delta_from=here.sequence)
    _set_position(connection, fresh)
    return fresh.index_id
