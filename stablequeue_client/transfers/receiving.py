"""The target's side of copies: claims one at a time, fetches its bytes, writes it, tells index and hub.

Runs in a thread of its own, with two more while something is fetched, so that one writes and hashes while
the other's bytes are on their way. The owner's policy of this machine counts, whatever the hub says.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from stablequeue_client.files.devices import Device
from stablequeue_client.files.file_io import OS_IO, WINDOWS, ScanIO, stat_key
from stablequeue_client.files.model_folders import Root
from stablequeue_client.files.model_writer import (
    ModelWriter,
    WantedFile,
    WrittenFile,
    WrongContentError,
    sweep_parts,
)
from stablequeue_client.files.safe_names import safe_file_name, with_short_hash
from stablequeue_client.files.same_file import same_file
from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.hub_client.link import HubLink
from stablequeue_client.index.digest_store import DigestStore
from stablequeue_client.index.index import Index
from stablequeue_client.shared.errors import (
    AuthenticationError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    StableQueueError,
)
from stablequeue_client.shared.model_files.model_file import stem_key
from stablequeue_client.shared.model_files.safetensors_header import allowed_metadata, base_model
from stablequeue_client.shared.wire.inventory import native_path, wire_path
from stablequeue_client.shared.wire.transfers import (
    CHUNK_BYTES,
    REPORT_EVERY_S,
    TRANSFER_TEXT_MAX,
    ReportAnswer,
    TransferOrder,
    TransferPolicy,
    TransferReport,
)

logger = logging.getLogger(__name__)

FETCHERS = 2
RETRY_S = 2.0
PAUSE_S = 0.5
IDLE_S = 5.0
OVER = (ConflictError, NotFoundError, ForbiddenError, AuthenticationError)
"""Answers after which nobody waits for this copy any more."""


class NotAllowedError(StableQueueError):
    """The owner of this computer does not allow this copy."""

    code = "receive_never"


class NoFolderError(StableQueueError):
    """No model folder of this kind is connected here."""

    code = "no_folder"
    remedy_text = "Connect or add one on that computer, then copy again."


@dataclass(frozen=True)
class ReceivingServer:
    """What this side needs of the server: its folders, its index, and whom to tell."""

    server_id: str
    roots: tuple[Root, ...]
    devices: Mapping[str, Device]
    index: Index
    store: DigestStore
    received: Callable[[], None]
    generating: Callable[[], bool]


class TransferReceiver:
    """Runs in a thread of its own until ``stop``. ``wake`` after a heartbeat that says there is something."""

    def __init__(
        self,
        open_hub: Callable[[], HubApi],
        server: ReceivingServer,
        policy: TransferPolicy,
        link: HubLink,
        *,
        joined: Callable[[], bool],
        stop: threading.Event,
        now: Callable[[], float] = time.time,
        io: ScanIO = OS_IO,
    ) -> None:
        self._open_hub, self._server, self._policy, self._link = open_hub, server, policy, link
        self._joined, self._stop, self._now, self._io = joined, stop, now, io
        self._api = open_hub()
        self._wake = threading.Event()
        self._told = False
        link.on_reconnect(self._tell_again)

    def wake(self) -> None:
        """There is a copy for this server."""
        self._wake.set()

    def _tell_again(self) -> None:
        self._told = False  # it may be another hub by now

    def run(self) -> None:
        """Receive one copy after another."""
        for root in self._server.roots:
            sweep_parts(root.path, (), now=self._now())
        while not self._stop.is_set():
            if not self._joined() or self._link.state().problem:
                self._stop.wait(PAUSE_S)
            elif not self._step():
                self._wake.wait(IDLE_S)
        self._api.close()

    def _step(self) -> bool:
        """Tell the policy, take a copy; whether there was one."""
        try:
            if not self._told:
                self._api.put_transfer_policy(self._server.server_id, self._policy)
                self._told = True
            if not self._wake.is_set():
                return False
            self._wake.clear()
            order = self._api.next_transfer(self._server.server_id)
        except NotFoundError:  # an older hub has no such route
            self._told = True
            return False
        except StableQueueError as error:
            logger.debug("No copies: %s", error.message, extra={"action": "transfers_failed"})
            return False
        if order is None:
            return False
        self._wake.set()  # perhaps there is another one behind it
        self._receive(order)
        return True

    # --- one copy ---------------------------------------------------------------------------------------

    def _receive(self, order: TransferOrder) -> None:
        extra = {"action": "transfer", "transfer": order.transfer_id}
        try:
            path = self._copied(order)
        except _OverError:
            logger.info("Copy %d is not wanted any more.", order.transfer_id, extra=extra)
            return
        except StableQueueError as error:
            text = f"{error.message} {error.remedy}".strip()
            logger.warning("Copy %d failed: %s", order.transfer_id, text, extra=extra)
            report = TransferReport(order.fence, "failed", code=error.code, text=text[:TRANSFER_TEXT_MAX])
        else:
            if path is None:
                return  # stopped; the next start resumes it
            logger.info("Copy %d is done.", order.transfer_id, extra=extra)
            report = TransferReport(order.fence, "done", order.size, path=path)
        self._report(order, report)

    def _report(self, order: TransferOrder, report: TransferReport) -> None:
        """Tell the end until the hub has heard it."""
        while not self._stop.is_set():
            try:
                self._api.report_transfer(self._server.server_id, order.transfer_id, report)
            except OVER:
                return
            except StableQueueError:
                self._stop.wait(RETRY_S)
            else:
                return

    def _copied(self, order: TransferOrder) -> str | None:
        """The wire path of the copy; None when this process ends. Raises _OverError and what went wrong."""
        self._require_allowed(order)
        here = self._here_already(order)
        if here is not None:
            return here
        root = self._folder(order)
        wanted = WantedFile(order.sha256, order.size, order.kind, self._free_name(order))
        written = self._written(order, root, wanted)
        if written is None:
            return None
        path = wire_path(written.name, windows=WINDOWS)
        metadata = allowed_metadata(written.header.metadata)
        base = base_model(written.header.metadata)
        self._server.index.record_received(
            root.root_id, path, order.kind, written.result, metadata, base_model=base
        )
        self._server.store.put(written.path, written.result.stat, written.result.digests)
        self._server.received()
        return path

    def _require_allowed(self, order: TransferOrder) -> None:
        if self._policy.receive == "never" or (self._policy.receive == "ask" and not order.by_person):
            raise NotAllowedError

    def _here_already(self, order: TransferOrder) -> str | None:
        """The path of a file with this content, if one lies here as it was read."""
        roots = {root.root_id: root for root in self._server.roots}
        for row in self._server.index.rows_with(order.sha256):
            root = roots.get(row.root_id)
            if root is None or row.kind != order.kind:
                continue
            native = os.path.join(root.path, native_path(row.path, windows=WINDOWS))
            try:
                found = stat_key(self._io.stat(native), stable_inode=row.inode != 0)
            except OSError:
                continue
            if same_file(found, row.stat):
                return row.path
        return None

    def _folder(self, order: TransferOrder) -> Root:
        """The first connected folder of its kind. One whose files are missing may be an empty mount point."""
        well = {row.root_id for row in self._server.index.roots() if row.health == "healthy"}
        for root in self._server.roots:
            if root.kind == order.kind and root.root_id in well:
                return root
        raise NoFolderError

    def _free_name(self, order: TransferOrder) -> str:
        """A WebUI calls a model by its stem, wherever it lies: a stem that another content has leaves a
        doubt which of them is meant, so the copy gets the content's short hash."""
        try:
            given = native_path(order.name)
        except ValueError:
            given = order.name
        name = safe_file_name(given, order.sha256)
        taken = {stem_key(row.path) for row in self._server.index.rows() if row.kind == order.kind}
        if stem_key(name) not in taken:
            return name
        root = self._folder(order)
        there = self._server.index.row(root.root_id, wire_path(name, windows=WINDOWS))
        is_unread = there is not None and there.sha256 is None and there.size == order.size
        return name if is_unread else with_short_hash(name, order.sha256)  # perhaps it is this very content

    def _written(self, order: TransferOrder, root: Root, wanted: WantedFile) -> WrittenFile | None:
        for _ in range(2):
            writer = ModelWriter(
                root.path, wanted, stable_inode=self._server.devices[root.root_id].stable_inodes
            )
            resumed = False
            try:
                writer.open()
                resumed = writer.resumed
                fetch = _Fetch(self._open_hub, self._api, self._server, order, writer, self._stop)
                return writer.publish() if fetch.run() else None
            except WrongContentError:
                if not resumed:
                    raise
                # What was kept may have been spoilt; only a copy that came in one go tells of its source.
            finally:
                writer.close()
        raise WrongContentError


