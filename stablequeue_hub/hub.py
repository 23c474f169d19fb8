"""The running hub: what every request needs, in one value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from sqlalchemy import Connection

from stablequeue_hub.access.body_lanes import BodyLanes
from stablequeue_hub.access.keys import KeyCache, flush_used
from stablequeue_hub.access.login_throttle import LoginThrottle
from stablequeue_hub.access.network import Listener
from stablequeue_hub.access.request_limit import RateLimiter
from stablequeue_hub.access.sessions import OneTimeCodes, SessionCache, flush_extended
from stablequeue_hub.clock import ClockJumps, HubClock
from stablequeue_hub.dispatch.dispatcher import Dispatcher
from stablequeue_hub.dispatch.leases import Leases
from stablequeue_hub.events.change_notifier import ChangeNotifier
from stablequeue_hub.events.event_feed import EventFeed
from stablequeue_hub.inventory.sync_limiter import SyncLimiter
from stablequeue_hub.jobs.picture_files import PictureFiles
from stablequeue_hub.servers.presence import Presence
from stablequeue_hub.servers.presence_store import store_presence
from stablequeue_hub.settings import HubSettings
from stablequeue_hub.store.engine import Store
from stablequeue_hub.store.stored_bodies import StoredBodies
from stablequeue_hub.transfers.relay import Relay

T = TypeVar("T")


@dataclass
class Hub:
    """One per process, at ``app.state.hub``. ``listener`` is None where another server runs the app."""

    settings: HubSettings
    store: Store
    hub_id: str
    clock: HubClock
    presence: Presence
    keys: KeyCache
    sessions: SessionCache
    codes: OneTimeCodes
    login_throttle: LoginThrottle
    sync_limits: SyncLimiter
    rate_limiter: RateLimiter
    listener: Listener | None = None
    notifier: ChangeNotifier = field(default_factory=ChangeNotifier)
    """Notified after each change of jobs."""

    log_holds_deleted: bool = False
    """Jobs were deleted whose prompts may still stand in the database's log."""

    def __post_init__(self) -> None:
        self.dispatcher = Dispatcher(self.store, self.clock, self.presence, self.notifier)
        self.body_lanes = BodyLanes()
        self.event_feed = EventFeed(self.store)
        self.presence.set_runner_source(self.dispatcher.runner_status)
        self.clock_jumps = ClockJumps(self.clock)
        self.relay = Relay()

    async def reading(self, use_case: Callable[[Connection], T]) -> T:
        """Run a reading use case in a worker thread."""
        return await self.store.reading(use_case)

    async def writing(self, use_case: Callable[[Connection], T]) -> T:
        """Run a writing use case in one transaction and a worker thread."""
        return await self.store.writing(use_case)

    @property
    def leases(self) -> Leases:
        """The leases of running jobs."""
        return self.dispatcher.leases

    @property
    def stored_bodies(self) -> StoredBodies:
        return StoredBodies(self.settings.data_dir)

    @property
    def pictures(self) -> PictureFiles:
        return PictureFiles(self.settings.data_dir)

    async def flush(self) -> None:
        """Write what is only in memory: contacts, boots, orders taken over, last uses."""
        changes = self.presence.pop_changes()
        used, extended = self.keys.pop_used(), self.sessions.pop_extended()
        if not (changes.servers or changes.taken_over or used or extended):
            return

        def write(connection: Connection) -> None:
            store_presence(connection, changes, self.clock.now_ms())
            flush_used(connection, used)
            flush_extended(connection, extended)

        try:
            await self.writing(write)
        except Exception:
            self.presence.restore_changes(changes)
            raise

    @property
    def host(self) -> str:
        """The address it listens on now."""
        return self.listener.host if self.listener else self.settings.host
