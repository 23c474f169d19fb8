"""Orders in the index, from the hub, the command line or a WebUI, are carried out here."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from stablequeue_client.agent.policy import HashingPolicy
from stablequeue_client.files.file_io import WINDOWS, ScanIO
from stablequeue_client.files.read_throttle import ReadingStoppedError
from stablequeue_client.files.restore_name import put_back
from stablequeue_client.files.scanner import Root
from stablequeue_client.index.index import Index
from stablequeue_client.index.orders import StoredOrder
from stablequeue_client.index.rows import PendingFile
from stablequeue_client.shared.errors import NotFoundError, StableQueueError, UsageError
from stablequeue_client.shared.wire.inventory import native_path
from stablequeue_client.shared.wire.orders import Order

logger = logging.getLogger(__name__)

PAUSE_MAX_S = 7 * 86_400


def restore_pause(index: Index, policy: HashingPolicy) -> None:
    """Resume a pause that was ordered before this process began, until its end."""
    left = index.stored_pause()
    if 0 < left <= PAUSE_MAX_S:  # else the clock was set back since
        policy.pause(left)


def store_orders(index: Index, orders: list[Order]) -> None:
    """Take the hub's orders over into the index; one that is already there is not taken twice."""
    for order in orders:
        if order.id <= index.orders_seen():
            continue
        fields = {"root": order.root, "path": order.path, "mode": order.mode, "until_s": order.until_s}
        known = {name: value for name, value in fields.items() if value is not None}
        index.add_order(order.kind, known, order.expires_in_s, hub_order_id=order.id)


class OrderExecutor:
    """Carries orders out, each once; what takes long goes to a thread of its own."""

    def __init__(
        self,
        index: Index,
        roots: Mapping[str, Root],
        policy: HashingPolicy,
        *,
        rescan: Callable[[str], None],
        sync: Callable[[], None],
        refresh: Callable[[], None],
        io: ScanIO,
        stop: threading.Event,
    ) -> None:
        self._index = index
        self._roots = roots
        self._policy = policy
        self._rescan = rescan
        self._sync = sync
        self._refresh = refresh
        self._io = io
        self._stop = stop
        self._in_work: set[int] = set()

    def execute_pending(self) -> None:
        """Execute all orders that wait."""
        for order in self._index.take_orders():
            if order.id in self._in_work:
                continue
            if order.kind == "put_back":
                self._in_work.add(order.id)
                threading.Thread(
                    target=self._finish, args=(order,), name="stablequeue-put-back", daemon=True
                ).start()
            else:
                self._finish(order)

    def _finish(self, order: StoredOrder) -> None:
        extra = {"action": "order", "kind": order.kind}
        try:
            self._execute(order.kind, order.fields)
            logger.info("Order carried out: %s.", order.kind, extra=extra)
        except ReadingStoppedError:
            return  # taken up again at the next start
        except StableQueueError as error:
            extra = {"action": "order_refused", "kind": order.kind, "code": error.code}
            logger.warning("%s %s", error.message, error.remedy, extra=extra)
        self._index.order_done(order.id)
        self._in_work.discard(order.id)

    def _execute(self, kind: str, fields: Mapping[str, Any]) -> None:
        if kind == "rescan":
            self._rescan_some(fields.get("root"))
        elif kind == "sync":
            self._sync()
        elif kind == "hashing":
            self._hashing(fields)
        elif kind == "accept_removals":
            root = self._root(fields.get("root"))
            self._index.accept_removals(root.root_id)
            self._rescan(root.root_id)
        elif kind == "put_back":
            self._put_back(str(fields.get("root")), str(fields.get("path")))
        else:
            raise UsageError(f"Unknown order {kind!r}.")

    def _rescan_some(self, root_id: str | None) -> None:
        for root in [self._root(root_id)] if root_id else self._roots.values():
            self._rescan(root.root_id)

    def _hashing(self, fields: Mapping[str, Any]) -> None:
        mode, until_s = fields.get("mode"), fields.get("until_s")
        if mode == "pause" and isinstance(until_s, int) and until_s > 0:
            seconds = min(until_s, PAUSE_MAX_S)
            self._policy.pause(seconds)
            self._index.store_pause(seconds)
        elif mode in ("now", "later", "idle"):
            self._policy.set_mode(mode)
            self._index.store_pause(0)
        else:
            raise UsageError("The hashing order has no mode.")
        self._refresh()

    def _root(self, root_id: object) -> Root:
        root = self._roots.get(str(root_id))
        if root is None:
            raise NotFoundError(f"There is no folder {str(root_id)[:16]!r} on this server.")
        return root

    def _put_back(self, root_id: str, path: str) -> None:
        root = self._root(root_id)
        row = self._index.row(root_id, path)
        if row is None or row.state != "set_aside":
            raise NotFoundError(
                "No file of that name was set aside.", remedy="Have the folder checked again."
            )
        native = self._native(root, path)
        try:
            put_back(native, row.kind, row.stat, stop=self._stop.is_set, io=self._io)
        except StableQueueError as error:
            if not isinstance(error, ReadingStoppedError):
                self._note(row.kind, native, root_id, path, str(error))
            raise
        self._rescan(root_id)

    def _native(self, root: Root, path: str) -> str:
        sep = "\\" if WINDOWS else "/"
        return root.path.rstrip(sep) + sep + native_path(path, windows=WINDOWS)

    def _note(self, kind: Any, native: str, root_id: str, path: str, reason: str) -> None:
        """The row says why it was not put back."""
        row = self._index.row(root_id, path)
        if row is None:
            return
        item = PendingFile(
            root_id, path, kind, native, row.stat, 0.0, False, False, (), int(time.time() * 1000)
        )
        self._index.record_problem(item, "set_aside", reason)
        self._sync()
