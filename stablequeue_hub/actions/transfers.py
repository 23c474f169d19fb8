"""What is done with copies of models: planned, accepted, cancelled, claimed, reported, refused.

The hub plans; the target's agent fetches and writes; each owner's policy counts, here and on the machine.
After each step the servers that have something to do are told with their next heartbeat.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from sqlalchemy import Connection

from stablequeue_client.shared.errors import (
    ForbiddenError,
    InvalidValueError,
    NoSourceError,
    NotFoundError,
    ReceiveNeverError,
    StableQueueError,
    StaleTransferError,
    TransferStateError,
)
from stablequeue_client.shared.wire.transfers import (
    ReportAnswer,
    SourceRefusal,
    TransferInfo,
    TransferOrder,
    TransferPolicy,
    TransferReport,
    TransferRequest,
    TransferState,
    WantedChunk,
)
from stablequeue_hub.access.keys import Principal
from stablequeue_hub.errors import unknown_server
from stablequeue_hub.hub import Hub
from stablequeue_hub.matching.missing_models import WayOut, ways_out
from stablequeue_hub.servers.known_servers import known_servers
from stablequeue_hub.servers.servers import server_named
from stablequeue_hub.servers.transfer_policy import NOTHING, store_policy, transfer_policies
from stablequeue_hub.transfers import rows
from stablequeue_hub.transfers.rows import TransferRow, change_transfer
from stablequeue_hub.transfers.sources import Source, choose_source
from stablequeue_hub.transfers.states import CLAIMED, UNDER_WAY

BY_ITSELF = frozenset({"peers", "all"})
NOT_AGAIN_MS = 24 * 3_600_000
"""A copy that failed or was cancelled is not planned for jobs again so soon."""
LOOK_SHARE = 20.0
"""What jobs wait for is looked up again after so many times as long as that took."""
SETTLES_MS = 10 * 60_000
"""After a copy is done, until its server has told what it has now."""
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


async def receive_transfer_policy(hub: Hub, server_id: str, policy: TransferPolicy) -> None:
    """What the owner of a server allows. Raises NotFoundError."""
    now_ms = hub.clock.now_ms()
    await hub.writing(lambda connection: store_policy(connection, server_id, policy, now_ms=now_ms))


# --- a person ---------------------------------------------------------------------------------------------


async def plan_transfer(hub: Hub, who: Principal, wanted: TransferRequest) -> TransferInfo:
    """Have a content copied to a server; one under way already is answered, and accepted if it waits for
    that. Raises InvalidValueError, NotFoundError, ForbiddenError, ReceiveNeverError, NoSourceError."""
    sha256, now_ms = wanted.sha256.strip().lower(), hub.clock.now_ms()
    if not _SHA256.match(sha256):
        raise InvalidValueError("sha256 must have 64 hex digits.", remedy="Give the model's full SHA256.")

    def work(connection: Connection) -> int:
        target_id = server_named(connection, wanted.target)
        if target_id is None:
            raise unknown_server(wanted.target)
        _require_owner(who, target_id)
        policies = transfer_policies(connection)
        if policies.get(target_id, NOTHING).receive == "never":
            raise ReceiveNeverError
        for row in rows.under_way(connection):
            if (row.sha256, row.target_id) == (sha256, target_id):
                _accept(connection, row, who.actor, now_ms)
                return row.id
        source = choose_source(connection, sha256, target_id, policies, hub.presence)
        state: TransferState = "planned" if source.server_id is None else "waiting"
        return rows.add_transfer(
            connection, sha256, target_id, state, source.file,
            source_id=source.server_id, actor=who.actor, by_person=True, text=source.text, now_ms=now_ms,
        )  # fmt: skip

    return await _shown(hub, await hub.writing(work))


async def accept_transfer(hub: Hub, who: Principal, transfer_id: int) -> TransferInfo:
    """Let a copy begin that waits for a person. Raises NotFoundError, ForbiddenError, TransferStateError."""
    now_ms = hub.clock.now_ms()

    def work(connection: Connection) -> None:
        row = rows.find_transfer(connection, transfer_id)
        _require_owner(who, row.target_id)
        if row.state not in UNDER_WAY:
            raise TransferStateError(f"The copy is {row.state}.")
        _accept(connection, row, who.actor, now_ms)

    await hub.writing(work)
    return await _shown(hub, transfer_id)


async def cancel_transfer(hub: Hub, who: Principal, transfer_id: int) -> TransferInfo:
    """End a copy; what came of it is removed at its target. Raises NotFoundError, ForbiddenError,
    TransferStateError."""
    now_ms = hub.clock.now_ms()

    def work(connection: Connection) -> None:
        row = rows.find_transfer(connection, transfer_id)
        _require_owner(who, row.target_id)
        change_transfer(connection, row, "cancelled", actor=who.actor, now_ms=now_ms)

    await hub.writing(work)
    return await _shown(hub, transfer_id)


def _require_owner(who: Principal, target_id: str) -> None:
    if who.server_id is not None and who.server_id != target_id:
        raise ForbiddenError("A server's key is for copies to that server only.")


def _accept(connection: Connection, row: TransferRow, actor: str, now_ms: int) -> None:
    if row.state == "asked":
        change_transfer(connection, row, "waiting", actor=actor, now_ms=now_ms, by_person=1)


async def _shown(hub: Hub, transfer_id: int) -> TransferInfo:
    await _tell(hub, transfer_id)
    (info,) = await hub.reading(lambda connection: rows.list_transfers(connection, [transfer_id]))
    return info


async def _tell(hub: Hub, *changed: int) -> None:
    """Whoever waited for a piece of these asks again; the servers concerned learn of it."""
    hub.relay.end(changed)
    hub.relay.concerned = await hub.reading(
        lambda connection: rows.concerned_servers(rows.under_way(connection))
    )


# --- the target -------------------------------------------------------------------------------------------


async def claim_transfer(hub: Hub, server_id: str) -> TransferOrder | None:
    """The copy that this server is to fetch now: the one that it had begun, else the oldest that waits."""
    now_ms = hub.clock.now_ms()

    def work(connection: Connection) -> TransferOrder | None:
        mine = [
            row
            for row in rows.under_way(connection)
            if row.target_id == server_id and (row.state in CLAIMED or row.state == "waiting")
        ]
        if not mine:
            return None
        row = min(mine, key=lambda one: (one.state not in CLAIMED, one.id))
        fence = row.fence + 1
        change_transfer(connection, row, "running", actor=f"server:{server_id}", now_ms=now_ms, fence=fence)
        servers = known_servers(connection, hub.presence, [row.source_id or ""])
        source = servers[row.source_id].alias if row.source_id in servers else ""
        return TransferOrder(
            row.id, fence, row.sha256, row.size, row.kind, row.name, bool(row.by_person), source
        )

    order = await hub.writing(work)
    if order is not None:
        await _tell(hub, order.transfer_id)
    return order


async def receive_chunk(
    hub: Hub, server_id: str, transfer_id: int, fence: int, offset: int, length: int, wait_s: float
) -> bytes:
    """A range of a copy that this server fetches. Raises StaleTransferError, NotFoundError,
    InvalidValueError."""
    row = await hub.reading(lambda connection: rows.claimed_by(connection, transfer_id, server_id, fence))
    if row.source_id is None or offset + length > row.size:
        raise InvalidValueError("There are no such bytes in the file.")
    chunk = WantedChunk(transfer_id, fence, row.sha256, offset, length)
    return await hub.relay.receive(row.source_id, chunk, wait_s)


async def receive_report(hub: Hub, server_id: str, transfer_id: int, report: TransferReport) -> ReportAnswer:
    """How a copy goes. Raises NotFoundError."""
    now_ms, actor = hub.clock.now_ms(), f"server:{server_id}"

    def work(connection: Connection) -> ReportAnswer:
        try:
            row = rows.claimed_by(connection, transfer_id, server_id, report.fence)
        except StaleTransferError:
            row = rows.find_transfer(connection, transfer_id)
            mine = row.target_id == server_id
            return ReportAnswer(stop=True, discard=mine and row.state == "cancelled")
        if report.state == "running" or (report.state == "verifying" and row.state == "verifying"):
            rows.note_progress(
                connection, row, bytes_done=report.bytes_done, bytes_per_s=report.bytes_per_s, now_ms=now_ms
            )
        elif report.state == "verifying":
            change_transfer(connection, row, "verifying", actor=actor, now_ms=now_ms, bytes_done=row.size)
        elif report.state == "done":
            change_transfer(
                connection, row, "done", actor=actor, now_ms=now_ms, bytes_done=row.size, path=report.path
            )
        elif report.code == "wrong_content":
            _without_source(connection, hub, row, report.code, report.text, actor, now_ms)
        else:
            _fail(connection, row, report.code, report.text, actor, now_ms)
        return ReportAnswer()

    answer = await hub.writing(work)
    if report.state in ("done", "failed"):
        await _tell(hub, transfer_id)
    return answer


def _fail(connection: Connection, row: TransferRow, code: str, text: str, actor: str, now_ms: int) -> None:
    change_transfer(
        connection, row, "failed", actor=actor, now_ms=now_ms, failure=code or "failed", text=text
    )


def _without_source(
    connection: Connection, hub: Hub, row: TransferRow, code: str, text: str, actor: str, now_ms: int
) -> None:
    """Its source cannot be used for it: another one, or the end."""
    unfit = rows.unfit_sources(row, row.source_id)
    policies = transfer_policies(connection)
    try:
        source = choose_source(
            connection, row.sha256, row.target_id, policies, hub.presence, row.unfit | {row.source_id or ""}
        )
    except (NoSourceError, NotFoundError):
        _fail(connection, row, code, text, actor, now_ms)
        return
    state: TransferState = "planned" if source.server_id is None else "waiting"
    change_transfer(
        connection, row, state, actor=actor, now_ms=now_ms, text=source.text or text,
        source_id=source.server_id, unfit_json=unfit,
    )  # fmt: skip


# --- the source -------------------------------------------------------------------------------------------


async def send_chunk(
    hub: Hub,
    server_id: str,
    transfer_id: int,
    fence: int,
    offset: int,
    read: Callable[[int], Awaitable[bytes]],
) -> WantedChunk | None:
    """A piece from its source; the next one that is wanted of it. Raises StaleTransferError, NotFoundError,
    BusyError, TooLargeError."""
    await hub.reading(lambda connection: rows.served_by(connection, transfer_id, server_id, fence))
    await hub.relay.send(transfer_id, fence, offset, read)
    return await hub.relay.wanted(server_id, 0)


async def receive_refusal(hub: Hub, server_id: str, transfer_id: int, refusal: SourceRefusal) -> None:
    """A source cannot send. Raises StaleTransferError, NotFoundError."""
    now_ms, actor = hub.clock.now_ms(), f"server:{server_id}"

    def work(connection: Connection) -> None:
        row = rows.served_by(connection, transfer_id, server_id, refusal.fence)
        if refusal.code == "chunk_too_large":
            _fail(connection, row, refusal.code, refusal.text, actor, now_ms)
        else:
            _without_source(connection, hub, row, refusal.code, refusal.text, actor, now_ms)

    await hub.writing(work)
    await _tell(hub, transfer_id)


# --- by itself --------------------------------------------------------------------------------------------


async def plan_transfers(hub: Hub) -> None:
    """Look after the copies under way, and plan those that jobs wait for. Call every few seconds."""
    now_ms = hub.clock.now_ms()
    if not await hub.reading(_is_there_work):
        hub.relay.concerned = frozenset()
        return
    wanted = await _wanted_by_jobs(hub)
    changed = await hub.writing(lambda connection: _plan(connection, hub, wanted, now_ms))
    await _tell(hub, *changed)


async def _wanted_by_jobs(hub: Hub) -> list[tuple[WayOut, ...]] | None:
    """None when that was looked up a short while ago, and took long: many jobs wait."""
    started = hub.clock.monotonic()
    if started < hub.relay.jobs_due:
        return None
    wanted = await hub.reading(lambda connection: ways_out(connection, hub.presence))
    now = hub.clock.monotonic()
    hub.relay.jobs_due = now + LOOK_SHARE * (now - started)
    return wanted


def _is_there_work(connection: Connection) -> bool:
    if rows.under_way(connection):
        return True
    return any(policy.hand_out for policy in transfer_policies(connection).values())


def _plan(
    connection: Connection, hub: Hub, wanted: list[tuple[WayOut, ...]] | None, now_ms: int
) -> list[int]:
    """The ids of the copies that changed. ``wanted`` None: not known now."""
    policies = transfer_policies(connection)
    contents = None
    if wanted is not None:
        contents = {sha256 for ways in wanted for way in ways for sha256 in way.contents}
    changed = []
    for row in rows.under_way(connection):
        try:
            if _look_after(connection, hub, row, policies, contents, now_ms):
                changed.append(row.id)
        except StableQueueError:
            continue  # it changed meanwhile; the next look sees how
    for ways in wanted or ():
        _plan_for_jobs(connection, hub, ways, policies, now_ms)
    return changed


def _look_after(
    connection: Connection,
    hub: Hub,
    row: TransferRow,
    policies: Mapping[str, TransferPolicy],
    contents: set[str] | None,
    now_ms: int,
) -> bool:
    """Bring a copy in line with which servers are there now; whether it changed."""
    live = hub.presence
    unwanted = contents is not None and row.sha256 not in contents
    if row.asked_by == "hub" and row.state == "asked" and unwanted:
        text = "No job waits for it any more."
        change_transfer(connection, row, "cancelled", actor="hub", now_ms=now_ms, text=text)
        return True
    if row.state == "asked" and policies.get(row.target_id, NOTHING).receive in BY_ITSELF:
        change_transfer(connection, row, "waiting", actor="hub", now_ms=now_ms)  # its owner said so meanwhile
        return True
    lost_source = row.source_id is None or not live.is_reachable(row.source_id)
    if row.state in ("running", "waiting", "planned") and lost_source:
        return _choose_again(connection, hub, row, policies, now_ms)
    if row.state in CLAIMED and not live.is_reachable(row.target_id):
        text = "Its server is switched off; it resumes there."
        change_transfer(connection, row, "waiting", actor="hub", now_ms=now_ms, text=text)
        return True
    return False


def _choose_again(
    connection: Connection,
    hub: Hub,
    row: TransferRow,
    policies: Mapping[str, TransferPolicy],
    now_ms: int,
) -> bool:
    try:
        source = choose_source(connection, row.sha256, row.target_id, policies, hub.presence, row.unfit)
    except (NoSourceError, NotFoundError) as error:
        _fail(connection, row, "no_source", f"{error.message} {error.remedy}".strip(), "hub", now_ms)
        return True
    if source.server_id is None:
        if row.state == "planned":
            rows.note_text(connection, row, source.text)
            return False
        change_transfer(
            connection, row, "planned", actor="hub", now_ms=now_ms, text=source.text, source_id=None
        )
        return True
    by_itself = row.by_person or policies.get(row.target_id, NOTHING).receive in BY_ITSELF
    state: TransferState = "waiting" if by_itself else "asked"
    change_transfer(connection, row, state, actor="hub", now_ms=now_ms, source_id=source.server_id)
    return True


def _plan_for_jobs(
    connection: Connection,
    hub: Hub,
    ways: tuple[WayOut, ...],
    policies: Mapping[str, TransferPolicy],
    now_ms: int,
) -> None:
    """Copies for jobs that wait for the same, however many they are: one way, to one server. None while a
    former one is under way, or just came: then its server takes them."""
    plans = []
    for way in ways:
        for target_id in way.targets:
            if _is_coming(connection, way, target_id, now_ms):
                return
            plan = _plan_to(connection, hub, way, target_id, policies, now_ms)
            if plan is not None:
                plans.append(plan)
    if not plans:
        return
    plan = min(plans, key=lambda plan: (plan.has_to_ask, plan.size, plan.target_id))
    state: TransferState = "asked" if plan.has_to_ask else "waiting"
    for sha256, source in plan.sources.items():
        rows.add_transfer(
            connection, sha256, plan.target_id, state, source.file, source_id=source.server_id, actor="hub",
            by_person=False, text="", now_ms=now_ms,
        )  # fmt: skip


class _Plan(NamedTuple):
    """All contents of one way to one server, by content with where each comes from."""

    has_to_ask: bool
    target_id: str
    sources: Mapping[str, Source]

    @property
    def size(self) -> int:
        return sum(source.file.size for source in self.sources.values())


def _plan_to(
    connection: Connection,
    hub: Hub,
    way: WayOut,
    target_id: str,
    policies: Mapping[str, TransferPolicy],
    now_ms: int,
) -> _Plan | None:
    """None where its owner does not allow it, one of them cannot come now, or it failed a short while ago."""
    receive, since_ms = policies.get(target_id, NOTHING).receive, now_ms - NOT_AGAIN_MS
    if receive == "never":
        return None
    sources = {}
    for sha256 in sorted(way.contents):
        if target_id in rows.targets_since(connection, sha256, since_ms, ("failed", "cancelled")):
            return None
        try:
            source = choose_source(connection, sha256, target_id, policies, hub.presence)
        except (NoSourceError, NotFoundError):
            return None
        if source.server_id is None:
            return None
        sources[sha256] = source
    return _Plan(receive not in BY_ITSELF, target_id, sources)


def _is_coming(connection: Connection, way: WayOut, target_id: str, now_ms: int) -> bool:
    """Whether a copy that would help is on its way to that server, or came just now."""
    on_the_way = {row.sha256 for row in rows.under_way(connection) if row.target_id == target_id}
    since_ms = now_ms - SETTLES_MS
    return any(
        sha256 in on_the_way or target_id in rows.targets_since(connection, sha256, since_ms, ("done",))
        for sha256 in way.contents
    )
