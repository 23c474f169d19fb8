"""What decides where waiting jobs can run, read for many jobs at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.wire.inventory import ServerCapabilities, WorksForOthers
from stablequeue_hub.servers.capabilities import stored_capabilities, works_for_others
from stablequeue_hub.store.bulk import slices
from stablequeue_hub.store.prepared import Prepared, in_list
from stablequeue_hub.store.tables import (
    job_exclusions,
    job_payloads,
    jobs,
    models,
    server_files,
    server_roots,
    servers,
)
from stablequeue_hub.store.tables import model_server_availability as summary

if TYPE_CHECKING:
    from stablequeue_hub.hub import Hub
    from stablequeue_hub.servers.presence import Live


@dataclass(frozen=True)
class Line:
    """What the hand-over of jobs knew at one moment. ``asking``: by server, whether its runner asks for jobs;
    ``resting``: servers that get no jobs for a while; ``in_use``: those that take only their own now;
    ``gave_way``: those of the resting that do because somebody used them; ``places``: by server, how many
    jobs come before one that was asked for; ``progress``: 0 to 1, by job.
    """

    asking: Mapping[str, bool] = field(default_factory=dict)
    resting: frozenset[str] = frozenset()
    in_use: frozenset[str] = frozenset()
    places: Mapping[str, int] = field(default_factory=dict)
    progress: Mapping[str, float] = field(default_factory=dict)
    gave_way: frozenset[str] = frozenset()


def line_of(hub: Hub, job_id: str | None = None) -> Line:
    """With ``job_id`` on the event loop only: other threads must not walk through the waiting jobs."""
    dispatcher = hub.dispatcher
    ids = hub.presence.ids()
    places = {one: dispatcher.before(one, job_id) for one in ids} if job_id is not None else {}
    return Line(
        {server_id: dispatcher.asks(server_id) for server_id in ids},
        frozenset(server_id for server_id in ids if dispatcher.cools(server_id)),
        frozenset(server_id for server_id in ids if dispatcher.is_in_use(server_id)),
        {server_id: place for server_id, place in places.items() if place is not None},
        {one.job_id: one.progress for one in dispatcher.leases.all() if one.progress is not None},
        frozenset(server_id for server_id in ids if dispatcher.gave_way(server_id)),
    )


@dataclass(frozen=True)
class ServerFacts:
    """A server now, as far as jobs are concerned. ``works_on``: id, name and prompt of its job."""

    server_id: str
    alias: str
    has_inventory: bool
    reachable: bool
    frozen: bool
    paused: bool
    capabilities: ServerCapabilities | None
    asks: bool | None = None
    works_on: tuple[str, str, str] | None = None
    no_agent: bool = False
    resting: bool = False
    in_use: bool = False
    gave_way: bool = False

    @property
    def working(self) -> bool:
        return self.works_on is not None

    @property
    def for_others(self) -> WorksForOthers:
        return works_for_others(self.capabilities)

    def works_for(self, submitted_by: str) -> bool:
        return self.for_others != "never" or submitted_by == f"server:{self.server_id}"

    def in_use_for(self, submitted_by: str) -> bool:
        """Somebody uses it: it works for others, and not now; for a moment also for nobody."""
        is_other = submitted_by != f"server:{self.server_id}"
        return self.gave_way or (self.in_use and is_other and self.for_others != "never")


@dataclass(frozen=True)
class Exclusion:
    """A server that is not to get a job again. ``reason``: refused, failed or lost."""

    server_id: str
    reason: str
    text: str


@dataclass
class Stock:
    """Which servers have a content: ``ready`` (in a connected folder), ``unread`` (somebody says so),
    ``away`` (in a folder that is not connected). ``base_model``: the content's, where it is known."""

    ready: set[str] = field(default_factory=set)
    unread: set[str] = field(default_factory=set)
    away: set[str] = field(default_factory=set)
    base_model: str | None = None


