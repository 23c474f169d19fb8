"""Telling the hub what this server's WebUI can do, whenever that changed."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from stablequeue_client.clock import Clock
from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.hub_client.link import HubLink
from stablequeue_client.shared.errors import StableQueueError
from stablequeue_client.shared.wire.inventory import CAPABILITIES_MAX_BYTES, ServerCapabilities

logger = logging.getLogger(__name__)

POLL_S = 5.0
RETRY_S = 300.0
"""A hub that does not take them (an older one has no such route) is told again this rarely."""


class CapabilitiesReporter:
    """Runs in a thread of its own until ``stop``; its failures say nothing about the way to the hub.

    Sent once per start, when the file changed, and when the hub came back: it may be another one by then.
    """

    def __init__(
        self,
        api: HubApi,
        server_id: str,
        file: Path,
        link: HubLink,
        *,
        joined: Callable[[], bool],
        clock: Clock,
        stop: threading.Event,
    ) -> None:
        self._api = api
        self._server_id = server_id
        self._file = file
        self._link = link
        self._joined = joined
        self._clock = clock
        self._stop = stop
        self._told = b""
        self._not_before = clock.monotonic()
        link.on_reconnect(self._reset)

    def _reset(self) -> None:
        self._told = b""
        self._not_before = self._clock.monotonic()

    def run(self) -> None:
        """Look every few seconds."""
        while not self._stop.is_set():
            self.report_if_changed()
            self._clock.wait(self._stop, POLL_S)
        self._api.close()

    def report_if_changed(self) -> None:
        """Tell the hub if there is something new and it is there."""
        if not self._joined() or self._link.state().problem or self._clock.monotonic() < self._not_before:
            return
        said = self._read()
        if said is None:
            return
        digest = hashlib.sha256(msgspec.json.encode(said)).digest()
        if digest == self._told:
            return
        try:
            self._api.put_capabilities(self._server_id, said)
        except StableQueueError as error:
            self._not_before = self._clock.monotonic() + RETRY_S
            extra = {"action": "capabilities_failed", "code": error.code}
            logger.info("The hub rejected the capabilities of this WebUI: %s", error.message, extra=extra)
        else:
            self._told = digest

    def _read(self) -> ServerCapabilities | None:
        """Return what the file says; None when there is none, or none that can be sent."""
        try:
            data = self._file.read_bytes()
            return msgspec.json.decode(data, type=ServerCapabilities) if _fits(data) else None
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None


def _fits(data: bytes) -> bool:
    return len(data) <= CAPABILITIES_MAX_BYTES
