"""The hub's process: one per store, on one socket that can be moved while it runs.

``<data>/admin.key`` (0600) holds the admin key of this computer's owner; ``<data>/hub.json`` (0600) says
``{pid, port, url}`` while the hub answers, and is gone afterwards.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import json
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import uvicorn

from stablequeue_client.shared.atomic_file import write_private
from stablequeue_client.shared.errors import DataFolderError, StableQueueError, UsageError
from stablequeue_hub.access.keys import create_key, is_valid, parse_key
from stablequeue_hub.access.network import EVERYWHERE, chosen_host, is_loopback
from stablequeue_hub.app import create_app
from stablequeue_hub.clock import SYSTEM_CLOCK
from stablequeue_hub.errors import PortTakenError
from stablequeue_hub.hub import Hub
from stablequeue_hub.process import log
from stablequeue_hub.process.connections import BoundedProtocol, connections_max
from stablequeue_hub.settings import LOOPBACK, HubSettings
from stablequeue_hub.store.engine import ADMIN_KEY_NAME, Store, open_store
from stablequeue_hub.store.hub_settings_table import HUB_RUN, LISTEN_HOST, get_setting, set_setting
from stablequeue_hub.store.lock import StoreLock, hold_store_lock
from stablequeue_hub.store.migrate import migrate

READY_NAME = "hub.json"
BACKLOG = 512
ACCEPTED_AT_ONCE = 8
"""asyncio takes both from one number: so many are accepted before the first of them is looked at."""
KEEP_ALIVE_S = 75
"""Longer than a heartbeat's interval, so that servers keep their connection."""
SHUTDOWN_S = 5
LOCK_CHECK_S = 10.0
LOCK_WAIT_S = 2.0
DATABASE_RETRY_S = 1.0
SWITCH_INTERVAL_S = 0.0003
"""How long a worker thread may keep the interpreter while the event loop waits for it."""


def run_hub(settings: HubSettings, *, host: str | None) -> int:
    """Run until SIGTERM or SIGINT. ``host`` None: as chosen before. The exit code."""
    log.set_up(sys.stderr)
    store = open_store(settings.database_url, settings.data_dir)
    try:
        with store.read() as connection:
            connection.exec_driver_sql("SELECT 1")  # a database that is not there is named before anything
        # A hub that ended a moment ago: PostgreSQL needs a little to notice.
        with hold_store_lock(store, wait_s=LOCK_WAIT_S) as lock:
            migrate(store, backup_confirmed=settings.backup_confirmed)
            with store.read() as connection:
                chosen = host or chosen_host(connection)
            listening = bind(chosen, settings.port)
            if host is not None:
                with store.write() as connection:
                    set_setting(connection, LISTEN_HOST, host)
            ensure_admin_key(store, settings.data_dir)
            port = listening.getsockname()[1]
            return _serve(replace(settings, host=chosen, port=port), store, lock, listening)
    finally:
        store.close()


def _serve(settings: HubSettings, store: Store, lock: StoreLock, listening: socket.socket) -> int:
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    run_id = secrets.token_hex(8)
    with store.write() as connection:
        set_setting(connection, HUB_RUN, run_id)
    listener = MovableListener(settings.host, settings.port)
    app = create_app(settings, store, listener=listener)
    BoundedProtocol.most = connections_max()
    config = uvicorn.Config(
        app,
        access_log=False,  # addresses carry one-time codes and names of models
        log_config=None,
        server_header=False,
        proxy_headers=False,
        ws="none",
        http=BoundedProtocol,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=SHUTDOWN_S,
        backlog=ACCEPTED_AT_ONCE,
    )
    listener.server = server = _Server(config, settings, lock, run_id)
    gc.collect()
    gc.freeze()  # what was loaded stays: collections need not look at it again
    with _own_signals():
        try:
            server.run(sockets=[listening])
        finally:
            _ready_path(settings).unlink(missing_ok=True)
    return 1 if server.lock_lost else 0


