"""Telling the hub what is on this server: full or delta, one request at a time.

What an answer means and what follows (docs/protocol.md): out of step -> the delta from where the hub
stands, else everything; rolled back -> a new identity for the index, then everything; a mismatch after
everything, or a frozen server -> five minutes of silence; a network failure -> the link's back-off.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Protocol

from stablequeue_client.clock import Clock
from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.hub_client.link import HubLink
from stablequeue_client.index.change_log import Position
from stablequeue_client.index.inventory import SyncContent, sync_request
from stablequeue_client.shared.errors import (
    AuthenticationError,
    DataFolderError,
    DigestMismatchError,
    ForgottenServerError,
    RolledBackError,
    ServerFrozenError,
    StableQueueError,
    SyncOutOfStepError,
    TooLargeError,
)
from stablequeue_client.shared.wire.inventory import (
    MISMATCH_BACKOFF_S,
    WANT_METADATA_MAX,
    RejectedEntry,
    SyncAnswer,
)

logger = logging.getLogger(__name__)

BATCH_S = 2.0
"""Changes that come thick (while hashing) are sent together, at most this often."""
TRIES = 5
"""Requests of one synchronisation: delta, right delta, full, full under a new identity, and one to spare."""
IDLE_WAIT_S = 3_600.0
FROZEN_BACKOFF_S = 300.0


class SyncedIndex(Protocol):
    """What a synchronisation needs of the index."""

    def position(self) -> Position: ...
    def full(self) -> SyncContent: ...
    def delta(self, base_sequence: int) -> SyncContent: ...
    def acknowledge(self, hub_id: str, index_id: str, sequence: int) -> None: ...
    def acked(self, hub_id: str) -> int | None: ...
    def new_identity(self) -> str: ...
    def metadata_of(self, sha256: str) -> dict[str, str] | None: ...


class SyncLoop:
    """Runs in a thread of its own until ``stop``. ``greet`` makes sure that this is our hub, we joined.

    Not ``automatic``: nothing is sent before ``now``; what is found while ``busy`` (the walk that belongs to
    the order) is sent with it, and nothing after. Not ``at_start``: nothing before something changed.
    """

    def __init__(
        self,
        api: HubApi,
        server_id: str,
        index: SyncedIndex,
        link: HubLink,
        *,
        greet: Callable[[], str],
        clock: Clock,
        stop: threading.Event,
        automatic: bool = True,
        at_start: bool = True,
        busy: Callable[[], bool] = lambda: False,
    ) -> None:
        self._api = api
        self._server_id = server_id
        self._index = index
        self._link = link
        self._greet = greet
        self._clock = clock
        self._stop = stop
        self._wake = threading.Event()
        self._urgent = threading.Event()
        link.on_reconnect(self._urgent.set)
        self._want: str | None = None
        self._working = False
        self._hub_id: str | None = None
        self._automatic = automatic
        self._busy = busy
        self._may_tell = automatic and at_start
        self._not_before = clock.monotonic()
        self.problem: StableQueueError | None = None
        """Why the hub refuses the inventory although it answers."""
        self.problem_since = clock.now()
        self.greeted = False
        """Whether our hub has ever answered at this address; before that no key goes there."""
        self.rejected: list[RejectedEntry] = []
        self.last_sync: float | None = None
        """Unix seconds of the last answer that took what was sent."""

    # --- called from other threads ---------------------------------------------------------------------

    def changed(self) -> None:
        """The index may have something new."""
        self._may_tell = self._may_tell or self._automatic
        self._wake.set()

    def wanted(self, mode: str) -> None:
        """The hub needs a sync: ``full`` or ``delta``."""
        self._want = "full" if "full" in (mode, self._want) else mode
        self._wake.set()

    def now(self) -> None:
        """Somebody asks for a sync now: waits for back-off are over."""
        self._may_tell = True
        self._not_before = self._clock.monotonic()
        self._link.try_now()
        self.wanted("delta")
        self._urgent.set()

    def wake(self) -> None:
        """Look at ``stop``."""
        self._wake.set()
        self._urgent.set()

    def is_synced(self) -> bool:
        """Return whether the hub has acknowledged all there is, and nothing more is asked or being sent."""
        if self._working or self._want is not None:
            return False
        here = self._index.position()
        return self._hub_id is not None and self._index.acked(self._hub_id) == here.sequence

    # --- the loop --------------------------------------------------------------------------------------

    def run(self) -> None:
        """Synchronise whenever there is something to say, until stopped."""
        while not self._stop.is_set():
            self._wake.clear()
            self._close_if_told()
            if self._is_idle():
                self._clock.wait(self._wake, IDLE_WAIT_S)
                continue
            self._urgent.clear()
            hold = max(0.0, self._not_before - self._clock.monotonic()) or self._link.retry_in()
            if hold > 0:
                self._clock.wait(self._urgent, hold)
            else:
                self.sync()
        self._api.close()

    def _is_idle(self) -> bool:
        """Nothing to say, or nobody wants to hear it; but who answers there is always found out."""
        return self.is_synced() or (not self._may_tell and self._hub_id is not None)

    def _close_if_told(self) -> None:
        if not self._automatic and self._may_tell and not self._busy() and self.is_synced():
            self._may_tell = False

    def sync(self) -> None:
        """One synchronisation; sets when the next may begin. Raises DataFolderError, nothing for the hub."""
        self._working = True
        try:
            if self._hub_id is None:
                self._hub_id = self._greet()
                self.greeted = True
            if self._may_tell:
                answer = self._exchange(self._hub_id)
                self._link.succeeded()
                self._done(answer)
            else:
                self._link.succeeded()
            wait = BATCH_S
        except DataFolderError:  # our own disk, not the hub
            raise
        except StableQueueError as error:
            wait = self._failed(error)
        finally:
            self._working = False
        self._not_before = self._clock.monotonic() + wait

    def _exchange(self, hub_id: str) -> SyncAnswer:
        """Requests until the hub has what we have. Raises what cannot be mended by another request."""
        content = self._first_content(hub_id)
        for _ in range(TRIES):
            try:
                answer = self._api.sync(self._server_id, sync_request(content))
            except AuthenticationError as error:
                raise ForgottenServerError from error
            except SyncOutOfStepError as error:
                content = self._realigned(content, error)
            except RolledBackError:
                self._index.new_identity()
                logger.warning(
                    "The index was set back to an earlier state: new identity.",
                    extra={"action": "rolled_back"},
                )
                content = self._index.full()
            else:
                self._index.acknowledge(hub_id, content.index_id, content.sequence)
                extra = {"action": "synced", "mode": content.mode, "rows": content.rows}
                logger.info("Synchronised %d rows (%s).", content.rows, content.mode, extra=extra)
                return answer
        raise SyncOutOfStepError(
            "The hub and this server cannot agree on the inventory.", remedy="It is retried later."
        )

    def _first_content(self, hub_id: str) -> SyncContent:
        base = self._index.acked(hub_id)
        want, self._want = self._want, None
        return self._index.full() if base is None or want == "full" else self._index.delta(base)

    def _realigned(self, sent: SyncContent, error: SyncOutOfStepError) -> SyncContent:
        """Return what to send instead: the delta from where the hub stands, if that is a place we know of."""
        base = error.details.get("sequence")
        same_index = error.details.get("index_id") == sent.index_id
        tried = sent.mode == "delta" and base == sent.base_sequence
        if same_index and isinstance(base, int) and not tried and 0 < base <= sent.sequence:
            return self._index.delta(base)
        return self._index.full()

    def _failed(self, error: StableQueueError) -> float:
        if isinstance(error, (DigestMismatchError, SyncOutOfStepError, TooLargeError)):
            return self._refused(error, MISMATCH_BACKOFF_S)
        if isinstance(error, ServerFrozenError):
            return self._refused(error, FROZEN_BACKOFF_S)
        self._hub_id = None  # whoever answers next is asked first who it is
        return self._link.failed(error)

    def _refused(self, error: StableQueueError, wait: float) -> float:
        """The hub is there but does not take the inventory."""
        self._link.succeeded()
        if self.problem is None:
            self.problem_since = self._clock.now()
        self.problem = error
        extra = {"action": "sync_refused", "code": error.code}
        logger.warning("%s %s", error.message, error.remedy, extra=extra)
        return wait

    def _done(self, answer: SyncAnswer) -> None:
        self.problem = None
        self.last_sync = self._clock.now()
        self._want = None  # asked before the hub had this; the next heartbeat tells whether it still holds
        self.rejected = list(answer.rejected)
        for entry in answer.rejected:
            extra = {"action": "entry_rejected", "root": entry.root}
            logger.warning("The hub cannot use %s: %s", entry.path, entry.reason, extra=extra)
        sent = [sha256 for sha256 in answer.want_metadata if self._send_metadata(sha256)]
        if sent and len(answer.want_metadata) >= WANT_METADATA_MAX:
            self._want = "delta"  # to be asked for the rest

    def _send_metadata(self, sha256: str) -> bool:
        """Header fields of one content; a failure of one does not stop the rest: the hub asks again."""
        fields = self._index.metadata_of(sha256)
        if fields is None or self._stop.is_set():
            return False
        try:
            self._api.put_metadata(sha256, fields)
        except StableQueueError as error:
            extra = {"action": "metadata_failed", "code": error.code}
            logger.warning("Metadata of %s was not taken: %s", sha256[:10], error.message, extra=extra)
            return False
        return True
