"""What the hub does by itself: write down presence, keep the keys in use fresh, drop what has expired.

A task that fails is tried again at its next turn and says so once in the log; the others go on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from stablequeue_hub.access import sessions
from stablequeue_hub.actions.jobs import jobs_deleted
from stablequeue_hub.actions.transfers import plan_transfers
from stablequeue_hub.background.job_retention import GB, retire_large, retire_old, sweep_pictures
from stablequeue_hub.background.presence_recorder import PresenceRecorder
from stablequeue_hub.background.retention import DAY_MS, drop_old_codes, drop_old_events
from stablequeue_hub.hub import Hub
from stablequeue_hub.jobs import rows
from stablequeue_hub.jobs.deadlines import fail_overdue
from stablequeue_hub.jobs.submission import SUBMISSIONS_KEPT_MS
from stablequeue_hub.servers import orders

FLUSH_EVERY_S = 5.0
KEYS_EVERY_S = 2.0
EXPIRE_EVERY_S = 60.0
LEASES_EVERY_S = 5.0
PRESENCE_EVERY_S = 10.0
TRANSFERS_EVERY_S = 5.0
RETENTION_EVERY_S = 6 * 3600.0
JOB_RETENTION_EVERY_S = 1800.0
_log = logging.getLogger("stablequeue_hub")


@asynccontextmanager
async def run_background(hub: Hub) -> AsyncIterator[None]:
    """The tasks run while the block does."""
    tasks = [
        asyncio.create_task(_repeat(name, every_s, step, hub))
        for name, every_s, step in (
            ("flush", FLUSH_EVERY_S, Hub.flush),
            ("keys", KEYS_EVERY_S, refresh_keys),
            ("expire", EXPIRE_EVERY_S, expire),
            ("leases", LEASES_EVERY_S, sweep_leases),
            ("history of servers", PRESENCE_EVERY_S, PresenceRecorder().look),
            ("transfers", TRANSFERS_EVERY_S, plan_transfers),
            ("retention", RETENTION_EVERY_S, drop_old_history),
            ("retention of jobs", JOB_RETENTION_EVERY_S, enforce_job_retention),
        )
    ]
    tasks.append(asyncio.create_task(sweep_pictures_once(hub)))
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _repeat(name: str, every_s: float, step: Callable[[Hub], Awaitable[None]], hub: Hub) -> None:
    failing = False
    while True:
        await asyncio.sleep(every_s)
        try:
            await step(hub)
            failing = False
        except Exception as exc:
            if not failing:
                _log.warning("The hub's background task %r failed and is tried again: %s", name, exc)
            failing = True


async def refresh_keys(hub: Hub) -> None:
    """Read the keys again before they are stale, so that a heartbeat never waits for that."""
    await hub.reading(hub.keys.refresh_all)


async def sweep_leases(hub: Hub) -> None:
    """Requeue the jobs whose lease expired."""
    await hub.dispatcher.sweep()


async def expire(hub: Hub) -> None:
    """Orders, one-time codes, sessions, idempotency keys and waiting jobs whose time is over; and what was
    deleted is taken off the disk."""
    hub.codes.drop_expired()
    hub.sessions.drop_stale()
    now_ms, doubtful = hub.clock.now_ms(), hub.clock_jumps.doubtful()

    def drop(connection: Connection) -> None:
        orders.delete_expired(connection, now_ms)
        sessions.delete_expired(connection, now_ms)
        if not doubtful:
            rows.drop_submissions(connection, now_ms - SUBMISSIONS_KEPT_MS)

    await hub.writing(drop)
    await fail_overdue_jobs(hub)
    await purge_deleted(hub)
    await run_in_threadpool(hub.stored_bodies.sweep)


async def purge_deleted(hub: Hub) -> None:
    """Remove the texts of deleted jobs from the database's log as well."""
    if hub.log_holds_deleted:
        hub.log_holds_deleted = False
        try:
            emptied = await run_in_threadpool(hub.store.truncate_log)
        except Exception:
            hub.log_holds_deleted = True
            raise
        hub.log_holds_deleted |= not emptied


async def fail_overdue_jobs(hub: Hub) -> None:
    """Fail the jobs whose deadline passed."""
    if hub.clock_jumps.doubtful():
        return
    now_ms = hub.clock.now_ms()
    while True:
        ids = await hub.writing(lambda connection: fail_overdue(connection, hub.presence, now_ms=now_ms))
        if not ids:
            return
        await hub.dispatcher.jobs_changed(ids)


async def drop_old_history(hub: Hub) -> None:
    """Drop events older than their owner keeps them, and old join codes."""
    if hub.clock_jumps.doubtful():
        return
    now_ms, days = hub.clock.now_ms(), hub.settings.events_days
    if days:
        await run_in_threadpool(drop_old_events, hub.store, now_ms - days * DAY_MS)
    await hub.writing(lambda connection: drop_old_codes(connection, now_ms))


async def enforce_job_retention(hub: Hub) -> None:
    """Remove ended jobs beyond the limits of age and of the size of pictures, and orphaned files."""
    now_ms, settings = hub.clock.now_ms(), hub.settings
    if settings.jobs_days and not hub.clock_jumps.doubtful():
        before_ms = now_ms - settings.jobs_days * DAY_MS
        await _retire(hub, lambda connection: retire_old(connection, before_ms, now_ms))
    if settings.pictures_gb:
        most = settings.pictures_gb * GB
        await _retire(hub, lambda connection: retire_large(connection, most, now_ms))
    await _sweep_pictures(hub)


async def _retire(hub: Hub, step: Callable[[Connection], list[str]]) -> None:
    while ids := await hub.writing(step):
        await jobs_deleted(hub, ids)


async def sweep_pictures_once(hub: Hub) -> None:
    """Remove at the start the pictures that a crash left behind."""
    try:
        await _sweep_pictures(hub)
    except Exception as exc:
        _log.warning("Pictures that no job names could not be removed: %s", exc)


async def _sweep_pictures(hub: Hub) -> None:
    now_s = hub.clock.now_ms() / 1000
    await run_in_threadpool(lambda: sweep_pictures(hub.store, hub.pictures.folder, hub.hub_id, now_s=now_s))
