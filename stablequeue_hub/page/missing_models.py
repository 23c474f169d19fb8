"""Jobs that wait for a model, as the values of their view. Reads only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection

from stablequeue_client.shared.views import job_values as jv
from stablequeue_client.shared.wire.queue import WaitingGroup
from stablequeue_hub.matching.missing_models import waiting_groups

if TYPE_CHECKING:
    from stablequeue_hub.servers.presence import Live

GROUPS_MAX = 100
SOURCES_SHOWN = 5


def model_groups(connection: Connection, live: Live, *, now_ms: int) -> tuple[tuple[jv.ModelGroup, ...], int]:
    """The models for which most jobs wait first, and how many there are in all."""
    found = waiting_groups(connection, live, now_ms=now_ms, limit=GROUPS_MAX)
    return tuple(_value(group, live) for group in found.groups), found.total


def _value(group: WaitingGroup, live: Live) -> jv.ModelGroup:
    return jv.ModelGroup(
        kind=group.kind,
        name=group.name,
        jobs=group.jobs,
        code=group.code,
        job_id=group.job_ids[0],
        sha256=group.sha256 or "",
        sources=tuple(
            jv.CopySource(
                copy.alias, live.is_reachable(copy.server_id), copy.folder or "", copy.path, copy.size
            )
            for copy in group.copies[:SOURCES_SHOWN]
        ),
        places=tuple(
            jv.CopyPlace(place.alias, place.could_run, tuple(place.folders)) for place in group.places
        ),
        deadline_ms=group.deadline_ms,
    )
