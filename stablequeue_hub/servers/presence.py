"""Who is there now: contact, running process, activity and waiting orders of every server, in memory.

A heartbeat touches this only, so that it never waits for a sync's write transaction; ``background`` writes
it to the database every few seconds. What is lost by a crash in between heals with the next heartbeats.

Not locked: every method is one short step that the event loop calls; reads from other threads see each
value whole (plain attribute reads of immutable values).

Boots: every agent process has a random ``boot_id``. One never seen takes over and retires the one before;
a retired one heard twice more with growing numbers is alive beside it: the server is frozen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from stablequeue_client.shared.wire.inventory import UNREACHABLE_AFTER_S, Activity
from stablequeue_client.shared.wire.orders import Order
from stablequeue_hub.clock import SYSTEM_CLOCK, HubClock
from stablequeue_hub.errors import unknown_server

FROZEN_REASON = "Two running copies use the identity of this server."
HEARD_AGAIN_TO_FREEZE = 2
THAW_AFTER_S = 900.0
"""A frozen server thaws by itself when only one of its processes was heard for so long."""
BOOTS_KEPT = 32


class RunnerPresence(NamedTuple):
    """What the hub knows of a server's runner, the part of a WebUI that asks for jobs and makes the pictures.

    ``polling``: it asks for jobs, or works on one. ``in_use``: it takes only its own server's jobs now.
    ``in_cooldown``: it gets no jobs for a while, because it failed several times in a row. ``yielded``: it
    gets none for a moment, because somebody used the WebUI when it got one. ``trouble``: what keeps it from
    making any picture, with the remedy.
    """

    polling: bool = False
    in_use: bool = False
    in_cooldown: bool = False
    yielded: bool = False
    trouble: str = ""


class Live(Protocol):
    """What is known of servers now; nothing of it is stored."""

    def is_reachable(self, server_id: str) -> bool: ...

    def last_contact_ms(self, server_id: str) -> int | None: ...

    def activity(self, server_id: str) -> Activity | None: ...

    def runner(self, server_id: str) -> RunnerPresence: ...


@dataclass(frozen=True)
class Inventory:
    """What the hub has of a server's inventory; ``index_id`` None: nothing yet."""

    index_id: str | None = None
    sequence: int = 0
    digest: str = "0" * 64


@dataclass
class Boot:
    """One agent process of a server, as far as its heartbeats tell."""

    counter: int
    heard_again: int = 0
    retired_ms: int | None = None
    heard_at: float = 0.0


@dataclass(frozen=True)
class WaitingOrder:
    """An order that its server has not taken over yet."""

    order: Order
    expires_ms: int


@dataclass
class ServerPresence:
    """One server as it is known right now."""

    server_id: str
    inventory: Inventory = Inventory()
    last_contact_ms: int | None = None
    heard_at: float | None = None
    boot_id: str | None = None
    boots: dict[str, Boot] = field(default_factory=dict)
    activity: Activity | None = None
    frozen: str | None = None
    thawed_by: str | None = None
    orders: list[WaitingOrder] = field(default_factory=list)
    syncing: bool = False


