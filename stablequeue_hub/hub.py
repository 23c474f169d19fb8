"""The running hub: what every request needs, in one value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection

from stablequeue_hub.access.keys import KeyRing, flush_used
from stablequeue_hub.access.login_throttle import Attempts
from stablequeue_hub.access.sessions import SessionCodes, SessionRing, flush_extended
from stablequeue_hub.background.clock_jumps import ClockJumps
from stablequeue_hub.clock import Clock
from stablequeue_hub.dispatch.dispatcher import Dispatcher
from stablequeue_hub.dispatch.leases import Leases
from stablequeue_hub.events.wakeup import Bell
from stablequeue_hub.http.network import Listener
from stablequeue_hub.http.rate_limit import RequestRate
from stablequeue_hub.inventory.sync_slots import SyncLanes
from stablequeue_hub.jobs.picture_files import PictureFiles
from stablequeue_hub.servers.presence import Presence
from stablequeue_hub.servers.presence_store import store_presence
from stablequeue_hub.servers.servers import delete_server, server_named
from stablequeue_hub.settings import HubSettings
from stablequeue_hub.store.engine import Store

T = TypeVar("T")


@dataclass
class Hub:
    """One per process, at ``app.state.hub``. ``listener`` is None where another server runs the app."""

    settings: HubSettings
    store: Store
    hub_id: str
    clock: Clock
    presence: Presence
    keys: KeyRing
    sessions: SessionRing
    codes: SessionCodes
    attempts: Attempts
    lanes: SyncLanes
    rate: RequestRate
    listener: Listener | None = None
    bell: Bell = field(default_factory=Bell)
    """Rings after each change of jobs."""

    deleted_on_disk: bool = False
    """Jobs were deleted whose prompts may still stand in the database's log."""

    def __post_init__(self) -> None:
        self.dispatcher = Dispatcher(self)
        self.presence.ask_about_runners(self.dispatcher.runner_state)
        self.clock_jumps = ClockJumps(self.clock)

    async def reading(self, use_case: Callable[[Connection], T]) -> T:
        """A use case that only reads, in a worker thread."""

        def work() -> T:
            with self.store.read() as connection:
                return use_case(connection)

        return await run_in_threadpool(work)

    async def writing(self, use_case: Callable[[Connection], T]) -> T:
        """A use case in a write transaction, in a worker thread."""

        def work() -> T:
            with self.store.write() as connection:
                return use_case(connection)

        return await run_in_threadpool(work)

    async def jobs_changed(self, job_ids: Sequence[str]) -> None:
        """To be told after every committed change of jobs (new, edited, ended, deleted), and with [] after
        one of the queue's settings."""
        await self.dispatcher.changed(job_ids)
        self.bell.ring(job_ids)

    async def jobs_made(self, job_ids: Sequence[str], server_id: str | None) -> None:
        """To be told after jobs were queued. ``server_id``: that whose WebUI they come from, if any: somebody
        is there and wants it to work, so it rests no longer."""
        if server_id is not None:
            self.dispatcher.clear_cooldown(server_id)
        await self.jobs_changed(job_ids)

    async def forget_server(self, name: str, *, actor: str) -> None:
        """Forget a server, by its id or alias, with all that is known of it here. Raises NotFoundError."""
        now_ms = self.clock.now_ms()

        def work(connection: Connection) -> str:
            server_id = server_named(connection, name) or name
            delete_server(connection, server_id, actor=actor, now_ms=now_ms)
            return server_id

        await self.server_gone(await self.writing(work))

    async def server_gone(self, server_id: str) -> None:
        """To be told after a server's row was deleted: nothing in memory speaks of it any longer, and names
        that only it made doubtful are looked up again."""
        self.presence.forget(server_id)
        self.keys.drop(server_id)
        self.dispatcher.forget(server_id)
        await self.jobs_changed([])
        await self.dispatcher.look_up_again()

    async def jobs_deleted(self, job_ids: Sequence[str]) -> None:
        """To be told after jobs were deleted: their pictures go too."""
        self.deleted_on_disk = True
        await run_in_threadpool(self.pictures.remove_jobs, job_ids)
        await self.jobs_changed(job_ids)

    @property
    def leases(self) -> Leases:
        """Who works on which job now."""
        return self.dispatcher.leases

    @property
    def pictures(self) -> PictureFiles:
        return PictureFiles(self.settings.data_dir)

    async def flush(self) -> None:
        """Write what is known in memory only: contacts, boots, orders taken over, last uses."""
        changes = self.presence.take_changed()
        used, extended = self.keys.take_used(), self.sessions.take_extended()
        if not (changes.servers or changes.taken_over or used or extended):
            return

        def write(connection: Connection) -> None:
            store_presence(connection, changes, self.clock.now_ms())
            flush_used(connection, used)
            flush_extended(connection, extended)

        try:
            await self.writing(write)
        except Exception:
            self.presence.put_back_changes(changes)
            raise

    @property
    def host(self) -> str:
        """The address it listens on now."""
        return self.listener.host if self.listener else self.settings.host


def hub_of(request: HTTPConnection) -> Hub:
    hub = request.app.state.hub
    assert isinstance(hub, Hub)
    return hub
