"""Models that an admin states, beside those that servers have."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection, Row

from stablequeue_client.shared.errors import ConflictError, InvalidValueError
from stablequeue_client.shared.model_files.model_file import (
    KINDS,
    SHA256_OF_NOTHING,
    Kind,
    normalize_hash,
    search_key,
)
from stablequeue_hub.events import events
from stablequeue_hub.inventory import model_rows
from stablequeue_hub.inventory.availability_rows import Affected, refresh_availability
from stablequeue_hub.inventory.claim_rows import connect_claims
from stablequeue_hub.store.tables import models

NAME_MAX = 500
TEXT_MAX = 100

_LENGTHS = {"hash_sha256": 64, "hash_autov2": 10, "hash_blake3": 64, "hash_autov1": 8, "hash_autov3": 12}
_FILLED = (*_LENGTHS, "size", "base_model", "civitai_id", "civitai_version_id")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


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
    """Create a model or a lead, or complete one that is there: what it knows already stays.

    A lead becomes a model only by a registration that states the full SHA256 under the same name and type and
    shares a hash with it. Raises InvalidValueError for malformed values, ConflictError for hashes that
    contradict the row's.
    """
    stated = _checked(registration)
    row = _row_of(connection, stated)
    model_id = _insert(connection, stated, now_ms) if row is None else _complete(connection, row, stated)
    if stated["hash_sha256"] is not None:
        model_rows.add_aliases(connection, [(model_id, stated["name"])])
        affected: Affected = {}
        connect_claims(connection, [model_id], affected)
        refresh_availability(connection, affected, actor=actor, now_ms=now_ms)
    lead = stated["hash_sha256"] is None
    events.append(
        connection, "model_registered", actor, now_ms=now_ms, model_id=model_id, details={"lead": lead}
    )
    return Registered(model_id, row is None, lead)


def _checked(registration: Registration) -> dict[str, Any]:
    """The values to store, by column."""
    stated: dict[str, Any] = msgspec.structs.asdict(registration)
    if (
        not registration.name.strip()
        or len(registration.name) > NAME_MAX
        or _CONTROLS.search(registration.name)
    ):
        raise InvalidValueError(f"`name` must be a line of 1 to {NAME_MAX} characters.")
    if registration.type not in KINDS:
        raise InvalidValueError(f"`type` must be one of {', '.join(KINDS)}.")
    for column, length in _LENGTHS.items():
        stated[column] = _checked_hash(column, stated[column], length)
    if registration.size is not None and not 0 <= registration.size < 2**63:
        raise InvalidValueError("`size` must be a number of bytes.")
    for column in ("base_model", "civitai_id", "civitai_version_id"):
        value = stated[column]
        if value is not None and (len(value) > TEXT_MAX or _CONTROLS.search(value)):
            raise InvalidValueError(f"`{column}` must be a line of at most {TEXT_MAX} characters.")
    _check_together(stated)
    return stated


def _checked_hash(column: str, text: str | None, length: int) -> str | None:
    if text is None:
        return None
    value = normalize_hash(text)
    if value is None or len(value) != length or value == SHA256_OF_NOTHING:
        raise InvalidValueError(f"`{column}` must be {length} hex digits, and not those of an empty file.")
    return value


def _check_together(stated: dict[str, Any]) -> None:
    sha256 = stated["hash_sha256"]
    if sha256 is not None:
        if stated["hash_autov2"] not in (None, sha256[:10]):
            raise InvalidValueError("`hash_autov2` must be the first 10 digits of `hash_sha256`.")
        stated["hash_autov2"] = sha256[:10]
    elif not any(stated[column] for column in _LENGTHS):
        raise InvalidValueError(
            "A model needs a hash.", remedy="Give `hash_sha256`; a short hash alone makes a lead."
        )


def _row_of(connection: Connection, stated: dict[str, Any]) -> Row[Any] | None:
    """The row of the same SHA256, else a lead of the same name and type that shares a hash."""
    if stated["hash_sha256"] is not None:
        same = connection.execute(
            sa.select(models).where(models.c.hash_sha256 == stated["hash_sha256"])
        ).first()
        lead = _lead_of(connection, stated)
        if same is not None and lead is not None:
            connection.execute(models.delete().where(models.c.id == lead.id))
        return same if same is not None else lead
    return _lead_of(connection, stated)


def _lead_of(connection: Connection, stated: dict[str, Any]) -> Row[Any] | None:
    shared = [
        models.c[column] == stated[column]
        for column in _LENGTHS
        if column != "hash_sha256" and stated[column] is not None
    ]
    query = sa.select(models).where(
        models.c.hash_sha256.is_(None),
        models.c.search_key == search_key(stated["name"]),
        models.c.type == stated["type"],
        sa.or_(*shared),
    )
    return connection.execute(query.order_by(models.c.id)).first()


def _insert(connection: Connection, stated: dict[str, Any], now_ms: int) -> int:
    values = {
        **stated,
        "search_key": search_key(stated["name"]),
        "created_ms": now_ms,
        "source": "registered",
    }
    return int(connection.execute(models.insert().values(values).returning(models.c.id)).scalar_one())


def _complete(connection: Connection, row: Row[Any], stated: dict[str, Any]) -> int:
    known = row._mapping
    for column in _LENGTHS:
        if stated[column] is not None and known[column] not in (None, stated[column]):
            raise ConflictError(
                f"The model {row.id} is known with another `{column}` ({known[column]}).",
                remedy="Leave it out, or check which of the two is right.",
            )
    lacking = {
        column: stated[column] for column in _FILLED if known[column] is None and stated[column] is not None
    }
    if lacking:
        connection.execute(models.update().where(models.c.id == row.id).values(lacking))
    return int(row.id)
