"""Everything the hub knows of one model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import Connection

from stablequeue_hub.availability import ServerAvailability
from stablequeue_hub.registry import ModelRow

if TYPE_CHECKING:
    from stablequeue_hub.presence import Live


class KnownDigest(msgspec.Struct, frozen=True):
    """A digest and where it comes from: ``computed`` by a server, ``registered`` by an admin, or
    ``claim:<source>`` (``contradicts`` True when it differs from the computed one)."""

    digest: str
    value: str
    source: str
    contradicts: bool = False


class Duplicate(msgspec.Struct, frozen=True):
    """The same content more than once on one server; ``wasted_bytes`` is what all but one file take."""

    server_id: str
    alias: str
    paths: tuple[str, ...]
    wasted_bytes: int


class SameName(msgspec.Struct, frozen=True):
    """Another content under a name of this model. ``servers``: aliases of those that have it."""

    id: int
    name: str
    type: str
    hash_autov2: str | None
    size: int | None
    servers: tuple[str, ...]


class ModelDetails(msgspec.Struct, frozen=True):
    """``metadata`` None: not asked for yet, or a lead; ``{}``: the file has none. ``kinds`` holds more than one
    kind when servers keep the file in folders of different kinds. ``lead``: registered without its full SHA256."""

    model: ModelRow
    digests: tuple[KnownDigest, ...]
    aliases: tuple[str, ...]
    servers: tuple[ServerAvailability, ...]
    kinds: tuple[str, ...]
    metadata: dict[str, str] | None
    duplicates: tuple[Duplicate, ...]
    wasted_bytes: int
    same_name: tuple[SameName, ...]
    lead: bool


def model_details(connection: Connection, text: str, live: Live, *, now_ms: int) -> ModelDetails:
    """The model that ``text`` (row id or hash) means.

    Raises NotFoundError, and ConflictError naming the candidates when a short hash means several.
    """
    raise NotImplementedError
