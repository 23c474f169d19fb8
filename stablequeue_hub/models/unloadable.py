"""Contents that the WebUI of a server failed to load: no job that names one goes there.

It ends where a person lets the job try again, where another version of the WebUI runs, and with a run that
loaded the content after all.
"""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_hub.store.prepared import Prepared
from stablequeue_hub.store.tables import server_files, unloadable_models

TEXT_KEPT = 300
_ALL = Prepared(
    sa.select(unloadable_models.c.server_id, unloadable_models.c.sha256, unloadable_models.c.text)
)


def note_unloadable(connection: Connection, server_id: str, sha256: str, text: str, *, now_ms: int) -> None:
    """The WebUI there could not load this content."""
    forget_unloadable(connection, server_id, [sha256])
    values = {"server_id": server_id, "sha256": sha256, "text": text[:TEXT_KEPT], "at_ms": now_ms}
    connection.execute(unloadable_models.insert().values(**values))


def forget_unloadable(connection: Connection, server_id: str | None, contents: Collection[str]) -> None:
    """It may be tried again there; None: on every server."""
    if contents:
        query = unloadable_models.delete().where(unloadable_models.c.sha256.in_(sorted(contents)))
        if server_id is not None:
            query = query.where(unloadable_models.c.server_id == server_id)
        connection.execute(query)


def unloadable_on(connection: Connection) -> dict[str, dict[str, str]]:
    """By server: content -> what its WebUI said. Few rows: cheaper to read whole."""
    found: dict[str, dict[str, str]] = {}
    for server_id, sha256, text in _ALL.all(connection, {}):
        found.setdefault(server_id, {})[sha256] = text
    return found


def loadable_elsewhere(
    connection: Connection, server_id: str, sha256: str, targets: Collection[str] | None
) -> bool:
    """Return whether another server that the job is for has the content and did not fail to load it."""
    query = (
        sa.select(server_files.c.server_id)
        .join(
            unloadable_models,
            sa.and_(
                unloadable_models.c.server_id == server_files.c.server_id,
                unloadable_models.c.sha256 == server_files.c.sha256,
            ),
            isouter=True,
        )
        .where(
            server_files.c.sha256 == sha256,
            server_files.c.state == "ready",
            server_files.c.server_id != server_id,
            unloadable_models.c.sha256.is_(None),
        )
    )
    others = set(connection.scalars(query))
    return bool(others if targets is None else others.intersection(targets))