_SERVERS = Prepared(
    sa.select(
        servers.c.server_id,
        servers.c.alias,
        servers.c.index_id,
        servers.c.frozen,
        servers.c.jobs_paused,
        servers.c.capabilities_json,
        servers.c.api_url,
    ).order_by(servers.c.alias_key)
)
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
_EXCLUSIONS = Prepared(
    sa.select(
        job_exclusions.c.job_id,
        job_exclusions.c.server_id,
        job_exclusions.c.reason,
        job_exclusions.c.text,
    ).where(in_list(job_exclusions.c.job_id, "ids"))
)
_STOCK = Prepared(
    sa.select(models.c.hash_sha256, models.c.base_model, summary.c.server_id, summary.c.availability)
    .select_from(sa.join(models, summary, summary.c.model_id == models.c.id))
    .where(in_list(models.c.hash_sha256, "contents"), summary.c.availability != "unavailable")
)
_UNCONNECTED = Prepared(
    sa.select(server_roots.c.server_id)
    .distinct()
    .where(server_roots.c.health != "healthy", server_roots.c.rejected.is_(None))
)


def _connected(column: sa.Column[Any]) -> sa.Select[Any]:
    """(content, server) of which a file lies in a connected folder."""
    root = sa.and_(
        server_roots.c.server_id == server_files.c.server_id,
        server_roots.c.root_id == server_files.c.root_id,
        server_roots.c.health == "healthy",
    )
    joined = sa.join(models, server_files, column == models.c.id).join(server_roots, root)
    return (
        sa.select(models.c.hash_sha256, server_files.c.server_id)
        .select_from(joined)
        .where(in_list(models.c.hash_sha256, "contents"))
    )


_CONNECTED = Prepared(_connected(server_files.c.model_id).union(_connected(server_files.c.claimed_model_id)))


@lru_cache(maxsize=256)
def _capabilities(text: str | None) -> ServerCapabilities | None:
    return stored_capabilities(text)


def servers_now(connection: Connection, live: Live, line: Line) -> dict[str, ServerFacts]:
    """Every server by its id, ordered by alias."""
    working = {
        server_id: (job_id, name, prompt) for server_id, job_id, name, prompt in _WORKING.all(connection, {})
    }
    return {
        server_id: ServerFacts(
            server_id,
            alias,
            index_id is not None,
            live.is_reachable(server_id),
            frozen is not None,
            bool(paused),
            _capabilities(capabilities),
            line.asking.get(server_id),
            working.get(server_id),
            address is not None,
            server_id in line.resting - line.gave_way,
            server_id in line.in_use,
            server_id in line.gave_way,
        )
        for server_id, alias, index_id, frozen, paused, capabilities, address in _SERVERS.all(connection, {})
    }


def exclusions_of(
    connection: Connection, job_ids: Iterable[str], known: Mapping[str, ServerFacts]
) -> dict[str, list[Exclusion]]:
    """Of servers that are known. One that ends (``dispatch.runs.readmit``) has no row any more."""
    found: dict[str, list[Exclusion]] = {}
    for part in slices(job_ids):
        for job_id, server_id, reason, text in _EXCLUSIONS.all(connection, {"ids": part}):
            if server_id in known:
                found.setdefault(job_id, []).append(Exclusion(server_id, reason, text))
    return found


def stock_of(connection: Connection, contents: Collection[str]) -> dict[str, Stock]:
    """By SHA256; a content that nobody has is not among them."""
    unconnected = {server_id for (server_id,) in _UNCONNECTED.all(connection, {})}
    found: dict[str, Stock] = {}
    for part in slices(sorted(contents)):
        values = {"contents": part}
        connected = set(_CONNECTED.all(connection, values)) if unconnected else set()
        for sha256, base_model, server_id, availability in _STOCK.all(connection, values):
            stock = found.get(sha256)
            if stock is None:
                stock = found[sha256] = Stock(base_model=base_model)
            if server_id in unconnected and (sha256, server_id) not in connected:
                stock.away.add(server_id)
            elif availability == "available":
                stock.ready.add(server_id)
            else:
                stock.unread.add(server_id)
    return found
