"""Jobs that wait for a model, grouped by it, with what to copy by hand. Reads only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from stablequeue_client.requirements import KINDS_OF
from stablequeue_client.ui import job_values as jv
from stablequeue_hub.availability import ModelMatch, availability_of_many
from stablequeue_hub.job_requirements import HERE
from stablequeue_hub.job_stored import StoredRequirement
from stablequeue_hub.job_waiting import read_among, waiting_of
from stablequeue_hub.queue_rows import WaitingKind, waiting_kinds
from stablequeue_hub.waiting_facts import ServerFacts
from stablequeue_hub.waiting_words import shown_name

if TYPE_CHECKING:
    from stablequeue_hub.presence import Live

KINDS_MAX = 2_000
GROUPS_MAX = 100
SOURCES_SHOWN = 5


@dataclass
class _Group:
    one: StoredRequirement
    why: str
    job_id: str
    jobs: int = 0
    deadline_ms: int | None = None
    allowed: set[str] = field(default_factory=set)

    def take(self, kind: WaitingKind, allowed: frozenset[str]) -> None:
        self.jobs += kind.number
        self.allowed |= allowed
        known = [ms for ms in (self.deadline_ms, kind.deadline_ms) if ms is not None]
        self.deadline_ms = min(known, default=None)


def model_groups(
    connection: Connection, live: Live, servers: Mapping[str, ServerFacts], *, now_ms: int
) -> tuple[tuple[jv.ModelGroup, ...], int]:
    """The models for which most jobs wait first, and how many kinds of jobs were not looked at."""
    kinds, left_out = waiting_kinds(connection, KINDS_MAX)
    groups = _grouped(connection, kinds, servers)
    most = sorted(groups, key=lambda group: -group.jobs)[:GROUPS_MAX]
    contents = list(dict.fromkeys(group.one.sha256 for group in most if group.one.sha256))
    answers = availability_of_many(connection, contents, live, now_ms=now_ms) if contents else []
    matches = {answer.query: answer.matches[0] for answer in answers if answer.matches}
    return tuple(_value(group, matches.get(group.one.sha256 or ""), servers) for group in most), left_out


def _grouped(
    connection: Connection, kinds: Sequence[WaitingKind], servers: Mapping[str, ServerFacts]
) -> list[_Group]:
    read = read_among(connection, [kind.job for kind in kinds], servers)
    everybody = frozenset(servers)
    groups: dict[tuple[object, ...], _Group] = {}
    for kind in kinds:
        requirements = read.payloads[kind.job.payload_id].requirements
        waiting = waiting_of(read, kind.job, None)
        targets = kind.job.targets
        for place in waiting.blocking:
            one = requirements[place]
            key = (one.sha256,) if one.sha256 else (KINDS_OF[one.role], one.name, one.hash)
            group = groups.setdefault(key, _Group(one, _why(waiting.text), kind.job.job_id))
            group.take(kind, everybody if targets is None else everybody & targets)
    return list(groups.values())


def _why(text: str) -> str:
    """The half of the sentence that does not name the model again."""
    name, colon, rest = text.partition(": ")
    return rest if colon and name.startswith("Waits for") else text


def _value(group: _Group, match: ModelMatch | None, servers: Mapping[str, ServerFacts]) -> jv.ModelGroup:
    have = [entry for entry in match.servers if entry.availability in HERE] if match else []
    sources = [
        jv.CopySource(
            entry.alias,
            servers[entry.server_id].reachable if entry.server_id in servers else False,
            file.label or file.root,
            file.path,
            file.size,
        )
        for entry in sorted(have, key=lambda entry: entry.availability != "available")
        for file in entry.files[:1]
    ]
    holders = {entry.server_id for entry in have}
    return jv.ModelGroup(
        role=group.one.role,
        name=shown_name(group.one),
        jobs=group.jobs,
        why=group.why,
        job_id=group.job_id,
        sha256=group.one.sha256 or "",
        kind=match.type if match else "",
        size=match.size if match else None,
        sources=tuple(sources[:SOURCES_SHOWN]),
        lacking=tuple(
            server.alias
            for server_id, server in servers.items()
            if server_id in group.allowed and server_id not in holders
        ),
        deadline_ms=group.deadline_ms,
    )
