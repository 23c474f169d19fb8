"""The agent's process: from folders to the hub, until it is stopped. See ``run``.

Threads: walking (``scan_loop``), reading (``hashing_pool``, some per device), telling the hub
(``sync_loop``), the heartbeat, copies in and out (``transfers``), one per watched folder. They meet in the
index and in events; the main thread only looks after them, carries out orders, and writes the progress. Every
state on disk is valid at any instant, so there is no shutting down that could be missed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from stablequeue_client.agent.agent_settings import AgentSettings, HashingMode
from stablequeue_client.agent.busy_marker import GeneratingMarker
from stablequeue_client.agent.capabilities import CapabilitiesReporter
from stablequeue_client.agent.folder_probe import Probe, probe, probe_folders
from stablequeue_client.agent.hashing_pool import HashingPool
from stablequeue_client.agent.heartbeat import HeartbeatLoop
from stablequeue_client.agent.lock import agent_lock
from stablequeue_client.agent.order_executor import OrderExecutor, restore_pause, store_orders
from stablequeue_client.agent.policy import HashingPolicy
from stablequeue_client.agent.priority import lower_priority
from stablequeue_client.agent.progress import ProgressTracker
from stablequeue_client.agent.reporting import Reporter
from stablequeue_client.agent.scan_loop import ScanLoop
from stablequeue_client.agent.sync_loop import SyncLoop
from stablequeue_client.agent.walker import Walker
from stablequeue_client.agent.watching import Watcher
from stablequeue_client.clock import SYSTEM_CLOCK, Clock
from stablequeue_client.files.file_io import OS_IO, WINDOWS, ScanIO
from stablequeue_client.files.file_reader import no_further_claims
from stablequeue_client.files.read_lock import ReadingLocks
from stablequeue_client.files.webui_hash_cache import WebuiCache
from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.hub_client.identity import identity_for
from stablequeue_client.hub_client.link import REFUSALS, HubLink
from stablequeue_client.hub_client.membership import Membership
from stablequeue_client.index.database import DamagedDatabaseError
from stablequeue_client.index.digest_store import open_digest_store
from stablequeue_client.index.index import open_index
from stablequeue_client.shared.errors import (
    DataFolderError,
    HubUnreachableError,
    NotAHubError,
    StableQueueError,
    UsageError,
)
from stablequeue_client.shared.parent_process import ParentProcess, is_alive
from stablequeue_client.shared.wire.inventory import digest_hex, native_path
from stablequeue_client.shared.wire.orders import Order
from stablequeue_client.shared.wire.transfers import TransferPolicy
from stablequeue_client.transfers.receiving import ReceivingServer, TransferReceiver
from stablequeue_client.transfers.sending import ChunkSender

__all__ = ["AgentSettings", "HashingMode", "ParentProcess", "run", "scan_only"]

logger = logging.getLogger(__name__)

EXIT_DONE, EXIT_PROBLEMS = 0, 3

POLL_S = 0.25
PROGRESS_S = 1.0
REFRESH_S = 15.0
REPORT_S = 2.0
PARENT_S = 0.5
CLOSE_S = 0.5
"""How long threads get to end by themselves; one that hangs in a call is left behind."""
FAILED_RETRY_S = 10.0
ONCE_HUB_PATIENCE_S = 30.0
"""With ``once``, a hub that stopped answering is waited for no longer than this after the work is done."""
PROBLEM_STATES = frozenset({"partial", "busy", "unstable", "corrupt", "unreadable"})


def run(
    settings: AgentSettings,
    *,
    once: bool = False,
    stop: threading.Event | None = None,
    clock: Clock = SYSTEM_CLOCK,
    io: ScanIO = OS_IO,
) -> int:
    """Scan, hash and synchronise until stopped; with ``once`` until everything that can be done is done.

    Returns the exit code: 0 done, 3 done with problems, 4 hub unreachable, 5 refused by the hub. Raises
    AlreadyRunningError, DataFolderError and UsageError before anything has been done; so does a hub that
    refuses a server that never joined it. For a WebUI folders are read whatever is with the hub.
    """
    with agent_lock(settings.data_dir):
        identity = identity_for(settings.data_dir, settings.hub_url, settings.alias)
        in_webui = settings.parent is not None and settings.parent.webui
        if identity is None and in_webui:
            return _run_rebuilding(settings, None, once, stop, clock, io)
        if identity is None:
            raise UsageError(
                "No hub is known.", remedy="Give its address with --hub URL and a key with --join KEY."
            )
        url = identity.hub_url
        membership = Membership(
            identity,
            settings.join_secret,
            settings.data_dir,
            lambda key: HubApi(url, key, ca_file=settings.ca_file),
        )
        if not in_webui:  # there the loop greets: a hub that hangs must not hold up the folders
            _first_contact(membership, once)
        return _run_rebuilding(settings, membership, once, stop, clock, io)


def scan_only(
    settings: AgentSettings,
    *,
    stop: threading.Event | None = None,
    clock: Clock = SYSTEM_CLOCK,
    io: ScanIO = OS_IO,
) -> int:
    """Scan and hash without a hub; the rows are in the index of ``settings.data_dir`` afterwards.

    Returns 0, or 3 when a file or folder could not be read. Raises AlreadyRunningError, DataFolderError.
    """
    with agent_lock(settings.data_dir):
        return _run_rebuilding(settings, None, True, stop, clock, io)


def _first_contact(membership: Membership, once: bool) -> None:
    """Join if that is to be done. A hub that is only away now is no failure, unless ``once``."""
    joined_before = membership.joined
    try:
        membership.greet()
        if joined_before:
            membership.renew()
    except HubUnreachableError as error:
        if once or (isinstance(error, NotAHubError) and not joined_before):
            raise
        extra = {"action": "hub_failed", "code": error.code}
        logger.warning("%s Retrying.", error.message, extra=extra)
    except StableQueueError as error:
        if once or not joined_before:
            raise
        extra = {"action": "hub_failed", "code": error.code}
        logger.warning("%s %s", error.message, error.remedy, extra=extra)


def _run_rebuilding(
    settings: AgentSettings,
    membership: Membership | None,
    once: bool,
    stop: threading.Event | None,
    clock: Clock,
    io: ScanIO,
) -> int:
    """Run; when the index turns out to be damaged, open it again, which rebuilds it, and go on."""
    if settings.low_priority:
        lower_priority()
    ended = stop or threading.Event()
    while True:
        agent = Agent(settings, membership, once=once, ended=ended, clock=clock, io=io)
        try:
            return agent.run()
        except DamagedDatabaseError as error:
            logger.warning("%s %s", error.message, error.remedy, extra={"action": "index_damaged"})
        finally:
            agent.close()


class Agent:
    """One run over one open index."""

    def __init__(
        self,
        settings: AgentSettings,
        membership: Membership | None,
        *,
        once: bool,
        ended: threading.Event,
        clock: Clock,
        io: ScanIO,
        look: Probe = probe,
    ) -> None:
        """``look`` finds out where a folder lies."""
        self._settings = settings
        self._membership = membership
        self._once = once
        self._ended = ended
        self._clock = clock
        self._io = io
        self._stop = threading.Event()
        self._fatal: BaseException | None = None
        self._reported: str | None = None
        self._patience_s = CLOSE_S
        self._threads: list[threading.Thread] = []
        self._index = open_index(settings.data_dir, clock=clock.now)
        if self._index.repaired:
            logger.warning("%s", self._index.repaired, extra={"action": "index_rebuilt"})
        self._store = open_digest_store(settings.machine_dir)
        self._folders = probe_folders(settings, self._index, look=look)
        self._forget_removed_files()
        self._progress = ProgressTracker(clock)
        mark = self._mark = GeneratingMarker(settings.machine_dir, now=clock.now, monotonic=clock.monotonic)
        self._policy = HashingPolicy(
            "now" if once else settings.hashing, clock, generating=lambda: not once and mark.is_fresh()
        )
        if not once:
            restore_pause(self._index, self._policy)
        self._watchers: list[Watcher] = []
        self._build_local()
        self._link = HubLink(clock)
        self._sync: SyncLoop | None = None
        self._heartbeat: HeartbeatLoop | None = None
        self._capabilities: CapabilitiesReporter | None = None
        self._receiver: TransferReceiver | None = None
        self._sender: ChunkSender | None = None
        if membership is not None:
            self._build_hub_side(membership)
        self._reporter = Reporter(
            self._index, self._policy, self._scans, self._hashing, self._watchers, self._link,
            sync=self._sync, heartbeat=self._heartbeat, membership=membership, clock=clock,
        )  # fmt: skip

    def _build_local(self) -> None:
        settings = self._settings
        cache = WebuiCache(settings.webui_cache, settings.capabilities_file) if settings.webui_cache else None
        self._hashing = HashingPool(
            self._index,
            self._store,
            self._policy,
            self._progress,
            changed=self._changed,
            rescan=self._rescan,
            failed=self._reading_failed,
            network_rate=settings.network_rate,
            io=self._io,
            clock=self._clock,
            stop=self._stop,
            devices=self._folders.devices,
            locks=ReadingLocks(settings.machine_dir),
            further_claims=cache.claims if cache else no_further_claims,
        )
        self._scans = ScanLoop(
            self._index, self._folders, Walker(self._folders.roots, self._io, self._clock), self._progress,
            scanned=self._scanned, clock=self._clock, stop=self._stop, every_s=settings.sync_every_s,
            at_start=settings.sync_on_start or self._once,
        )  # fmt: skip
        self._order_executor = OrderExecutor(
            self._index,
            {root.root_id: root for root in self._folders.roots},
            self._policy,
            rescan=self._rescan,
            sync=self._sync_now,
            refresh=self._hashing.refresh,
            io=self._io,
            stop=self._stop,
        )

    def _is_joined(self) -> bool:
        """Return whether the hub knows us, and it is the one that answers."""
        return bool(self._membership and self._membership.joined and self._sync and self._sync.greeted)

    def _build_hub_side(self, member: Membership) -> None:
        server_id, key, settings = member.identity.server_id, member.identity.key, self._settings
        self._sync = SyncLoop(
            member.open_hub(key), server_id, self._index, self._link,
            greet=member.greet, clock=self._clock, stop=self._stop,
            automatic=settings.sync == "auto" or self._once,
            at_start=settings.sync_on_start or self._once,
            busy=lambda: not self._scans.is_idle(),
        )  # fmt: skip
        self._heartbeat = HeartbeatLoop(
            member.open_hub(key),
            server_id,
            self._link,
            joined=self._is_joined,
            inventory=self._inventory,
            activity=self._progress.activity,
            take_orders=self._take_orders,
            wanted=self._sync.wanted,
            transfers=self._wake_transfers,
            clock=self._clock,
            stop=self._stop,
        )
        if not self._once:
            self._build_transfers(member)
        if settings.capabilities_file is not None:
            self._capabilities = CapabilitiesReporter(
                member.open_hub(key), server_id, settings.capabilities_file, self._link,
                joined=self._is_joined, clock=self._clock, stop=self._stop,
            )  # fmt: skip

    def _build_transfers(self, member: Membership) -> None:
        server_id, key, settings = member.identity.server_id, member.identity.key, self._settings
        policy = TransferPolicy(settings.receive, settings.hand_out)
        server = ReceivingServer(
            server_id, self._folders.roots, self._folders.devices, self._index, self._store,
            received=self._received, generating=self._mark.is_fresh,
        )  # fmt: skip
        self._receiver = TransferReceiver(
            lambda: member.open_hub(key), server, policy, self._link,
            joined=self._is_joined, stop=self._stop, now=self._clock.now, io=self._io,
        )  # fmt: skip
        self._sender = ChunkSender(
            member.open_hub(key), server_id, self._folders.roots, self._index, policy, self._link,
            joined=self._is_joined, generating=self._mark.is_fresh, rescan=self._rescan, stop=self._stop,
            io=self._io,
        )  # fmt: skip

    # --- what the parts tell each other ----------------------------------------------------------------

    def _changed(self) -> None:
        if self._sync is not None:
            self._sync.changed()

    def _scanned(self) -> None:
        self._hashing.refresh()
        self._changed()

    def _wake_transfers(self) -> None:
        if self._receiver is not None and self._sender is not None:
            self._receiver.wake()
            self._sender.wake()

    def _received(self) -> None:
        """A copy is there, and in the index: nothing of it is to be read."""
        self._hashing.refresh()
        self._sync_now()

    def _rescan(self, root_id: str) -> None:
        self._scans.rescan(root_id)

    def _sync_now(self) -> None:
        if self._sync is not None:
            self._sync.now()

    def _take_orders(self, orders: list[Order]) -> None:
        store_orders(self._index, orders)
        self._order_executor.execute_pending()

    def _inventory(self) -> tuple[str, int, str, int]:
        here = self._index.position()
        return here.index_id, here.sequence, digest_hex(here.digest), self._index.orders_seen()

    def _thread_failed(self, error: BaseException) -> None:
        if self._fatal is None:
            self._fatal = error

    def _reading_failed(self, error: BaseException) -> bool:
        if self._tolerates(error):
            return not self._stop.wait(FAILED_RETRY_S)
        self._thread_failed(error)
        return False

    def _tolerates(self, error: BaseException) -> bool:
        """Return whether work goes on: a full disk passes, and all that was stored before is safe. Told
        once."""
        if self._once or isinstance(error, DamagedDatabaseError) or not isinstance(error, DataFolderError):
            return False
        if self._reported != error.message and not self._stop.is_set():
            logger.warning("%s %s", error.message, error.remedy, extra={"action": "data_folder_failed"})
            self._reported = error.message
        return True

    def _forget_removed_files(self) -> None:
        """Folders not in the settings any more and files that became private: no loss of files."""
        given = {root.root_id: root for root in self._folders.roots}
        for row in self._index.roots():
            if row.root_id not in given:
                self._index.forget_root(row.root_id)
        private = self._folders.private
        if private:
            self._index.forget_files(
                [
                    row.key
                    for row in self._index.rows()
                    if private.hides(given[row.root_id], native_path(row.path, windows=WINDOWS))
                ]
            )

    # --- the main thread -------------------------------------------------------------------------------

    def run(self) -> int:
        """Until ``ended``, until the parent is gone, or with ``once`` until all is done; the exit code."""
        self._start_threads()
        looks = _Intervals(self._clock)
        orders_version: int | None = None
        while not self._ended.is_set():
            if self._fatal is not None:
                raise self._fatal
            if looks.due("parent", PARENT_S) and not self._parent_lives():
                return EXIT_DONE
            try:
                if looks.due("progress", PROGRESS_S):
                    self._index.write_progress(self._progress.activity())
                    self._reported = None
                    version = self._index.data_version()
                    if version != orders_version:
                        self._order_executor.execute_pending()
                        orders_version = version
                if looks.due("report", REPORT_S):
                    self._reporter.write()
                if looks.due("refresh", REFRESH_S):
                    self._hashing.refresh()
            except DataFolderError as error:
                if not self._tolerates(error):
                    raise
            if self._once and (code := self._exit_code_when_done()) is not None:
                return code
            time.sleep(POLL_S)  # not an event: a signal's handler sets ``ended`` in this very thread
        return EXIT_DONE

    def _start_threads(self) -> None:
        loops: list[Callable[[], None]] = [self._scans.run]
        if self._sync is not None and self._heartbeat is not None:
            loops += [self._sync.run, self._heartbeat.run]
        if self._capabilities is not None:
            loops.append(self._capabilities.run)
        if self._receiver is not None and self._sender is not None:
            loops += [self._receiver.run, self._sender.run]
        for loop in loops:
            thread = threading.Thread(
                target=self._supervised, args=(loop,), name=f"stablequeue-{loop.__qualname__}", daemon=True
            )
            self._threads.append(thread)
            thread.start()
        if self._settings.watch and not self._once:
            local = [root for root in self._folders.roots if not self._folders.is_network(root.root_id)]
            self._watchers += [Watcher(root, self._scans.event, self._stop) for root in local]
            for watcher in self._watchers:
                watcher.start()

    def _supervised(self, loop: Callable[[], None]) -> None:
        """Run a loop; what it cannot mend itself is told, and it starts again after a while."""
        while not self._stop.is_set():
            try:
                loop()
                return
            except DamagedDatabaseError as error:
                if not self._stop.is_set():
                    self._thread_failed(error)
                return
            except StableQueueError as error:
                extra = {"action": "loop_failed", "code": error.code}
                logger.warning("%s %s", error.message, error.remedy, extra=extra)
            except Exception as error:
                logger.exception("Unexpected error.", extra={"action": "loop_failed"})
                if self._once:
                    self._thread_failed(error)
                    return
            self._stop.wait(FAILED_RETRY_S)

    def _parent_lives(self) -> bool:
        parent = self._settings.parent
        if parent is None or is_alive(parent):
            return True
        logger.info("The parent process has ended.", extra={"action": "parent_gone"})
        self._patience_s = 0.0  # nobody is left to whom another half second would be worth anything
        return False

    # --- once ------------------------------------------------------------------------------------------

    def _exit_code_when_done(self) -> int | None:
        """The exit code when everything that can be done is done, else None."""
        if not (self._scans.is_idle() and self._hashing.done() and self._scans.is_idle()):
            return None
        if self._sync is None or self._sync.is_synced():
            return self._exit_code()
        problem = self._sync.problem or self._link.state().problem
        if problem is None:
            return None
        if isinstance(problem, REFUSALS):
            raise problem
        if self._clock.now() - self._link.state().since > ONCE_HUB_PATIENCE_S:
            raise problem
        return None

    def _exit_code(self) -> int:
        troubled = any(row.state in PROBLEM_STATES for row in self._index.rows())
        unwell = any(root.health != "healthy" for root in self._index.roots())
        rejected = bool(self._sync and self._sync.rejected)
        return EXIT_PROBLEMS if troubled or unwell or rejected else EXIT_DONE

    def close(self) -> None:
        """Stop the threads, as far as they can be stopped, and close the files."""
        self._stop.set()
        self._scans.wake()
        self._wake_transfers()
        if self._sync is not None and self._heartbeat is not None:
            self._sync.wake()
            self._heartbeat.send_now()
        end = time.monotonic() + self._patience_s
        for thread in self._threads:
            thread.join(timeout=max(0.0, end - time.monotonic()))
        with suppress(StableQueueError):
            self._index.write_progress(self._progress.activity())
        self._store.close()
        self._index.close()


class _Intervals:
    """What the main thread does now and then."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last: dict[str, float] = {}

    def due(self, name: str, every_s: float) -> bool:
        """Return whether it is time again (at the first call it is)."""
        now = self._clock.monotonic()
        if now - self._last.get(name, float("-inf")) < every_s:
            return False
        self._last[name] = now
        return True
