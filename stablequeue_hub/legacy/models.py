"""Models as the old StableQueue showed them to anybody: its columns, and which servers have one.

For callers without a key, where the owner opened the old paths. What the hub knows besides (folders, every
path, who can be reached) is for callers with one.
"""

from __future__ import annotations

import msgspec

from stablequeue_hub.matching.resolve import HERE
from stablequeue_hub.models.availability import AvailabilityAnswer
from stablequeue_hub.models.matrix import ListedModel, ModelColumns, ModelPage


class OldModelList(msgspec.Struct, frozen=True):
    """Every model."""

    count: int
    models: list[ModelColumns]
    success: bool = True


class OldModelAnswer(msgspec.Struct, frozen=True):
    """One model."""

    model: ModelColumns
    success: bool = True


class OldModelServer(msgspec.Struct, frozen=True):
    """A server that has it. ``last_seen``: UTC text."""

    server_id: str
    last_seen: str | None
    alias: str


class OldModelServers(msgspec.Struct, frozen=True):
    """Who has a model; nobody where it is not known."""

    servers: list[OldModelServer]
    success: bool = True


def old_models(page: ModelPage) -> OldModelList:
    """Return a page as the old list shows it."""
    return OldModelList(page.count, [_old_model(row) for row in page.models])


def old_model(row: ListedModel) -> OldModelAnswer:
    """Return one model as the old answer shows it."""
    return OldModelAnswer(_old_model(row))


def old_model_servers(answer: AvailabilityAnswer) -> OldModelServers:
    """Those that have it, read or not and whether they can be reached or not."""
    return OldModelServers(
        [
            OldModelServer(one.server_id, one.last_seen, one.alias)
            for one in answer.servers
            if one.availability in HERE
        ]
    )


def _old_model(row: ListedModel) -> ModelColumns:
    return msgspec.convert(row, ModelColumns, from_attributes=True)
