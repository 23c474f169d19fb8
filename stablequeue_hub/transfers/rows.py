"""The one writer of copies: they are made and change their state here, each step with its event."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple, get_args

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.errors import NotFoundError
from stablequeue_client.shared.model_files.model_file import Kind
from stablequeue_client.shared.wire.transfers import (
    TRANSFER_TEXT_MAX,
    TransferInfo,
    TransferState,
)
from stablequeue_hub.access.actors import actor_names
from stablequeue_hub.errors import StaleTransferError
from stablequeue_hub.events import events
from stablequeue_hub.store.prepared import Prepared
from stablequeue_hub.store.tables import servers, transfers
from stablequeue_hub.transfers.sources import SourceFile
from stablequeue_hub.transfers.states import CLAIMED, UNDER_WAY, check_step

ENDED_SHOWN = 100


class TransferRow(NamedTuple):
    """A copy as it is stored."""

    id: int
    sha256: str
    target_id: str
    source_id: str | None
    state: TransferState
    name: str
    kind: Kind
    size: int
    asked_by: str
    by_person: int
    fence: int
    unfit_json: str

    @property
    def unfit(self) -> frozenset[str]:
        """Sources that turned out not to have it."""
        return frozenset(msgspec.json.decode(self.unfit_json, type=list[str]))


_COLUMNS = [transfers.c[name] for name in TransferRow._fields]
_UNDER_WAY = Prepared(sa.select(*_COLUMNS).where(transfers.c.ended_ms.is_(None)).order_by(transfers.c.id))
_ONE = Prepared(sa.select(*_COLUMNS).where(transfers.c.id == sa.bindparam("id")))
_SHOWN = (
    sa.select(transfers, servers.c.alias.label("target"))
    .join_from(transfers, servers, servers.c.server_id == transfers.c.target_id)
    .order_by(transfers.c.ended_ms.is_not(None), transfers.c.id.desc())
)


def under_way(connection: Connection) -> list[TransferRow]:
    """Those that have not ended, oldest first."""
    return [TransferRow(*row) for row in _UNDER_WAY.all(connection, {})]


def find_transfer(connection: Connection, transfer_id: int) -> TransferRow:
    """Raises NotFoundError."""
    rows = _ONE.all(connection, {"id": transfer_id})
    if not rows:
        raise NotFoundError("There is no such copy.", remedy="`stablequeue transfers` lists them.")
    return TransferRow(*rows[0])


def claimed_by(connection: Connection, transfer_id: int, target_id: str, fence: int) -> TransferRow:
    """The copy that this target fetches. Raises StaleTransferError when its claim does not count any more,
    NotFoundError."""
    row = find_transfer(connection, transfer_id)
    if row.target_id != target_id or row.fence != fence or row.state not in CLAIMED:
        raise StaleTransferError
    return row


def served_by(connection: Connection, transfer_id: int, source_id: str, fence: int) -> TransferRow:
    """The copy that this source sends. Raises as ``claimed_by``."""
    row = find_transfer(connection, transfer_id)
    if row.source_id != source_id or row.fence != fence or row.state not in CLAIMED:
        raise StaleTransferError
    return row


def targets_since(connection: Connection, sha256: str, since_ms: int, states: Collection[str]) -> set[str]:
    """The servers to which a copy of the content ended so after that."""
    found = sa.select(transfers.c.target_id).where(
        transfers.c.sha256 == sha256, transfers.c.ended_ms >= since_ms, transfers.c.state.in_(states)
    )
    return set(connection.scalars(found))


def add_transfer(
    connection: Connection,
    sha256: str,
    target_id: str,
    state: TransferState,
    file: SourceFile,
    *,
    source_id: str | None,
    actor: str,
    by_person: bool,
    text: str,
    now_ms: int,
) -> int:
    """A new copy; its id."""
    made = connection.execute(
        transfers.insert().values(
            sha256=sha256,
            target_id=target_id,
            source_id=source_id,
            state=state,
            way="relay",
            name=file.name,
            kind=file.kind,
            size=file.size,
            asked_by=actor,
            by_person=int(by_person),
            created_ms=now_ms,
            changed_ms=now_ms,
            text=text[:TRANSFER_TEXT_MAX],
        )
    ).inserted_primary_key
    assert made is not None
    transfer_id = int(made[0])
    details = {"transfer_id": transfer_id, "sha256": sha256, "source": source_id}
    events.append(connection, f"transfer_{state}", actor, now_ms=now_ms, server_id=target_id, details=details)
    return transfer_id


def change_transfer(
    connection: Connection,
    row: TransferRow,
    state: TransferState,
    *,
    actor: str,
    now_ms: int,
    text: str = "",
    **values: Any,
) -> None:
    """The only way to another state. A claim that ends makes the fence grow, so that nothing that comes late
    counts. Raises TransferStateError, StaleTransferError when it changed meanwhile."""
    check_step(row.state, state)
    if state not in UNDER_WAY:
        values["ended_ms"] = now_ms
    if state not in CLAIMED or row.state not in CLAIMED:
        values["fence"] = row.fence + 1
    if state not in CLAIMED:
        values["bytes_per_s"] = 0
    still = transfers.update().where(
        transfers.c.id == row.id, transfers.c.state == row.state, transfers.c.fence == row.fence
    )
    values |= {"state": state, "changed_ms": now_ms, "text": text[:TRANSFER_TEXT_MAX]}
    if not connection.execute(still.values(**values)).rowcount:
        raise StaleTransferError
    if state != row.state:
        details = {
            "transfer_id": row.id,
            "sha256": row.sha256,
            "source": values.get("source_id", row.source_id),
        }
        if values.get("failure"):
            details["code"] = values["failure"]
        events.append(
            connection, f"transfer_{state}", actor, now_ms=now_ms, server_id=row.target_id, details=details
        )


def note_progress(
    connection: Connection, row: TransferRow, *, bytes_done: int, bytes_per_s: int, now_ms: int
) -> None:
    """How far a running copy is."""
    its = transfers.update().where(transfers.c.id == row.id, transfers.c.fence == row.fence)
    values = {"bytes_done": min(bytes_done, row.size), "bytes_per_s": bytes_per_s, "changed_ms": now_ms}
    connection.execute(its.values(**values))


def note_text(connection: Connection, row: TransferRow, text: str) -> None:
    """Why it waits, in other words than before."""
    its = transfers.update().where(transfers.c.id == row.id, transfers.c.text != text)
    connection.execute(its.values(text=text[:TRANSFER_TEXT_MAX]))


def unfit_sources(row: TransferRow, source_id: str | None) -> str:
    """The column with one more."""
    more: Iterable[str] = () if source_id is None else (source_id,)
    return msgspec.json.encode(sorted(row.unfit.union(more))).decode()


def list_transfers(connection: Connection, ids: Collection[int] | None = None) -> list[TransferInfo]:
    """Those under way, then those that ended last, newest first; or those of ``ids``."""
    query = _SHOWN if ids is None else _SHOWN.where(transfers.c.id.in_(ids))
    rows = connection.execute(query.limit(500)).all()
    ended = [row for row in rows if row.ended_ms is not None][:ENDED_SHOWN]
    shown = [*(row for row in rows if row.ended_ms is None), *ended]
    known = connection.execute(sa.select(servers.c.server_id, servers.c.alias))
    aliases = {row.server_id: row.alias for row in known}
    names = actor_names(connection, {row.asked_by for row in shown}, aliases)
    return [_info(row, aliases, names) for row in shown]


def _info(row: Any, aliases: dict[str, str], names: dict[str, str]) -> TransferInfo:
    source = None if row.source_id is None else aliases.get(row.source_id, "a removed server")
    assert row.kind in get_args(Kind)
    return TransferInfo(
        id=row.id,
        sha256=row.sha256,
        name=row.name,
        kind=row.kind,
        size=row.size,
        state=row.state,
        target_id=row.target_id,
        target=row.target,
        source_id=row.source_id,
        source=source,
        way=row.way,
        asked_by=row.asked_by,
        by=names[row.asked_by],
        created_ms=row.created_ms,
        changed_ms=row.changed_ms,
        text=row.text,
        ended_ms=row.ended_ms,
        bytes_done=row.bytes_done,
        bytes_per_s=row.bytes_per_s,
        progress=row.bytes_done / row.size if row.state in CLAIMED and row.size else None,
        failure=row.failure,
        path=row.path,
    )


def concerned_servers(rows: Sequence[TransferRow]) -> frozenset[str]:
    """The servers that have something to do for these copies now."""
    targets = {row.target_id for row in rows if row.state in CLAIMED or row.state == "waiting"}
    return frozenset(targets | {row.source_id for row in rows if row.source_id and row.state in CLAIMED})
