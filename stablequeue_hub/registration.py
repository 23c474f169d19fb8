"""Models that an admin states, beside those that servers have."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection

from stablequeue_client.model_files import Kind


class Registration(msgspec.Struct, frozen=True):
    """What is stated. With ``hash_sha256`` it is a model; without it a lead, which needs a short hash."""

    name: str
    type: Kind
    hash_sha256: str | None = None
    hash_autov2: str | None = None
    hash_blake3: str | None = None
    hash_autov1: str | None = None
    hash_autov3: str | None = None
    size: int | None = None
    base_model: str | None = None
    civitai_id: str | None = None
    civitai_version_id: str | None = None


class Registered(msgspec.Struct, frozen=True):
    """The row: new (``created``) or one that was there and learned what it lacked."""

    id: int
    created: bool
    lead: bool


def register_model(
    connection: Connection, registration: Registration, *, actor: str, now_ms: int
) -> Registered:
    """Create or complete a model. Raises InvalidValueError for malformed or contradictory hashes.

    A lead becomes a model only by a registration that states the full SHA256 under the same name and type.
    """
    raise NotImplementedError
