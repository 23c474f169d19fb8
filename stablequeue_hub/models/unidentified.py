"""Files that are no known model yet: not hashed, broken, set aside, or refused by the hub.

Together with the models of ``registry.list_models`` they are everything that lies in people's folders.
"""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection

from stablequeue_client.shared.errors import InvalidValueError
from stablequeue_hub.models.filters import names_match
from stablequeue_hub.store.tables import models, server_files, server_roots, servers

LIMIT_MAX = 200
REJECTED = "rejected"


class UnidentifiedFile(msgspec.Struct, frozen=True):
    """A file that is no known model (yet): being read, broken, set aside, or refused (``reason``).

    ``state`` is a file state, or ``rejected``. ``probably``: the model that a claim points at.
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


_STATE: ColumnElement[str] = sa.case(
    (server_files.c.rejected.is_not(None), REJECTED), else_=server_files.c.state
)
_ROOT = sa.and_(
    server_roots.c.server_id == server_files.c.server_id, server_roots.c.root_id == server_files.c.root_id
)
_FILES = (
    sa.select(
        server_files.c.server_id,
        servers.c.alias,
        server_files.c.root_id,
        server_roots.c.label,
        sa.func.coalesce(server_roots.c.health, "unreachable"),
        server_files.c.path,
        server_files.c.name,
        server_files.c.kind,
        server_files.c.size,
        _STATE,
        server_files.c.rejected,
        models.c.id,
        models.c.name,
    )
    .select_from(server_files)
    .join(servers, servers.c.server_id == server_files.c.server_id)
    .join(server_roots, _ROOT, isouter=True)
    .join(models, models.c.id == server_files.c.claimed_model_id, isouter=True)
)


def list_unidentified(
    connection: Connection,
    *,
    search: str = "",
    kind: str | None = None,
    server: str | None = None,
    state: str | None = None,
    page: int = 1,
    limit: int = LIMIT_MAX,
) -> UnidentifiedPage:
    """Files without a model, by name; ``state`` a file state or ``rejected``, ``limit`` 1 to 200 per page."""
    if not 1 <= limit <= LIMIT_MAX or page < 1:
        raise InvalidValueError(f"`limit` must be a number from 1 to {LIMIT_MAX}, `page` one from 1.")
    conditions = _conditions(search, kind, server)
    counted = sa.select(_STATE, sa.func.count()).where(*conditions).group_by(_STATE).order_by(_STATE)
    by_state = {str(word): count for word, count in connection.execute(counted)}
    if state is not None:
        conditions.append(_STATE.in_([state]))
    query = _FILES.where(*conditions).order_by(
        server_files.c.name_key, servers.c.alias_key, server_files.c.root_id, server_files.c.path
    )
    rows = connection.execute(query.limit(limit).offset((page - 1) * limit)).all()
    total = sum(by_state.values()) if state is None else by_state.get(state, 0)
    return UnidentifiedPage(len(rows), total, by_state, tuple(UnidentifiedFile(*row) for row in rows))


def _conditions(search: str, kind: str | None, server: str | None) -> list[ColumnElement[Any]]:
    conditions: list[ColumnElement[Any]] = [server_files.c.model_id.is_(None)]
    if search.strip():
        text = search.strip()
        conditions.append(
            sa.or_(
                names_match(text, server_files.c.name_key),
                names_match(text, sa.func.lower(server_files.c.path)),
            )
        )
    if kind is not None:
        conditions.append(server_files.c.kind == kind)
    if server is not None:
        conditions.append(server_files.c.server_id == server)
    return conditions
