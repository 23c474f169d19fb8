"""Which server has a model: the answer to "where is it", with age and source.

Words: ``available`` (a file there was hashed to this content), ``unhashed`` (a file there probably is it),
``unavailable`` (was there), ``unreachable`` (the server is not heard of, or every folder that holds the
model is not connected), ``unknown`` (the server never told what it has). ``unreachable`` and ``unknown``
are derived here, when asked, and stored nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import Connection

if TYPE_CHECKING:
    from stablequeue_hub.presence import Live


class FileOnServer(msgspec.Struct, frozen=True):
    """One file of the model on a server. ``path`` is a wire path relative to ``root``; ``label`` and
    ``root_health`` are the root's. ``name`` is the WebUI's name."""

    root: str
    label: str | None
    path: str
    name: str
    kind: str
    size: int
    state: str
    root_health: str


class ServerAvailability(msgspec.Struct, frozen=True):
    """One server's answer. ``last_seen`` is UTC (``YYYY-MM-DD HH:MM:SS``), when the hub last knew the model
    there; ``age_s`` the seconds since then; both None when ``unknown``. ``source``: ``computed`` (hashed
    there), ``claim`` (somebody says so), ``history`` (was there), ``none``.
    """

    server_id: str
    alias: str
    availability: str
    last_seen: str | None
    age_s: int | None
    source: str
    files: tuple[FileOnServer, ...] = ()


class ModelMatch(msgspec.Struct, frozen=True):
    """A model that the query finds, and where it is. ``id`` and ``hash_sha256`` are None for files that have
    the name asked for and are not hashed yet."""

    id: int | None
    name: str
    type: str
    hash_sha256: str | None
    hash_autov2: str | None
    size: int | None
    base_model: str | None
    servers: tuple[ServerAvailability, ...] = ()


class AvailabilityAnswer(msgspec.Struct, frozen=True):
    """``servers`` is the one match's; empty when there is none, or several (``ambiguous``): never guessed."""

    query: str
    matches: tuple[ModelMatch, ...]
    ambiguous: bool
    servers: tuple[ServerAvailability, ...]
    success: bool = True


def availability_of(connection: Connection, text: str, live: Live, *, now_ms: int) -> AvailabilityAnswer:
    """Where the model that ``text`` (row id, hash, name or path) means is. Nothing found: no matches."""
    raise NotImplementedError


def availability_of_many(
    connection: Connection, texts: Sequence[str], live: Live, *, now_ms: int
) -> list[AvailabilityAnswer]:
    """As ``availability_of`` for up to 1,000 texts, in their order. Raises TooLargeError above."""
    raise NotImplementedError


def utc_text(milliseconds: int) -> str:
    """``YYYY-MM-DD HH:MM:SS`` UTC, as the old StableQueue wrote times."""
    return datetime.fromtimestamp(milliseconds // 1000, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