class _Server(uvicorn.Server):
    """Says when it answers, in ``hub.json`` and in one line; ends when it is not the store's hub any more."""

    def __init__(self, config: uvicorn.Config, settings: HubSettings, lock: StoreLock, run_id: str) -> None:
        super().__init__(config)
        self._settings = settings
        self._hub: Hub = config.app.state.hub  # type: ignore[union-attr]
        self._lock = lock
        self._run_id = run_id
        self.lock_lost = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listening in sockets or ():
            listening.listen(BACKLOG)
        url = local_url(self._settings.host, self._settings.port)
        ready = {"pid": os.getpid(), "port": self._settings.port, "url": url}
        _store(_ready_path(self._settings), json.dumps(ready) + "\n")
        also = "" if is_loopback(self._settings.host) else f" and on {self._settings.host} for your network"
        print(f"StableQueue hub listens on {url}{also}", flush=True)  # noqa: T201 - the line its starter waits for
        if self._settings.legacy_open:
            logging.getLogger("stablequeue_hub").warning(
                "Anybody who reaches this hub may use the old /api/v1 without a key: see prompts and "
                "pictures, and queue jobs. Leave out --legacy-open to end that."
            )
        self._watch = asyncio.create_task(self._watch_lock())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answers that wait for something to happen end now, so that nothing waits for them."""
        self._hub.notifier.close()
        self._hub.dispatcher.close()
        await super().shutdown(sockets)

    async def _watch_lock(self) -> None:
        while await asyncio.to_thread(self._lock.still_held) or await self._retake_lock():
            await asyncio.sleep(LOCK_CHECK_S)
        logging.getLogger("stablequeue_hub").error(
            "The connection to the database was lost, and another hub has taken over. "
            "This hub stops; start it again."
        )
        self.lock_lost = self.should_exit = True

    async def _retake_lock(self) -> bool:
        """The database restarted: go on once it is back. False when another hub used it meanwhile, perhaps
        only for a while: what this one knows in memory is not true any more."""
        log_to = logging.getLogger("stablequeue_hub")
        log_to.warning("The connection to the database was lost. The hub goes on when the database is back.")
        while True:
            taken = await asyncio.to_thread(self._lock.retake)
            if taken is False:
                return False
            if taken:
                with suppress(StableQueueError):  # away again
                    last_run = await self._hub.reading(lambda connection: get_setting(connection, HUB_RUN))
                    break
            await asyncio.sleep(DATABASE_RETRY_S)
        if last_run != self._run_id:
            return False
        await self._hub.dispatcher.jobs_changed([])
        log_to.warning("The database is back.")
        return True


class MovableListener:
    """The server's listening socket; see ``network.Listener``. Accepted connections live on without it."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self.server: uvicorn.Server | None = None

    @property
    def host(self) -> str:
        return self._host

    async def listen_on(self, host: str) -> None:
        """One address and every address cannot be listened on at once, so the old socket goes first."""
        assert self.server is not None
        for listening in self.server.servers:
            listening.close()
        try:
            fresh = bind(host, self._port)
        except (PortTakenError, UsageError):
            self.server.servers = [await self._start(bind(self._host, self._port))]
            raise
        self.server.servers = [await self._start(fresh)]
        self._host = host
        if is_loopback(host):
            self._end_remote_connections()

    async def _start(self, listening: socket.socket) -> asyncio.Server:
        server = self.server
        assert server is not None
        config = server.config

        def protocol() -> asyncio.Protocol:
            return config.http_protocol_class(  # type: ignore[call-arg]
                config=config, server_state=server.server_state, app_state=server.lifespan.state
            )

        loop = asyncio.get_running_loop()
        started = await loop.create_server(protocol, sock=listening, backlog=ACCEPTED_AT_ONCE)
        listening.listen(BACKLOG)
        return started

    def _end_remote_connections(self) -> None:
        """Other computers lose the connections they hold open, each after its running answer."""
        assert self.server is not None
        for connection in list(self.server.server_state.connections):
            transport = connection.transport
            name = transport.get_extra_info("sockname") if transport else None
            if name and not is_loopback(str(name[0])):
                connection.shutdown()


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises PortTakenError, and UsageError for an address not of this computer."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named, because asyncio switches Nagle's algorithm off only where the protocol is said to be TCP.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform == "win32":  # there SO_REUSEADDR would let two programs share the port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host.strip("[]"), port))
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError as exc:
        listening.close()
        if exc.errno == errno.EADDRINUSE or getattr(exc, "winerror", None) in (10013, 10048):
            raise PortTakenError(f"Port {port} on {host} is used by another program.") from None
        raise UsageError(
            f"The hub cannot listen on {host}, port {port}: {exc.strerror or exc}.",
            remedy="Give an address of this computer (--host) and a port that this user may use (--port).",
        ) from None
    return listening


def local_url(host: str, port: int) -> str:
    """The address for programs on this computer."""
    name = LOOPBACK if host in (EVERYWHERE, "::", "localhost") else host
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def ensure_admin_key(store: Store, data_dir: Path) -> None:
    """``admin.key`` holds a valid admin key: made at the first start, and when it was lost or revoked."""
    path = data_dir / ADMIN_KEY_NAME
    try:
        credentials = parse_key(path.read_text(encoding="ascii", errors="replace").strip())
    except FileNotFoundError:
        credentials = None
    except OSError as exc:
        raise DataFolderError(f"{path} cannot be read ({exc.strerror}).") from None
    with store.write() as connection:
        if credentials is not None and is_valid(connection, credentials, "admin"):
            return
        key = create_key(
            connection, "admin", name="Owner of this computer", actor="hub", now_ms=SYSTEM_CLOCK.now_ms()
        )
        _store(path, key.key + "\n")


def _store(path: Path, text: str) -> None:
    """Whole or not at all, readable by this user only. Raises DataFolderError."""
    try:
        write_private(path, text.encode("ascii"))
    except OSError as exc:
        raise DataFolderError(f"{path} cannot be written ({exc.strerror}).") from None


def _ready_path(settings: HubSettings) -> Path:
    return settings.data_dir / READY_NAME


@contextmanager
def _own_signals() -> Iterator[None]:
    """The server ends at these signals and then raises them once more, when all has been put away."""
    names = [signal.SIGINT, signal.SIGTERM]
    before = {name: signal.signal(name, lambda *_: None) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
