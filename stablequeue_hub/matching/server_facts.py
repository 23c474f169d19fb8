"""What decides, besides models, where waiting jobs can run: servers, pauses and exclusions, as values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.wire.inventory import ServerCapabilities, WorksForOthers
from stablequeue_hub.models.unloadable import unloadable_on
from stablequeue_hub.servers.capabilities import has_webui, stored_capabilities, works_for_others
from stablequeue_hub.servers.presence import Live, RunnerPresence
from stablequeue_hub.store.prepared import Prepared
from stablequeue_hub.store.tables import job_payloads, jobs, servers


class DispatchView(Protocol):
    """What the dispatcher knows of jobs; nothing of it is stored."""

    def jobs_ahead(self, server_id: str, job_id: str) -> int | None:
        """Return how many jobs that server gets before this one; None when it does not get it."""

    def jobs_ahead_anywhere(self, job_id: str) -> int | None:
        """Return how many jobs come first if one server could run all; None for one that does not wait."""

    def progress(self, job_id: str) -> float | None:
        """0 to 1, of a job under way; None where nothing was told."""


def fewest_ahead(dispatch: DispatchView, servers: Iterable[str], job_id: str) -> int | None:
    """Return the smallest number of jobs ahead on any of the servers; None when no server gets it."""
    places = (dispatch.jobs_ahead(server_id, job_id) for server_id in servers)
    return min((place for place in places if place is not None), default=None)


class ServerFacts(NamedTuple):
    """A server now, as far as jobs are concerned. ``works_on``: id, name and prompt of its job. ``no_agent``:
    only an old client named it, and StableQueue is not installed there. ``unloadable``: contents that its
    WebUI failed to load, with what it said."""

    server_id: str
    alias: str
    has_inventory: bool
    reachable: bool
    frozen: bool
    paused: bool
    sequence: int
    capabilities: ServerCapabilities | None
    runner: RunnerPresence
    works_on: tuple[str, str, str] | None = None
    no_agent: bool = False
    unloadable: Mapping[str, str] = MappingProxyType({})

    @property
    def working(self) -> bool:
        return self.works_on is not None

    @property
    def for_others(self) -> WorksForOthers:
        return works_for_others(self.capabilities)

    @property
    def no_webui(self) -> bool:
        """Only the agent runs there, which makes no pictures."""
        return not (self.no_agent or has_webui(self.capabilities, polling=self.runner.polling))


_COLUMNS = sa.select(
    servers.c.server_id,
    servers.c.alias,
    servers.c.index_id,
    servers.c.frozen,
    servers.c.jobs_paused,
    servers.c.sequence,
    servers.c.capabilities_json,
    servers.c.api_url,
)
_SERVERS = Prepared(_COLUMNS.order_by(servers.c.alias_key))
_SERVER = Prepared(_COLUMNS.where(servers.c.server_id == sa.bindparam("server_id")))
_PROMPT_SHOWN = 200
_WORKING = Prepared(
    sa.select(
        jobs.c.server_id,
        jobs.c.job_id,
        jobs.c.name,
        sa.func.substr(job_payloads.c.prompt, 1, _PROMPT_SHOWN),
    )
    .select_from(sa.join(jobs, job_payloads, job_payloads.c.id == jobs.c.payload_id))
    .where(jobs.c.state == "processing")
)


_NONE: Mapping[str, str] = MappingProxyType({})


@lru_cache(maxsize=256)
def _capabilities(text: str | None) -> ServerCapabilities | None:
    return stored_capabilities(text)


def servers_now(connection: Connection, live: Live) -> dict[str, ServerFacts]:
    """Every server by its id, ordered by alias."""
    working = {
        server_id: (job_id, name, prompt) for server_id, job_id, name, prompt in _WORKING.all(connection, {})
    }
    failed = unloadable_on(connection)
    return {
        row[0]: _facts(row, live, working.get(row[0]), failed.get(row[0], _NONE))
        for row in _SERVERS.all(connection, {})
    }


def server_now(connection: Connection, server_id: str, live: Live) -> ServerFacts | None:
    """One server, without what it works on; None for one that is not known."""
    rows = _SERVER.all(connection, {"server_id": server_id})
    if not rows:
        return None
    return _facts(rows[0], live, None, unloadable_on(connection).get(server_id, _NONE))


def _facts(
    row: Sequence[Any], live: Live, works_on: tuple[str, str, str] | None, unloadable: Mapping[str, str]
) -> ServerFacts:
    server_id, alias, index_id, frozen, paused, sequence, capabilities, address = row
    return ServerFacts(
        server_id,
        alias,
        index_id is not None,
        live.is_reachable(server_id),
        frozen is not None,
        bool(paused),
        sequence,
        _capabilities(capabilities),
        live.runner(server_id),
        works_on,
        address is not None,
        unloadable,
    )
