"""Servers, their work, folders and problems, as the values of the views. Reads only."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import TypeAlias

import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.errors import ServerFrozenError
from stablequeue_client.shared.views import values as v
from stablequeue_client.shared.views.labels import TROUBLED_STATES, counted
from stablequeue_client.shared.wire.inventory import ServerCapabilities
from stablequeue_hub.models.filters import ModelFilter
from stablequeue_hub.models.matrix import count_models
from stablequeue_hub.models.unidentified import list_unidentified
from stablequeue_hub.page import labels as words
from stablequeue_hub.page.models import file_row
from stablequeue_hub.page.queue import Viewer
from stablequeue_hub.servers.capabilities import NO_WEBUI, has_webui
from stablequeue_hub.servers.known_servers import KnownServer, known_servers
from stablequeue_hub.servers.presence import Presence
from stablequeue_hub.servers.servers import NO_AGENT, RootInfo, ServerInfo, list_servers
from stablequeue_hub.store.hub_settings_table import queue_is_paused
from stablequeue_hub.store.prepared import Prepared
from stablequeue_hub.store.tables import job_requirements, jobs, server_files, server_roots
from stablequeue_hub.store.tables import servers as servers_table

PROBLEMS_SHOWN = 20
NEEDS_COUNTED = 1000

_QUEUE = Prepared(
    sa.select(jobs.c.state, sa.func.count())
    .where(sa.or_(jobs.c.state == "pending", jobs.c.state == "processing"))
    .group_by(jobs.c.state)
)
Need: TypeAlias = tuple[str, str]
"""What needs its owner, as a sentence, and the address that shows it."""
FileCounts: TypeAlias = dict[tuple[str, str], int]
"""(server_id, root_id) -> files."""


# --- the first line -------------------------------------------------------------------------------------


def first_line(connection: Connection, live: Presence, viewer: Viewer) -> v.FirstLine:
    """Is everything all right, and if not, what is the most important thing to do?"""
    servers = known_servers(connection, live)
    unread, troubled = _waiting_and_troubled(connection)
    reading = [server_id for server_id in unread if servers[server_id].reachable]
    activities = [live.activity(server_id) for server_id in reading]
    needs = [*_frozen(connection), *_lost_folders(connection, servers), *_troubled_files(servers, troubled)]
    problem, action = needs[0] if needs else ("", "")
    queue = dict(_QUEUE.all(connection, {}))
    return v.FirstLine(
        models=count_models(connection, ModelFilter(state="present")),
        reading=sum(unread[server_id] for server_id in reading),
        eta_s=max((a.eta_s for a in activities if a and a.eta_s is not None), default=None),
        servers=len(servers),
        connected=sum(server.reachable for server in servers.values()),
        needs=len(needs),
        problem=problem,
        action=action,
        action_label="Show" if action else "",
        running=queue.get("processing", 0),
        queued=queue.get("pending", 0),
        queue_needs=_waiting_for_a_person(connection, viewer) if queue.get("pending") else 0,
        queue_paused=queue_is_paused(connection),
    )


def _waiting_for_a_person(connection: Connection, viewer: Viewer) -> int:
    """Jobs (of who looks, or all for an admin) that name a model which nobody has or which is not clear, and
    about which nobody has decided; counted as far as ``NEEDS_COUNTED``."""
    open_needs = sa.select(job_requirements.c.payload_id).where(
        job_requirements.c.status.in_(("missing", "ambiguous")), job_requirements.c.decision.is_(None)
    )
    query = sa.select(jobs.c.seq).where(jobs.c.state == "pending", jobs.c.payload_id.in_(open_needs))
    if not viewer.is_admin:
        query = query.where(jobs.c.submitted_by == viewer.actor)
    counted_some = query.limit(NEEDS_COUNTED).subquery()
    return connection.scalar(sa.select(sa.func.count()).select_from(counted_some)) or 0


def _waiting_and_troubled(connection: Connection) -> tuple[Counter[str], Counter[str]]:
    """server_id -> files to be read, and files that need their owner. Among files without a model only:
    there are few, and an index finds them."""
    rejected = server_files.c.rejected.is_not(None)
    query = sa.select(server_files.c.server_id, server_files.c.state, rejected, sa.func.count())
    query = query.where(server_files.c.model_id.is_(None))
    unread: Counter[str] = Counter()
    troubled: Counter[str] = Counter()
    for server_id, state, refused, count in connection.execute(
        query.group_by(server_files.c.server_id, server_files.c.state, rejected)
    ):
        if refused or state in TROUBLED_STATES:
            troubled[server_id] += count
        elif state == "unhashed":
            unread[server_id] += count
    return unread, troubled


def _frozen(connection: Connection) -> Iterator[Need]:
    query = sa.select(servers_table.c.alias).where(servers_table.c.frozen.is_not(None))
    for alias in connection.scalars(query.order_by(servers_table.c.alias_key)):
        yield f"{alias} is frozen: two running copies use its identity", "?view=servers"


def _lost_folders(connection: Connection, servers: Mapping[str, KnownServer]) -> Iterator[Need]:
    """Folders not connected, on servers that are; a server that is off is no fault."""
    query = sa.select(server_roots.c.server_id, server_roots.c.root_id, server_roots.c.label)
    for server_id, root_id, label in connection.execute(
        query.where(server_roots.c.health != "healthy", server_roots.c.rejected.is_(None))
    ):
        if servers[server_id].reachable:
            yield f"Folder {label or root_id} on {servers[server_id].alias} is not connected", "?view=servers"


def _troubled_files(servers: Mapping[str, KnownServer], troubled: Counter[str]) -> Iterator[Need]:
    for server_id, server in servers.items():
        if troubled[server_id]:
            files = counted(troubled[server_id], "file")
            yield (
                f"{files} with problems on {server.alias}",
                f"?view=models&state=troubled&server={server_id}",
            )


def _waiting(server: ServerInfo) -> int:
    """Files to be read; those still being copied or in use wait for somebody else."""
    return server.files.get("unhashed", 0)


def _troubled(server: ServerInfo) -> int:
    return sum(server.files.get(state, 0) for state in TROUBLED_STATES)


# --- the servers ----------------------------------------------------------------------------------------


def servers_page(connection: Connection, live: Presence, *, may_change: bool) -> v.ServersPage:
    """All servers by alias."""
    counts = _files_per_root(connection)
    problems = _problems(connection)
    cards = tuple(_card(server, live, counts, problems) for server in list_servers(connection, live))
    return v.ServersPage(cards, may_change)


def _files_per_root(connection: Connection) -> FileCounts:
    key = (server_files.c.server_id, server_files.c.root_id)
    query = sa.select(*key, sa.func.count()).group_by(*key)
    return {(server_id, root_id): count for server_id, root_id, count in connection.execute(query)}


def _problems(connection: Connection) -> dict[str, list[v.FileRow]]:
    """Every server's files that need their owner, as far as one answer holds them."""
    found: dict[str, list[v.FileRow]] = defaultdict(list)
    for state in TROUBLED_STATES:
        for file in list_unidentified(connection, state=state).files:
            found[file.server_id].append(file_row(file))
    return found


