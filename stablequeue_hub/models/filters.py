"""The filters of the model list as conditions on ``models``."""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy import ColumnElement

from stablequeue_client.shared.model_files.model_file import (
    SQUEEZED_MIN,
    Kind,
    normalize_hash,
    search_key,
    search_words,
    squeezed,
)
from stablequeue_hub.store.tables import model_aliases, models, server_files
from stablequeue_hub.store.tables import model_server_availability as summary

StateFilter = Literal[
    "present", "gone", "everywhere", "missing", "one_only", "unhashed", "problem", "duplicates"
]
"""``present``: not ``gone``, which was on a server and is on none now; ``everywhere``: on every server that
told what it has; ``missing``: present, and not on every one; ``one_only``; ``unhashed``: a file that probably
is it waits to be read; ``problem``: a broken file claims to be it, or a claim contradicts its content;
``duplicates``: more than once on one server."""

SortOrder = Literal["name", "-name", "size", "-size", "newest", "oldest", "servers", "-servers"]

BROKEN_STATES = ("corrupt", "unreadable", "unstable", "partial", "set_aside")
HASH_START_MIN = 4

_SEPARATORS = re.compile(r"\\(?!x[0-9A-Fa-f]{2})")


class ModelFilter(msgspec.Struct, frozen=True):
    """What to list. ``limit`` None: every row (old contract); else 1 to 200 per ``page`` (from 1).

    ``search``: words of a name or path in any order, or the start of a SHA256 (4 hex digits and more).
    ``server``: a server_id; only models that are or were there. ``state``: see ``StateFilter``.
    """

    search: str = ""
    kind: Kind | None = None
    base_model: str | None = None
    server: str | None = None
    state: StateFilter | None = None
    sort: SortOrder = "name"
    page: int = 1
    limit: int | None = None


def conditions_of(wanted: ModelFilter, servers_with_inventory: int) -> list[ColumnElement[bool]]:
    """All of these must hold for a row of ``models``."""
    conditions: list[ColumnElement[bool]] = []
    if wanted.search.strip():
        conditions.append(_matches(wanted.search.strip()))
    if wanted.kind is not None:
        elsewhere = sa.select(server_files.c.model_id).where(
            server_files.c.kind_differs == 1, server_files.c.kind == wanted.kind
        )
        conditions.append(sa.or_(models.c.type == wanted.kind, models.c.id.in_(elsewhere)))
    if wanted.base_model is not None:
        conditions.append(models.c.base_model == wanted.base_model)
    if wanted.server is not None:
        conditions.append(
            models.c.id.in_(sa.select(summary.c.model_id).where(summary.c.server_id == wanted.server))
        )
    if wanted.state is not None:
        conditions.append(_in_state(wanted.state, wanted.server, servers_with_inventory))
    return conditions


def _matches(text: str) -> ColumnElement[bool]:
    text_as_path = _SEPARATORS.sub("/", text)
    paths = sa.select(model_aliases.c.model_id).where(names_match(text_as_path, model_aliases.c.alias_key))
    ways: list[ColumnElement[bool]] = [
        names_match(text_as_path, models.c.search_key),
        models.c.id.in_(paths),
    ]
    value = normalize_hash(text)
    if value is not None and len(value) >= HASH_START_MIN:
        ways += [
            column.startswith(value)
            for column in (
                models.c.hash_sha256,
                models.c.hash_autov2,
                models.c.hash_blake3,
                models.c.hash_autov1,
                models.c.hash_autov3,
            )
        ]
    return sa.or_(*ways)


def names_match(text: str, key: ColumnElement[str]) -> ColumnElement[bool]:
    """As ``search_of``, in the database."""
    words = sa.and_(*(key.contains(word, autoescape=True) for word in search_words(text)))
    as_one = squeezed(search_key(text))
    if len(as_one) < SQUEEZED_MIN:
        return words
    without_gaps: ColumnElement[str] = key
    for gap in " _-":
        without_gaps = sa.func.replace(without_gaps, gap, "")
    return sa.or_(words, without_gaps.contains(as_one, autoescape=True))


def _in_state(state: StateFilter, server: str | None, servers_with_inventory: int) -> ColumnElement[bool]:
    if state == "present":
        return models.c.gone_ms.is_(None)
    if state == "gone":
        return models.c.gone_ms.is_not(None)
    if state == "everywhere":
        return models.c.id.in_(_on_at_least(max(servers_with_inventory, 1)))
    if state == "missing":
        everywhere = _on_at_least(max(servers_with_inventory, 1))
        return sa.and_(models.c.gone_ms.is_(None), models.c.id.not_in(everywhere))
    if state == "one_only":
        return models.c.id.in_(_available().group_by(summary.c.model_id).having(sa.func.count() == 1))
    if state == "problem":
        return _has_problem(server)
    chosen = sa.select(summary.c.model_id)
    if state == "unhashed":
        chosen = chosen.where(summary.c.availability == "unhashed")
    else:
        chosen = chosen.where(summary.c.availability == "available", summary.c.files > 1)
    return models.c.id.in_(chosen if server is None else chosen.where(summary.c.server_id == server))


def _available() -> sa.Select[Any]:
    return sa.select(summary.c.model_id).where(summary.c.availability == "available")


def _on_at_least(servers: int) -> sa.Select[Any]:
    return _available().group_by(summary.c.model_id).having(sa.func.count() >= servers)


def _has_problem(server: str | None) -> ColumnElement[bool]:
    contradicted = sa.select(server_files.c.model_id).where(
        server_files.c.model_id.is_not(None), server_files.c.claims_json.is_not(None)
    )
    broken = sa.select(server_files.c.claimed_model_id).where(
        server_files.c.claimed_model_id.is_not(None), server_files.c.state.in_(BROKEN_STATES)
    )
    if server is not None:
        contradicted = contradicted.where(server_files.c.server_id == server)
        broken = broken.where(server_files.c.server_id == server)
    return sa.or_(models.c.id.in_(contradicted), models.c.id.in_(broken))
