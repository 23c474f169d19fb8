"""Who can hand out a content: only files that were read, of exactly this SHA256; never claims."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple, cast

import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.errors import NoSourceError, NotFoundError
from stablequeue_client.shared.model_files.model_file import Kind
from stablequeue_client.shared.wire.transfers import TransferPolicy
from stablequeue_hub.servers.presence import Live
from stablequeue_hub.store.prepared import Prepared
from stablequeue_hub.store.tables import server_files, server_roots, servers

SUFFIX = ".safetensors"
_FILES = Prepared(
    sa.select(
        server_files.c.server_id,
        servers.c.alias,
        server_files.c.path,
        server_files.c.kind,
        server_files.c.size,
        server_roots.c.health,
    )
    .select_from(
        sa.join(server_files, servers, servers.c.server_id == server_files.c.server_id).join(
            server_roots,
            sa.and_(
                server_roots.c.server_id == server_files.c.server_id,
                server_roots.c.root_id == server_files.c.root_id,
            ),
        )
    )
    .where(
        server_files.c.sha256 == sa.bindparam("sha256"),
        server_files.c.state == "ready",
        server_files.c.rejected.is_(None),
        server_files.c.model_id.is_not(None),
    )
    .order_by(servers.c.alias_key, server_files.c.path)
)


class SourceFile(NamedTuple):
    """A file that holds the content. ``connected``: its folder is."""

    server_id: str
    alias: str
    name: str
    kind: Kind
    size: int
    connected: bool


class Source(NamedTuple):
    """Where a content comes from: ``server_id`` None, ``text`` says why it comes from nowhere now."""

    file: SourceFile
    server_id: str | None
    text: str = ""


def choose_source(
    connection: Connection,
    sha256: str,
    target_id: str,
    policies: Mapping[str, TransferPolicy],
    live: Live,
    unfit: Collection[str] = (),
) -> Source:
    """The server to copy from; one that can later, if none can now. Raises NotFoundError when nobody has it
    as a safetensors file, NoSourceError when nobody who has it hands it out."""
    files = [
        SourceFile(server_id, alias, path.rsplit("/", 1)[-1], cast(Kind, kind), size, health == "healthy")
        for server_id, alias, path, kind, size, health in _FILES.all(connection, {"sha256": sha256})
        if path.lower().endswith(SUFFIX)
    ]
    if not files:
        raise NotFoundError(
            "No server has a file with this SHA256 that was read.",
            remedy="Only *.safetensors files are copied; have the server that has it read its files.",
        )
    others = [file for file in files if file.server_id != target_id]
    if not others:
        raise NoSourceError("Only that server itself has it.", remedy="There is nothing to copy.")
    willing = [file for file in others if _hands_out(policies, file.server_id)]
    if not willing:
        names = " and ".join(dict.fromkeys(file.alias for file in others[:3]))
        raise NoSourceError(f"{names} has it, and its owner does not hand out models.")
    left = [file for file in willing if file.server_id not in unfit]
    if not left:
        raise NoSourceError(
            f"{willing[0].alias} could not send it.", remedy="Have its files read again, then copy again."
        )
    now = [file for file in left if file.connected and live.is_reachable(file.server_id)]
    if now:
        return Source(now[0], now[0].server_id)
    why = "is switched off" if left[0].connected else "has it in a folder that is not connected"
    return Source(left[0], None, f"{left[0].alias} {why}")


def _hands_out(policies: Mapping[str, TransferPolicy], server_id: str) -> bool:
    policy = policies.get(server_id)
    return policy is not None and policy.hand_out