class Presence:
    """All servers the hub knows. Implements ``Live``."""

    def __init__(self, clock: HubClock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._servers: dict[str, ServerPresence] = {}
        self._changed: set[str] = set()
        self._taken_over: dict[str, int] = {}
        self._runner_status: Callable[[str], RunnerPresence] | None = None

    # --- Live ------------------------------------------------------------------------------------------

    def is_reachable(self, server_id: str) -> bool:
        """Return whether it was heard within the last 35 seconds."""
        server = self._servers.get(server_id)
        if server is None or server.heard_at is None:
            return False
        return self._clock.monotonic() - server.heard_at <= UNREACHABLE_AFTER_S

    def last_contact_ms(self, server_id: str) -> int | None:
        server = self._servers.get(server_id)
        return server.last_contact_ms if server else None

    def activity(self, server_id: str) -> Activity | None:
        """Return what it is doing; None when it is not reachable."""
        server = self._servers.get(server_id)
        return server.activity if server and self.is_reachable(server_id) else None

    def runner(self, server_id: str) -> RunnerPresence:
        return self._runner_status(server_id) if self._runner_status else RunnerPresence()

    def set_runner_source(self, state: Callable[[str], RunnerPresence]) -> None:
        """Set where the state of runners comes from: the dispatcher of this process."""
        self._runner_status = state

    # --- servers ---------------------------------------------------------------------------------------

    def ids(self) -> list[str]:
        """Of every server."""
        return list(self._servers)

    def find(self, server_id: str) -> ServerPresence | None:
        return self._servers.get(server_id)

    def known(self, server_id: str) -> ServerPresence:
        """Raises NotFoundError for a server that never joined or was forgotten."""
        server = self._servers.get(server_id)
        if server is None:
            raise unknown_server(server_id)
        return server

    def add(self, server: ServerPresence) -> None:
        """A server that joined, or one that the database already knew."""
        if server.last_contact_ms is not None and server.heard_at is None:
            age_s = max(0.0, (self._clock.now_ms() - server.last_contact_ms) / 1000)
            server.heard_at = self._clock.monotonic() - age_s
        self._servers.setdefault(server.server_id, server)

    def forget(self, server_id: str) -> None:
        self._servers.pop(server_id, None)
        self._changed.discard(server_id)

    def record_sync(self, server_id: str, inventory: Inventory) -> None:
        """Note the inventory that the hub committed."""
        server = self._servers.get(server_id)
        if server is not None:
            server.inventory = inventory

    # --- contact ---------------------------------------------------------------------------------------

    def mark_contact(self, server_id: str) -> None:
        """Note a contact other than a heartbeat, which may still be on the way."""
        server = self._servers.get(server_id)
        if server is not None:
            server.last_contact_ms, server.heard_at = self._clock.now_ms(), self._clock.monotonic()
            self._changed.add(server_id)

    def record_heartbeat(self, server_id: str, boot_id: str, counter: int) -> bool:
        """Note a heartbeat of a process. True when it is the one that speaks for the server.

        False: an old or repeated number, or a retired process. May freeze or thaw the server.
        """
        server = self.known(server_id)
        boot = server.boots.get(boot_id)
        if boot is not None and counter <= boot.counter:
            return False
        now = self._clock.monotonic()
        if boot is None:
            boot = self._take_over(server, boot_id)
        elif boot_id != server.boot_id:
            boot.heard_again += 1
        boot.counter, boot.heard_at = counter, now
        server.last_contact_ms, server.heard_at = self._clock.now_ms(), now
        self._changed.add(server_id)
        if boot.heard_again >= HEARD_AGAIN_TO_FREEZE and server.frozen is None:
            server.frozen, server.thawed_by = FROZEN_REASON, None
        elif server.frozen is not None and self._is_alone(server, boot_id, now):
            self._hand_over(server, boot_id)
        return boot_id == server.boot_id

    def _take_over(self, server: ServerPresence, boot_id: str) -> Boot:
        self._retire_current(server)
        server.boot_id = boot_id
        server.boots[boot_id] = Boot(0)
        while len(server.boots) > BOOTS_KEPT:
            del server.boots[next(iter(server.boots))]
        return server.boots[boot_id]

    def _retire_current(self, server: ServerPresence) -> None:
        before = server.boots.get(server.boot_id or "")
        if before is not None:
            before.retired_ms, before.heard_again = self._clock.now_ms(), 0

    def _is_alone(self, server: ServerPresence, boot_id: str, now: float) -> bool:
        others = (boot for other, boot in server.boots.items() if other != boot_id)
        return all(now - boot.heard_at > THAW_AFTER_S for boot in others)

    def _hand_over(self, server: ServerPresence, boot_id: str) -> None:
        """End a freeze: ``boot_id`` speaks for the server, every other process counts as retired."""
        if boot_id != server.boot_id:
            self._retire_current(server)
        server.boot_id, server.frozen = boot_id, None
        for boot in server.boots.values():
            boot.heard_again = 0
        server.boots[boot_id].retired_ms = None

    def thaw(self, server_id: str, *, actor: str) -> None:
        """End a freeze by hand: the process heard last speaks for the server again."""
        server = self.known(server_id)
        server.thawed_by = actor
        if server.frozen is not None and server.boots:
            latest = max(server.boots, key=lambda boot_id: server.boots[boot_id].heard_at)
            self._hand_over(server, latest)
        server.frozen = None
        self._changed.add(server_id)

    # --- orders ----------------------------------------------------------------------------------------

    def add_order(self, server_id: str, waiting: WaitingOrder) -> None:
        self.known(server_id).orders.append(waiting)

    def orders_for(self, server_id: str, orders_seen: int) -> list[Order]:
        """Return the orders not taken over or expired, oldest first; the others are dropped."""
        server = self.known(server_id)
        if not server.orders:
            return []
        now_ms = self._clock.now_ms()
        if server.orders[0].order.id <= orders_seen:
            self._taken_over[server_id] = orders_seen
        server.orders = [w for w in server.orders if w.order.id > orders_seen and w.expires_ms > now_ms]
        return [_with_time_left(waiting, now_ms) for waiting in server.orders]

    # --- the database ----------------------------------------------------------------------------------

    def pop_changes(self) -> PresenceChanges:
        """A copy of what changed since the last call, for the flush in another thread."""
        servers = [_copy(self._servers[server_id]) for server_id in sorted(self._changed)]
        changes = PresenceChanges(servers, self._taken_over)
        self._changed, self._taken_over = set(), {}
        return changes

    def restore_changes(self, changes: PresenceChanges) -> None:
        """Mark these as changed again, after a failed flush."""
        self._changed.update(s.server_id for s in changes.servers if s.server_id in self._servers)
        self._taken_over = {**changes.taken_over, **self._taken_over}


@dataclass(frozen=True)
class PresenceChanges:
    """What the flush writes: servers as they are now, and up to which order id each has taken over."""

    servers: list[ServerPresence]
    taken_over: dict[str, int]


def _copy(server: ServerPresence) -> ServerPresence:
    return replace(server, boots={boot_id: replace(boot) for boot_id, boot in server.boots.items()})


def _with_time_left(waiting: WaitingOrder, now_ms: int) -> Order:
    """The order as sent now: only durations cross the wire."""
    order = waiting.order
    left_s = max(1, (waiting.expires_ms - now_ms) // 1000)
    return Order(order.id, order.kind, left_s, order.root, order.path, order.mode, order.until_s)
