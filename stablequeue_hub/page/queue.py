"""The queue as the value of its view. Reads only."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.views import job_values as jv
from stablequeue_client.shared.views import values as v
from stablequeue_hub.access.actors import actor_names
from stablequeue_hub.access.keys import Principal
from stablequeue_hub.jobs.queue_rows import OPEN, QueueFilter, QueueRow, queue_rows
from stablequeue_hub.jobs.states import JOB_STATES
from stablequeue_hub.matching.sentence import Waiting, shown_name
from stablequeue_hub.matching.server_facts import DispatchView, ServerFacts, servers_now
from stablequeue_hub.matching.why import QueueContext, load_context_with
from stablequeue_hub.page.missing_models import model_groups
from stablequeue_hub.store.prepared import Prepared, in_list
from stablequeue_hub.store.tables import job_pictures, keys

if TYPE_CHECKING:
    from stablequeue_hub.servers.presence import Live

PAGE_SIZE = 50
TITLE_MAX = 90
TEXT_MAX = 200
_STATES = ("", "models", "all", *JOB_STATES)
_NETWORK = re.compile(r"<\w+:[^>]*>")
_PICTURES = Prepared(
    sa.select(job_pictures.c.job_id, sa.func.count())
    .where(in_list(job_pictures.c.job_id, "ids"))
    .group_by(job_pictures.c.job_id)
)
_KEYS = Prepared(
    sa.select(keys.c.key_id).where(
        keys.c.revoked_ms.is_(None), sa.or_(keys.c.scope == "admin", keys.c.scope == "jobs")
    )
)
_decode_targets = msgspec.json.Decoder(list[str]).decode


@dataclass(frozen=True)
class Viewer:
    """Who looks: what is theirs, and whether they may change what is not."""

    scope: str
    actor: str

    @classmethod
    def of(cls, principal: Principal) -> Viewer:
        return cls(principal.scope, principal.actor)

    @property
    def is_admin(self) -> bool:
        return self.scope == "admin"

    @property
    def may_submit(self) -> bool:
        return self.scope in ("admin", "jobs", "server")

    def may_pause(self, server_id: str) -> bool:
        return self.is_admin or self.actor == f"server:{server_id}"

    def may_change(self, submitted_by: str) -> bool:
        return self.is_admin or (self.may_submit and submitted_by == self.actor)


def filters_of(query: Mapping[str, str]) -> jv.QueueFilters:
    """The filters in an address; what cannot be is left out."""
    page, state = query.get("page", "1"), query.get("state", "")
    return jv.QueueFilters(
        state=state if state in _STATES else "",
        text=query.get("text", "").strip()[:TEXT_MAX].replace("\x00", ""),
        server=query.get("server", "")[:64].replace("\x00", ""),
        submitter=query.get("submitter", "")[:100].replace("\x00", ""),
        starred="1" if query.get("starred") else "",
        page=max(1, int(page)) if page.isdecimal() and len(page) <= 6 else 1,
    )


def queue_page(
    connection: Connection,
    filters: jv.QueueFilters,
    live: Live,
    dispatch: DispatchView,
    viewer: Viewer,
    *,
    now_ms: int,
) -> jv.QueuePage:
    """One page of jobs; or what they wait for, by model."""
    wanted = QueueFilter(
        _states(filters.state), filters.text, filters.server, filters.submitter, bool(filters.starred)
    )
    grouped = filters.state == "models"
    listed = queue_rows(connection, wanted, 1 if grouped else filters.page, 1 if grouped else PAGE_SIZE)
    pending = [row.as_pending() for row in listed.rows if row.state == "pending"]
    servers = servers_now(connection, live)
    groups, groups_total = model_groups(connection, live, now_ms=now_ms) if grouped else ((), 0)
    context = load_context_with(connection, pending, servers, [row.payload_id for row in listed.rows])
    choices = _submitters(connection, servers, filters.submitter)
    aliases = {server_id: server.alias for server_id, server in servers.items()}
    names = actor_names(connection, choices.union(row.submitted_by for row in listed.rows), aliases)
    rows = (
        ()
        if grouped
        else shown_rows(connection, listed.rows, WaitReasons(context, dispatch), dispatch, viewer, names)
    )
    return jv.QueuePage(
        rows=rows,
        total=listed.total,
        counts=tuple(listed.counts.items()),
        filters=filters,
        page_size=PAGE_SIZE,
        servers=_servers(servers, viewer),
        submitters=tuple(
            v.Choice(actor, names[actor]) for actor in sorted(choices, key=lambda one: names[one].lower())
        ),
        groups=groups,
        groups_total=groups_total,
        paused=context.judge.queue_paused,
        may_pause=viewer.is_admin,
        may_submit=viewer.may_submit,
    )


def _states(state: str) -> tuple[str, ...]:
    if state in JOB_STATES:
        return (state,)
    return JOB_STATES if state == "all" else OPEN


def shown_rows(
    connection: Connection,
    rows: Sequence[QueueRow],
    wait_reasons: WaitReasons,
    dispatch: DispatchView,
    viewer: Viewer,
    names: Mapping[str, str],
) -> tuple[jv.JobRow, ...]:
    """As the lists show them. ``names``: of those who submitted them."""
    context = wait_reasons.context
    ids = [row.job_id for row in rows if row.state != "pending"]
    pictures = dict(_PICTURES.all(connection, {"ids": ids})) if ids else {}
    found = []
    may_change = {one: viewer.may_change(one) for one in {row.submitted_by for row in rows}}
    for row in rows:
        waiting = wait_reasons.of(row)
        targets = _decode_targets(row.targets_json) if row.targets_json else []
        found.append(
            jv.JobRow(
                job_id=row.job_id,
                title=title_of(row.name, row.prompt),
                state=row.state,  # type: ignore[arg-type]
                created_ms=row.created_ms,
                submitted_by=names[row.submitted_by],
                needs=wait_reasons.needs(row),
                waiting=waiting.text,
                in_line=row.state == "pending" and waiting.code is None,
                progress=dispatch.progress(row.job_id) if row.state == "processing" else None,
                server=_alias(context, row.server_id),
                targets=tuple(_alias(context, target) for target in targets),
                priority=row.priority,
                starred=bool(row.starred),
                picture=row.job_id in pictures,
                pictures=pictures.get(row.job_id, 0),
                outcome=row.outcome or "",
                failure=row.failure_text or "" if row.state == "failed" else "",
                ended_ms=row.ended_ms,
                may_change=may_change[row.submitted_by],
                may_retry=row.state == "pending" and (row.refusals > 0 or row.job_id in context.exclusions),
            )
        )
    return tuple(found)


class WaitReasons:
    """What jobs wait for, asked in their order. Those of a batch lie together and mostly wait for the same,
    which is found once."""

    def __init__(self, context: QueueContext, dispatch: DispatchView) -> None:
        self.context = context
        self._dispatch = dispatch
        self._needs: dict[tuple[int, str | None, bool], tuple[jv.NeedChip, ...]] = {}
        self._alike: dict[Hashable, Waiting] = {}

    def of(self, row: QueueRow) -> Waiting:
        """Return what the job waits for; nothing unless it is pending."""
        if row.state != "pending":
            return Waiting("")
        job = row.as_pending()
        alike = self.context.alike(job)
        known = self._alike.get(alike)
        if known is None:
            known = self._alike[alike] = self.context.waiting(job)
        return self.context.in_line(known, row.job_id, self._dispatch)

    def needs(self, row: QueueRow) -> tuple[jv.NeedChip, ...]:
        """Return the models of a job, with what is known of them while it waits."""
        alike = (row.payload_id, row.targets_json, row.state == "pending")
        known = self._needs.get(alike)
        if known is None:
            known = self._needs[alike] = self._chips(row)
        return known

    def _chips(self, row: QueueRow) -> tuple[jv.NeedChip, ...]:
        needs = self.context.needs.get(row.payload_id)
        if needs is None:
            return ()
        marks: Sequence[jv.NeedMark] = ["plain"] * len(needs.requirements)
        if row.state == "pending":
            marks = self.context.sentences.marks(needs, row.as_pending().targets)
        return tuple(
            jv.NeedChip(mark, one.role, shown_name(one), one.sha256 or "")
            for one, mark in zip(needs.requirements, marks, strict=True)
        )


@lru_cache(maxsize=4_096)
def title_of(name: str, prompt: str) -> str:
    """The name of a job, or how its prompt begins, without the networks in it."""
    words = name or " ".join(_NETWORK.sub(" ", prompt).split()) or " ".join(prompt.split())
    words = words.strip(" ,")
    if len(words) > TITLE_MAX:
        return f"{words[: TITLE_MAX - 1].rstrip()}…"
    return words or "Without a prompt"


def _alias(context: QueueContext, server_id: str | None) -> str:
    if server_id is None:
        return ""
    server = context.judge.servers.get(server_id)
    return server.alias if server else "a removed server"


def _servers(servers: Mapping[str, ServerFacts], viewer: Viewer) -> tuple[jv.QueueServerRow, ...]:
    found = []
    for server_id, server in servers.items():
        job_id, name, prompt = server.works_on or ("", "", "")
        found.append(
            jv.QueueServerRow(
                server_id,
                server.alias,
                server.reachable,
                server.paused,
                _why_idle(server),
                title_of(name, prompt) if job_id else "",
                job_id,
                viewer.may_pause(server_id),
                server.runner.in_cooldown,
            )
        )
    return tuple(found)


def _why_idle(server: ServerFacts) -> str:
    """Return why it makes no pictures; "" where its runner polls."""
    if server.no_webui:
        return "makes no pictures: only the agent runs there"
    return "" if server.runner.polling else "accepts no jobs: StableQueue is not running in a WebUI there"


def _submitters(connection: Connection, servers: Iterable[str], chosen: str) -> set[str]:
    """Return everybody who could have submitted; asking the jobs would read all of them."""
    keys_now = (f"key:{key_id}" for (key_id,) in _KEYS.all(connection, {}))
    its_servers = (f"server:{server_id}" for server_id in servers)
    return {"page", *keys_now, *its_servers, *([chosen] if chosen else [])}
