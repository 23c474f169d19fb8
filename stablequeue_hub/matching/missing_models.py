"""Jobs that wait for one model, together: how many, until when, and what to copy from where to where."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.model_files.model_file import search_key
from stablequeue_client.shared.model_files.roles import KINDS_OF, Role
from stablequeue_client.shared.wire.jobs import ReasonCode
from stablequeue_client.shared.wire.queue import ModelCopy, ModelPlace, WaitingGroup, WaitingGroups
from stablequeue_hub.matching.job_requirements import JobRequirement
from stablequeue_hub.matching.sentence import shown_name
from stablequeue_hub.matching.why import PendingJobRow, QueueContext, load_context
from stablequeue_hub.models.availability import ServerAvailability, servers_of
from stablequeue_hub.servers.presence import Live
from stablequeue_hub.store.bulk import slices
from stablequeue_hub.store.prepared import Prepared, in_list
from stablequeue_hub.store.tables import jobs, models, server_roots

GROUPS_MAX = 200
IDS_SHOWN = 20
_CODES: dict[str, ReasonCode] = {"ambiguous": "model_ambiguous", "unhashed": "model_unhashed"}
_PENDING = Prepared(
    sa.select(*[jobs.c[name] for name in PendingJobRow._fields], jobs.c.deadline_ms)
    .where(jobs.c.state == "pending")
    .order_by(jobs.c.seq)
)
_MODELS = Prepared(
    sa.select(models.c.id, models.c.hash_sha256, models.c.type).where(in_list(models.c.hash_sha256, "values"))
)
_FOLDERS = Prepared(
    sa.select(server_roots.c.server_id, server_roots.c.kind, server_roots.c.label, server_roots.c.root_id)
    .where(server_roots.c.health == "healthy", server_roots.c.rejected.is_(None))
    .order_by(server_roots.c.server_id, server_roots.c.label, server_roots.c.root_id)
)


class _Model(NamedTuple):
    """What is waited for: a content, or a name of a role."""

    role: Role
    sha256: str | None
    key: str


@dataclass
class _Group:
    name: str
    code: str
    job_ids: list[str] = field(default_factory=list)
    deadlines: list[int] = field(default_factory=list)
    could_run: set[str] = field(default_factory=set)
    allowed: set[str] = field(default_factory=set)


def waiting_groups(connection: Connection, live: Live, *, now_ms: int, limit: int = 50) -> WaitingGroups:
    """The ``limit`` (<= 200) groups with most jobs. A job that lacks several models is in several groups."""
    rows = _PENDING.all(connection, {})
    pending = [PendingJobRow(*row[:-1]) for row in rows]
    context = load_context(connection, pending, live)
    groups = _grouped(context, pending, [row[-1] for row in rows])
    most = sorted(groups.items(), key=lambda item: (-len(item[1].job_ids), item[1].name))[:limit]
    known = _known_models(connection, [model.sha256 for model, _ in most if model.sha256])
    held = servers_of(connection, [model_id for model_id, _ in known.values()], live, now_ms=now_ms)
    folders = _folders(connection)
    found = []
    for model, group in most:
        model_id, kind = known.get(model.sha256 or "", (None, ""))
        there = held[model_id] if model_id is not None else ()
        found.append(_shown(model, group, kind, there, folders, context))
    return WaitingGroups(len(groups), found)


def jobs_that_lack_models(connection: Connection, live: Live) -> set[int]:
    """The numbers (``seq``) of waiting jobs that run nowhere as long as no other model comes."""
    pending = [PendingJobRow(*row[:-1]) for row in _PENDING.all(connection, {})]
    context = load_context(connection, pending, live)
    judged: dict[Hashable, bool] = {}
    found = set()
    for job in pending:
        alike = context.alike(job)
        if alike not in judged:
            judged[alike] = context.sentences.lacks_models(context.query(job))
        if judged[alike]:
            found.add(job.seq)
    return found


class WayOut(NamedTuple):
    """Contents with which jobs that wait could run on any of these servers."""

    contents: frozenset[str]
    targets: frozenset[str]


def ways_out(connection: Connection, live: Live) -> list[tuple[WayOut, ...]]:
    """For jobs that wait for models and nothing else what would help them, any one way of each; jobs that
    wait for the same once. Only exact contents: never claims, nor names that mean several."""
    pending = [PendingJobRow(*row[:-1]) for row in _PENDING.all(connection, {})]
    context = load_context(connection, pending, live)
    alike = {context.alike(job): job for job in pending}
    found: dict[tuple[WayOut, ...], None] = {}
    for job in alike.values():
        needs, query = context.needs[job.payload_id], context.query(job)
        if not context.sentences.lacks_models(query):
            continue
        ways = []
        for places in context.sentences.lacking(query, context.sentences.waiting(query).blocking):
            contents = [needs.requirements[place].content for place in places]
            targets = context.sentences.able_without(query, places)
            if targets and None not in contents:
                ways.append(WayOut(frozenset(one for one in contents if one), targets))
        if ways:
            found[tuple(ways)] = None
    return list(found)


def _grouped(
    context: QueueContext, pending: Sequence[PendingJobRow], deadlines: Sequence[int | None]
) -> dict[_Model, _Group]:
    groups: dict[_Model, _Group] = {}
    judged: dict[Hashable, list[_Group]] = {}
    for job, deadline_ms in zip(pending, deadlines, strict=True):
        alike = context.alike(job)
        if alike not in judged:
            judged[alike] = _groups_of(context, job, groups)
        for group in judged[alike]:
            group.job_ids.append(job.job_id)
            if deadline_ms is not None:
                group.deadlines.append(deadline_ms)
    return {model: group for model, group in groups.items() if group.job_ids}


def _groups_of(context: QueueContext, job: PendingJobRow, groups: dict[_Model, _Group]) -> list[_Group]:
    """The groups to which a job belongs; a new one is put into ``groups``."""
    needs, sentences = context.needs[job.payload_id], context.sentences
    query = context.query(job)
    if not sentences.lacks_models(query):
        return []
    waiting = sentences.waiting(query)
    found_one: ReasonCode = "model_unreachable" if waiting.code == "model_unreachable" else "model_missing"
    found: list[_Group] = []
    for places in sentences.lacking(query, waiting.blocking):
        for place in places:
            requirement = needs.requirements[place]
            same = [other for other in places if _is_same(needs.requirements[other], requirement)]
            new = _Group(shown_name(requirement), _CODES.get(requirement.status, found_one))
            group = groups.setdefault(_model_of(requirement), new)
            group.could_run |= sentences.able_without(query, same)
            group.allowed |= context.judge.allowed(query.targets)
            if all(group is not other for other in found):
                found.append(group)
    return found


def _is_same(one: JobRequirement, other: JobRequirement) -> bool:
    """One file would do for both, such as a VAE that two settings name."""
    alike = (one.sha256, one.name, one.hash) == (other.sha256, other.name, other.hash)
    return alike and bool(set(one.kinds) & set(other.kinds))


def _model_of(requirement: JobRequirement) -> _Model:
    if requirement.sha256 is not None:
        return _Model(requirement.role, requirement.sha256, "")
    return _Model(requirement.role, None, search_key(f"{requirement.name} {requirement.hash or ''}"))


def _known_models(connection: Connection, contents: Iterable[str]) -> dict[str, tuple[int, str]]:
    """Row id and kind by SHA256."""
    return {
        sha256: (model_id, kind)
        for part in slices(sorted(set(contents)))
        for model_id, sha256, kind in _MODELS.all(connection, {"values": part})
    }


def _folders(connection: Connection) -> Mapping[tuple[str, str], list[str]]:
    """(server, kind) -> its connected folders of that kind."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for server_id, kind, label, root_id in _FOLDERS.all(connection, {}):
        found[(server_id, kind)].append(label or root_id)
    return found


def _shown(
    model: _Model,
    group: _Group,
    kind: str,
    there: Collection[ServerAvailability],
    folders: Mapping[tuple[str, str], list[str]],
    context: QueueContext,
) -> WaitingGroup:
    copies = [
        ModelCopy(entry.server_id, entry.alias, file.label, file.path, file.size)
        for entry in there
        for file in entry.files
        if file.state == "ready" and entry.availability in ("available", "unreachable")
    ]
    have = {copy.server_id for copy in copies}
    kinds = (kind,) if kind else KINDS_OF[model.role]
    places = [
        ModelPlace(
            server_id,
            server.alias,
            server_id in group.could_run,
            [label for one in kinds for label in folders.get((server_id, one), [])],
        )
        for server_id, server in context.judge.servers.items()
        if server_id in group.allowed and server_id not in have and not server.no_agent
    ]
    return WaitingGroup(
        kinds[0],
        group.name,
        model.sha256,
        group.code,
        len(group.job_ids),
        group.job_ids[:IDS_SHOWN],
        min(group.deadlines, default=None),
        copies,
        places,
    )
