"""Resolves the models of waiting jobs again when an inventory changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.generation.requirements import Requirement
from stablequeue_client.shared.model_files.roles import Role
from stablequeue_client.shared.wire.jobs import RequirementStatus
from stablequeue_hub.events.events import details_text
from stablequeue_hub.matching.resolve import resolve
from stablequeue_hub.store.bulk import change_rows, insert_rows, slices
from stablequeue_hub.store.prepared import Prepared, in_list
from stablequeue_hub.store.tables import events as events_table
from stablequeue_hub.store.tables import job_payloads, job_requirements, jobs

if TYPE_CHECKING:
    from stablequeue_hub.servers.presence import Live

UNRESOLVED: tuple[RequirementStatus, ...] = ("missing", "ambiguous", "unhashed")
AT_ONCE = 400
"""Names looked up in one step; each may be two questions (a VAE or a text encoder), of 1,000 at most."""


class _Named(NamedTuple):
    """A name as it was written, and where; everywhere the same answer."""

    role: Role
    name: str
    hash: str | None
    source_id: str | None


class _Place(NamedTuple):
    """A row of ``job_requirements``, and what it says now."""

    payload_id: int
    place: int
    status: str
    sha256: str | None


class _Answer(NamedTuple):
    status: RequirementStatus
    sha256: str | None


_WAITS = sa.exists().where(jobs.c.payload_id == job_requirements.c.payload_id, jobs.c.state == "pending")
_UNRESOLVED = Prepared(
    sa.select(
        job_requirements.c.role,
        job_requirements.c.name,
        job_requirements.c.hash,
        job_payloads.c.source_server_id,
        job_requirements.c.payload_id,
        job_requirements.c.place,
        job_requirements.c.status,
        job_requirements.c.sha256,
    )
    .join_from(job_requirements, job_payloads, job_payloads.c.id == job_requirements.c.payload_id)
    .where(in_list(job_requirements.c.status, "statuses"), _WAITS)
    .order_by(job_requirements.c.payload_id, job_requirements.c.place)
)
_PENDING = Prepared(
    sa.select(jobs.c.payload_id, jobs.c.job_id)
    .where(in_list(jobs.c.payload_id, "payloads"), jobs.c.state == "pending")
    .order_by(jobs.c.seq)
)


def changed_names(connection: Connection, live: Live, now_ms: int) -> set[_Named]:
    """Return the names in waiting jobs that resolve differently now. Reads only: there may be thousands."""
    places = _unresolved(connection)
    return {named for named, _, _ in _changes(connection, places, live, now_ms)}


def resolve_waiting(
    connection: Connection, live: Live, now_ms: int, only: Collection[_Named] | None = None
) -> list[str]:
    """Look up again what waiting jobs name and nobody had, or not as one content (or those of ``only``); the
    jobs for which the answer is another now. Each of them gets an event for each model."""
    places = _unresolved(connection)
    if only is not None:
        places = {named: several for named, several in places.items() if named in only}
    changed = [(place, answer) for _, place, answer in _changes(connection, places, live, now_ms)]
    return _store(connection, changed, now_ms) if changed else []


def _unresolved(connection: Connection) -> dict[_Named, list[_Place]]:
    places: dict[_Named, list[_Place]] = defaultdict(list)
    for role, name, hash_, source_id, *row in _UNRESOLVED.all(connection, {"statuses": list(UNRESOLVED)}):
        places[_Named(role, name, hash_, source_id)].append(_Place(*row))
    return places


def _changes(
    connection: Connection, places: Mapping[_Named, list[_Place]], live: Live, now_ms: int
) -> list[tuple[_Named, _Place, _Answer]]:
    answers = _answers(connection, places, live, now_ms)
    return [
        (named, place, answers[named])
        for named, several in places.items()
        for place in several
        if answers[named] != (place.status, place.sha256)
    ]


def _answers(
    connection: Connection, wanted: Iterable[_Named], live: Live, now_ms: int
) -> dict[_Named, _Answer]:
    by_source: dict[str | None, list[_Named]] = defaultdict(list)
    for named in wanted:
        by_source[named.source_id].append(named)
    answers = {}
    for source_id, several in by_source.items():
        for part in slices(several, AT_ONCE):
            written = [Requirement(named.role, named.name, named.hash) for named in part]
            found = resolve(connection, written, source_id, live, now_ms=now_ms)
            for named, requirement in zip(part, found, strict=True):
                check = requirement.as_check()
                answers[named] = _Answer(check.status, check.sha256)
    return answers


def _store(connection: Connection, changed: list[tuple[_Place, _Answer]], now_ms: int) -> list[str]:
    change_rows(
        connection,
        "UPDATE job_requirements SET status = ?, sha256 = ? WHERE payload_id = ? AND place = ?",
        [(*answer, place.payload_id, place.place) for place, answer in changed],
    )
    waiting = _pending_of(connection, {place.payload_id for place, _ in changed})
    insert_rows(
        connection,
        events_table,
        ("at_ms", "action", "actor", "job_id", "details_json"),
        [
            (
                now_ms,
                f"job_model_{answer.status}",
                "hub",
                job_id,
                details_text({"requirement": place.place, "sha256": answer.sha256}),
            )
            for place, answer in changed
            for job_id in waiting[place.payload_id]
        ],
    )
    return list(dict.fromkeys(job_id for place, _ in changed for job_id in waiting[place.payload_id]))


def _pending_of(connection: Connection, payload_ids: Iterable[int]) -> Mapping[int, list[str]]:
    waiting: dict[int, list[str]] = defaultdict(list)
    for part in slices(sorted(payload_ids)):
        for payload_id, job_id in _PENDING.all(connection, {"payloads": part}):
            waiting[payload_id].append(job_id)
    return waiting
