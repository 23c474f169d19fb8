"""The heartbeat: every 10 seconds, on its own connection, never behind a sync."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable

from stablequeue_client.clock import Clock, JumpWatch
from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.hub_client.link import HubLink
from stablequeue_client.shared.errors import (
    AuthenticationError,
    ForgottenServerError,
    ServerFrozenError,
    StableQueueError,
)
from stablequeue_client.shared.wire.inventory import (
    HEARTBEAT_INTERVAL_S,
    Activity,
    Heartbeat,
    HeartbeatAnswer,
)
from stablequeue_client.shared.wire.orders import Order

logger = logging.getLogger(__name__)

JOIN_POLL_S = 0.5
SLICE_S = 2.0
"""The wait is cut into pieces of this length, to notice soon after a sleep that the machine slept."""


class HeartbeatLoop:
    """Runs in a thread of its own until ``stop``.

    ``inventory`` gives (index_id, sequence, digest, orders_seen) as of now; ``take_orders`` must have
    stored them when it returns; ``wanted`` is told which sync the hub needs, ``transfers``
    that there are copies that this server receives or hands out. Nothing is sent before
    ``joined``.
    """

    def __init__(
        self,
        api: HubApi,
        server_id: str,
        link: HubLink,
        *,
        joined: Callable[[], bool],
        inventory: Callable[[], tuple[str, int, str, int]],
        activity: Callable[[], Activity],
        take_orders: Callable[[list[Order]], None],
        wanted: Callable[[str], None],
        transfers: Callable[[], None] = lambda: None,
        clock: Clock,
        stop: threading.Event,
    ) -> None:
        self._api = api
        self._server_id = server_id
        self._link = link
        self._joined = joined
        self._inventory = inventory
        self._activity = activity
        self._take_orders = take_orders
        self._wanted = wanted
        self._transfers = transfers
        self._clock = clock
        self._stop = stop
        self._boot_id = secrets.token_hex(8)
        self._counter = 0
        self._jumps = JumpWatch(clock)
        self._send_now = threading.Event()
        self.frozen: ServerFrozenError | None = None
        """Two processes use this identity; heartbeats go on, so that the hub sees when one has ended."""

    def send_now(self) -> None:
        """Send the next one at once."""
        self._send_now.set()

    def run(self) -> None:
        """Beat until stopped."""
        while not self._stop.is_set():
            wait = self._link.retry_in() if self._joined() else JOIN_POLL_S
            if wait <= 0:
                wait = self.beat()
            self._sleep(wait)
        self._api.close()

    def beat(self) -> float:
        """One heartbeat; the seconds until the next. Raises DataFolderError when the index cannot be used."""
        self._counter += 1
        said = self._heartbeat()
        try:
            answer = self._api.heartbeat(self._server_id, said)
        except ServerFrozenError as error:
            self._report_frozen(error)
            return HEARTBEAT_INTERVAL_S
        except AuthenticationError:
            return self._link.failed(ForgottenServerError())
        except StableQueueError as error:
            return self._link.failed(error)
        self.frozen = None
        self._link.succeeded()
        self._apply(answer)
        return HEARTBEAT_INTERVAL_S

    def _report_frozen(self, error: ServerFrozenError) -> None:
        self._link.succeeded()
        if self.frozen is None:
            logger.warning("%s %s", error.message, error.remedy, extra={"action": "frozen"})
        self.frozen = error

    def _heartbeat(self) -> Heartbeat:
        index_id, sequence, digest, orders_seen = self._inventory()
        return Heartbeat(
            boot_id=self._boot_id,
            boot_counter=self._counter,
            index_id=index_id,
            sequence=sequence,
            digest=digest,
            activity=self._activity(),
            orders_seen=orders_seen,
        )

    def _apply(self, answer: HeartbeatAnswer) -> None:
        if answer.want is not None:
            self._wanted(answer.want)
        if answer.transfers:
            self._transfers()
        if answer.orders:
            self._take_orders(answer.orders)
            self._send_now.set()  # tells the hub that they were taken over

    def _sleep(self, seconds: float) -> None:
        end = self._clock.monotonic() + seconds
        while not self._stop.is_set():
            left = end - self._clock.monotonic()
            if left <= 0 or self._clock.wait(self._send_now, min(left, SLICE_S)):
                break
            if self._jumps.jumped():
                logger.info("The clock jumped.", extra={"action": "clock_jumped"})
                self._link.try_now()
                break
        self._send_now.clear()