def _card(
    server: ServerInfo, live: Presence, counts: FileCounts, problems: dict[str, list[v.FileRow]]
) -> v.ServerCard:
    mine = problems.get(server.server_id, [])
    presence = live.find(server.server_id)
    activity = server.activity
    return v.ServerCard(
        server_id=server.server_id,
        alias=server.alias,
        connected=server.reachable,
        last_contact_ms=server.last_contact_ms,
        joined_ms=server.joined_ms,
        last_sync_ms=server.last_sync_ms,
        version=server.version,
        progress=v.Progress(
            activity.phase,
            activity.files_done,
            activity.files_total,
            activity.bytes_done,
            activity.bytes_total,
            activity.eta_s,
        )
        if activity
        else None,
        models=server.files.get("ready", 0),
        waiting=_waiting(server),
        folders=tuple(
            _folder(root, counts.get((server.server_id, root.root_id), 0)) for root in server.roots
        ),
        problems=v.FileList(tuple(mine[:PROBLEMS_SHOWN]), max(len(mine), _troubled(server)), "troubled"),
        frozen=ServerFrozenError.remedy_text if server.frozen else "",
        asked=tuple(words.order_text(waiting.order) for waiting in presence.orders) if presence else (),
        capabilities=_capabilities(server.capabilities),
        no_agent=_why_no_pictures(server, live),
    )


def _why_no_pictures(server: ServerInfo, live: Presence) -> str:
    if server.no_agent:
        return NO_AGENT
    polling = live.runner(server.server_id).polling
    return "" if has_webui(server.capabilities, polling=polling) else NO_WEBUI


def _capabilities(capabilities: ServerCapabilities | None) -> v.Capabilities | None:
    if capabilities is None:
        return None
    lists = ((label, tuple(getattr(capabilities, name))) for name, label in words.CAPABILITY_LISTS.items())
    return v.Capabilities(
        webui=words.webui_text(capabilities),
        gpu=words.gpu_text(capabilities),
        works_for_others=capabilities.works_for_others,
        lists=tuple((label, names) for label, names in lists if names),
    )


def _folder(root: RootInfo, files: int) -> v.Folder:
    return v.Folder(root.root_id, root.label or root.root_id, root.kind, root.health, files, root.since_ms)  # type: ignore[arg-type]