class _OverError(Exception):
    """Nobody waits for this copy any more."""


class _Fetch:
    """Gets all missing ranges of one copy into its writer."""

    def __init__(
        self,
        open_hub: Callable[[], HubApi],
        api: HubApi,
        server: ReceivingServer,
        order: TransferOrder,
        writer: ModelWriter,
        stop: threading.Event,
    ) -> None:
        self._open_hub, self._api, self._server = open_hub, api, server
        self._order, self._writer, self._stop = order, writer, stop
        self._lock = threading.Lock()
        self._taken: set[tuple[int, int]] = set()
        self._ended = threading.Event()
        self._error: BaseException | None = None
        self._discard = False
        self._before: tuple[float, int] | None = None
        """When the last report was, and what was here then."""

    def run(self) -> bool:
        """True when all of it is here; False when this process ends. Raises _OverError, WriteFailedError."""
        threads = [
            threading.Thread(target=self._fetch_all, name="stablequeue-fetch", daemon=True)
            for _ in range(FETCHERS)
        ]
        for thread in threads:
            thread.start()
        try:
            while any(thread.is_alive() for thread in threads) and not self._stop.is_set():
                self._report("running")
                threads[0].join(REPORT_EVERY_S)
                threads[-1].join(0.01)
        except _OverError as error:
            self._error = self._error or error
        finally:
            self._ended.set()
            for thread in threads:
                thread.join()
        if isinstance(self._error, _OverError) and not self._discard:
            with suppress(_OverError):  # a fetching thread learned of it first: is it cancelled?
                self._report("running")
        if self._discard:
            self._writer.discard()
        if self._error is not None:
            raise self._error
        if self._writer.missing(1) is not None:
            return False
        self._report("verifying")
        return True

    def _report(self, state: str) -> None:
        assert state in ("running", "verifying")
        done = self._writer.received
        report = TransferReport(self._order.fence, state, done, self._rate(done))  # type: ignore[arg-type]
        try:
            answer = self._api.report_transfer(self._server.server_id, self._order.transfer_id, report)
        except OVER:
            answer = ReportAnswer(stop=True)
        except StableQueueError:
            return  # the hub is away; the fetching threads wait for it
        if answer.stop:
            self._ended.set()
            self._discard = answer.discard
            raise _OverError

    def _rate(self, done: int) -> int:
        """Bytes a second since the last report."""
        now = time.monotonic()
        before, self._before = self._before, (now, done)
        if before is None or now <= before[0]:
            return 0
        return max(0, int((done - before[1]) / (now - before[0])))

    def _fetch_all(self) -> None:
        api = self._open_hub()
        try:
            while not (self._ended.is_set() or self._stop.is_set()):
                if self._server.generating():
                    self._ended.wait(PAUSE_S)
                    continue
                wanted = self._take()
                if wanted is None:
                    if self._writer.missing(1) is None:
                        return
                    self._ended.wait(0.05)  # the rest is on its way to the other thread
                    continue
                try:
                    self._fetch(api, wanted)
                finally:
                    with self._lock:
                        self._taken.discard(wanted)
        except OVER:
            self._end(_OverError())
        except BaseException as error:
            self._end(error)
        finally:
            api.close()

    def _end(self, error: BaseException) -> None:
        self._error = self._error or error
        self._ended.set()

    def _take(self) -> tuple[int, int] | None:
        with self._lock:
            wanted = self._writer.missing(CHUNK_BYTES, self._taken)
            if wanted is not None:
                self._taken.add(wanted)
            return wanted

    def _fetch(self, api: HubApi, wanted: tuple[int, int]) -> None:
        start, end = wanted
        try:
            data = api.transfer_chunk(
                self._server.server_id, self._order.transfer_id, self._order.fence, start, end - start
            )
        except OVER:
            raise
        except StableQueueError:
            self._ended.wait(RETRY_S)  # the hub is away, or restarts: nothing is lost but this range
            return
        if data and not self._ended.is_set():
            self._writer.write(start, data)
