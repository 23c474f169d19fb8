"""Everything the hub knows of one model, as the value of its view. Reads only."""

from __future__ import annotations

from collections import defaultdict

from sqlalchemy import Connection

from stablequeue_client.shared.views import values as v
from stablequeue_client.shared.views.labels import DIGEST_LABELS
from stablequeue_hub.events.events import list_events
from stablequeue_hub.models.availability import ServerAvailability
from stablequeue_hub.models.details import KnownDigest, ModelDetailsAnswer, model_details
from stablequeue_hub.page import labels as words
from stablequeue_hub.servers.known_servers import known_servers
from stablequeue_hub.servers.presence import Presence

HISTORY_SHOWN = 30
_HAS = ("available", "unhashed", "unreachable")


def details_page(connection: Connection, text: str, live: Presence, *, now_ms: int) -> v.ModelDetails:
    """The model that ``text`` (row id or hash) means. Raises NotFoundError, ConflictError (several)."""
    found = model_details(connection, text, live, now_ms=now_ms)
    servers = known_servers(connection, live).values()
    has = {server.server_id for server in found.servers if server.availability in _HAS}
    return v.ModelDetails(
        model_id=found.model.id,
        name=found.model.name,
        kind=found.model.type,
        digests=_digests(found.digests),
        places=tuple(place for server in found.servers for place in _places(server, live)),
        size=found.model.size,
        base_model=found.model.base_model,
        aliases=found.aliases,
        missing_on=tuple(server.alias for server in servers if server.server_id not in has),
        servers_total=len(servers),
        metadata=tuple(sorted((found.metadata or {}).items())),
        duplicates=tuple(
            v.Duplicate(double.alias, len(double.paths), double.wasted_bytes) for double in found.duplicates
        ),
        same_name=tuple(
            v.OtherModel(other.id, other.name, other.hash_autov2 or "", other.size, other.servers)
            for other in found.same_name
        ),
        contradictions=_contradictions(found),
        history=_history(connection, found.model.id),
        is_lead=found.lead,
        unloadable=tuple((one.alias, one.unloadable) for one in found.servers if one.unloadable),
    )


def _digests(known: tuple[KnownDigest, ...]) -> tuple[v.DigestLine, ...]:
    """Each value once with all its sources; the computed ones of a digest first."""
    sources: dict[tuple[str, str], list[str]] = defaultdict(list)
    for digest in known:
        if not digest.contradicts:
            sources[digest.digest, digest.value].append(digest.source)
    order = list(DIGEST_LABELS)
    lines = sorted(sources.items(), key=lambda item: (order.index(item[0][0]), "computed" not in item[1]))
    return tuple(
        v.DigestLine(DIGEST_LABELS[digest], value, "; ".join(map(words.source_text, sorted(set(said)))))
        for (digest, value), said in lines
    )


def _contradictions(found: ModelDetailsAnswer) -> tuple[v.Contradiction, ...]:
    computed = {digest.digest: digest.value for digest in found.digests if digest.source == "computed"}
    return tuple(
        v.Contradiction(
            words.source_text(digest.source),
            DIGEST_LABELS[digest.digest],
            digest.value,
            computed.get(digest.digest, "another value"),
        )
        for digest in found.digests
        if digest.contradicts
    )


def _places(server: ServerAvailability, live: Presence) -> list[v.Place]:
    """A line for each file; a server that had the model gets one line that says so."""
    reachable = live.is_reachable(server.server_id)
    since_ms = live.last_contact_ms(server.server_id)
    if not server.files:
        if server.availability == "unknown":
            return []
        return [
            v.Place(
                server.alias,
                "",
                "",
                words.cell_mark(server.availability, reachable=reachable),
                None,
                since_ms,
            )
        ]
    places = []
    for file in server.files:
        mark = words.file_mark(file.state, probably=True)
        if not reachable:
            mark = "away"
        elif file.root_health != "healthy":
            mark = "folder"
        shown_since = since_ms if mark == "away" else None
        places.append(v.Place(server.alias, file.label or file.root, file.path, mark, file.size, shown_since))
    return places


def _history(connection: Connection, model_id: int) -> tuple[v.HistoryLine, ...]:
    events = list_events(connection, model_id=model_id, limit=HISTORY_SHOWN, newest_first=True)
    return tuple(
        v.HistoryLine(event.at_ms, words.event_text(event.action, event.details), event.alias or "")
        for event in events
    )
