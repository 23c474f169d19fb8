"""Copies of models that are under way, as far as a waiting job is concerned. Reads only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_hub.store.prepared import Prepared
from stablequeue_hub.store.tables import transfers


class IncomingCopy(NamedTuple):
    """A content on its way to a server. ``done``: 0 to 1, once it runs."""

    target_id: str
    source_id: str | None
    state: str
    done: float


Incoming: TypeAlias = Mapping[str, Sequence[IncomingCopy]]
"""By content."""
_UNDER_WAY = Prepared(
    sa.select(
        transfers.c.sha256,
        transfers.c.target_id,
        transfers.c.source_id,
        transfers.c.state,
        transfers.c.bytes_done,
        transfers.c.size,
    )
    .where(transfers.c.ended_ms.is_(None))
    .order_by(transfers.c.id)
)


def read_incoming(connection: Connection) -> Incoming:
    """Every copy that has not ended."""
    found: dict[str, list[IncomingCopy]] = {}
    for sha256, target_id, source_id, state, done, size in _UNDER_WAY.all(connection, {}):
        copy = IncomingCopy(target_id, source_id, state, done / size if size else 0.0)
        found.setdefault(sha256, []).append(copy)
    return found
