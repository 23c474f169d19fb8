"""The hub as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from stablequeue_client import __version__
from stablequeue_hub.access.keys import KeyCache
from stablequeue_hub.access.login_throttle import LoginThrottle
from stablequeue_hub.access.network import Listener
from stablequeue_hub.access.request_limit import RateLimiter
from stablequeue_hub.access.sessions import OneTimeCodes, SessionCache
from stablequeue_hub.background.tasks import run_background
from stablequeue_hub.clock import SYSTEM_CLOCK, HubClock
from stablequeue_hub.http.middleware import AllowedHosts, SecurityMiddleware
from stablequeue_hub.http.responses import install_error_answers
from stablequeue_hub.hub import Hub
from stablequeue_hub.inventory.sync_limiter import SyncLimiter
from stablequeue_hub.routers.api import (
    availability,
    bodies,
    docs,
    events,
    health,
    inventory,
    job_changes,
    job_pictures,
    job_views,
    jobs,
    keys,
    models,
    network,
    queue,
    runner,
    servers,
    transfers,
)
from stablequeue_hub.routers.legacy import v1, v2
from stablequeue_hub.routers.page import jobs as page_jobs
from stablequeue_hub.routers.page import new_job, page, session, static
from stablequeue_hub.routers.page import transfers as page_transfers
from stablequeue_hub.servers.presence_store import load_presence
from stablequeue_hub.settings import HubSettings
from stablequeue_hub.store.engine import Store
from stablequeue_hub.store.hub_settings_table import ensure_hub_id

API = (
    health,
    bodies,
    inventory,
    servers,
    availability,
    models,
    jobs,
    job_changes,
    job_pictures,
    job_views,
    queue,
    runner,
    transfers,
    v1,
    v2,
    keys,
    events,
    network,
)
PAGES = (session, static, docs, page, page_jobs, new_job, page_transfers)
ROUTERS = (*API, *PAGES)


def create_app(
    settings: HubSettings, store: Store, *, clock: HubClock = SYSTEM_CLOCK, listener: Listener | None = None
) -> FastAPI:
    """The application over a migrated store. Reads what the hub knew at its last end; starts nothing."""
    hub = _hub(settings, store, clock, listener)
    app = FastAPI(
        title="StableQueue",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
    )
    app.state.hub = hub
    for module in ROUTERS:
        app.include_router(module.router)
    install_error_answers(app, [route for module in ROUTERS for route in module.router.routes])
    app.add_middleware(SecurityMiddleware, hosts=AllowedHosts(lambda: hub.host, settings.allowed_hosts))
    return app


def _hub(settings: HubSettings, store: Store, clock: HubClock, listener: Listener | None) -> Hub:
    with store.write() as connection:
        hub_id = ensure_hub_id(connection)
    with store.read() as connection:
        presence = load_presence(connection, clock)
    return Hub(
        settings=settings,
        store=store,
        hub_id=hub_id,
        clock=clock,
        presence=presence,
        keys=KeyCache(clock),
        sessions=SessionCache(clock),
        codes=OneTimeCodes(clock),
        login_throttle=LoginThrottle(clock),
        sync_limits=SyncLimiter(settings.full_syncs, settings.sync_wait_s),
        rate_limiter=RateLimiter(settings.requests_per_s, clock),
        listener=listener,
    )


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    hub: Hub = app.state.hub
    async with run_background(hub):
        yield
    hub.sync_limits.close()
    hub.relay.close()
    await hub.flush()
