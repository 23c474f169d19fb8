"""What the WebUI of a server can do, as the server itself says; its owner reads it, jobs will need it."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.errors import InvalidValueError
from stablequeue_client.shared.wire.inventory import ServerCapabilities, WorksForOthers
from stablequeue_hub.errors import unknown_server
from stablequeue_hub.events import events
from stablequeue_hub.store.tables import servers, unloadable_models

WORDS_MAX = 128
GPU_MEMORY_MAX_MB = 2**31


def store_capabilities(
    connection: Connection, server_id: str, capabilities: ServerCapabilities, *, now_ms: int
) -> None:
    """Keep them in place of those before, with an event when another word says for whom the server works.

    Storing the same ones again writes nothing. Raises InvalidValueError, NotFoundError.
    """
    _check(capabilities)
    text = msgspec.json.encode(capabilities).decode()
    stored = sa.select(servers.c.capabilities_json).where(servers.c.server_id == server_id)
    row = connection.execute(stored).first()
    if row is None:
        raise unknown_server(server_id)
    if row.capabilities_json == text:
        return
    connection.execute(
        servers.update().where(servers.c.server_id == server_id).values(capabilities_json=text)
    )
    former = stored_capabilities(row.capabilities_json)
    if former is not None and former.webui_version != capabilities.webui_version:
        # Another version may load what the one before could not.
        connection.execute(unloadable_models.delete().where(unloadable_models.c.server_id == server_id))
    before, now = works_for_others(former), capabilities.works_for_others
    if before != now:
        events.append(
            connection,
            "works_for_others_changed",
            f"server:{server_id}",
            now_ms=now_ms,
            server_id=server_id,
            details={"from": before, "to": now},
        )


def stored_capabilities(text: str | None) -> ServerCapabilities | None:
    """From the column; None when the server never said anything."""
    return None if text is None else msgspec.json.decode(text, type=ServerCapabilities)


NO_WEBUI = (
    "It cannot make pictures: only the agent runs there. Install the StableQueue extension in a WebUI there."
)


def has_webui(capabilities: ServerCapabilities | None, *, polling: bool) -> bool:
    """Return whether a WebUI ever spoke for the server: an agent alone makes no pictures. ``polling``: its
    runner asks for jobs."""
    return capabilities is not None or polling


def works_for_others(capabilities: ServerCapabilities | None) -> WorksForOthers:
    """Nobody's machine works for others without consent."""
    return capabilities.works_for_others if capabilities else "never"


def _check(capabilities: ServerCapabilities) -> None:
    """Names in lists may be anything that the whole message has room for; views escape them."""
    for name in ("webui", "webui_version", "extension_version", "gpu"):
        words: str = getattr(capabilities, name)
        if len(words) > WORDS_MAX or not words.isprintable():
            raise InvalidValueError(f"{name} must have at most {WORDS_MAX} printable characters.")
    if not capabilities.webui:
        raise InvalidValueError("webui is empty.", remedy="Name the WebUI's family.")
    memory = capabilities.gpu_memory_mb
    if memory is not None and not 0 < memory <= GPU_MEMORY_MAX_MB:
        raise InvalidValueError("gpu_memory_mb must be a positive number of MiB, or left out.")
