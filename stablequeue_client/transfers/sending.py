"""The source's side of copies: answers ranges of exactly the files that the index has read.

Before and after each piece the file is looked at: one that changed is served no more, so no copy is ever
made of two contents. What is private, not read or not a safetensors file is not here at all.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress

from stablequeue_client.files.chunk_reader import read_chunk
from stablequeue_client.files.file_io import (
    OS_IO,
    WINDOWS,
    FileChangedError,
    FileUnreadableError,
    ScanIO,
)
from stablequeue_client.files.model_folders import Root
from stablequeue_client.files.safe_names import SUFFIX
from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.hub_client.connection import HTTP_STATUS
from stablequeue_client.hub_client.link import HubLink
from stablequeue_client.index.index import Index
from stablequeue_client.index.rows import IndexRow
from stablequeue_client.shared.errors import (
    BusyError,
    ConflictError,
    NotFoundError,
    StableQueueError,
    TooLargeError,
)
from stablequeue_client.shared.wire.inventory import native_path
from stablequeue_client.shared.wire.transfers import (
    CHUNK_BYTES,
    CHUNK_MIN_BYTES,
    SourceRefusal,
    TransferPolicy,
    WantedChunk,
)

logger = logging.getLogger(__name__)

IDLE_S = 5.0
PAUSE_S = 0.5
RETRY_S = 2.0
GROW_AFTER = 8
"""After so many pieces that went through a larger one is tried again, if none was refused for its size."""
TOO_LARGE = (
    "A proxy between this computer and the hub lets no request of 512 KiB through; allow larger ones there "
    "(nginx: client_max_body_size 16m)."
)


class ChunkSender:
    """Runs in a thread of its own until ``stop``. ``wake`` after a heartbeat that says there is something."""

    def __init__(
        self,
        api: HubApi,
        server_id: str,
        roots: tuple[Root, ...],
        index: Index,
        policy: TransferPolicy,
        link: HubLink,
        *,
        joined: Callable[[], bool],
        generating: Callable[[], bool],
        rescan: Callable[[str], None],
        stop: threading.Event,
        io: ScanIO = OS_IO,
    ) -> None:
        self._api, self._server_id, self._index, self._policy, self._link = (
            api, server_id, index, policy, link,
        )  # fmt: skip
        self._roots = {root.root_id: root for root in roots}
        self._joined, self._generating, self._rescan = joined, generating, rescan
        self._stop, self._io = stop, io
        self._wake = threading.Event()
        self._piece = self._largest = CHUNK_BYTES
        self._went_through = 0

    def wake(self) -> None:
        """Somebody may want something of this server."""
        self._wake.set()

    def run(self) -> None:
        """Answer ranges as long as there are any."""
        while not self._stop.is_set():
            if not self._joined() or self._link.state().problem:
                self._stop.wait(PAUSE_S)
                continue
            if not self._wake.wait(IDLE_S):
                continue
            try:
                wanted = self._api.wanted_chunk(self._server_id)
                if wanted is None:
                    self._wake.clear()
                while wanted is not None and not self._stop.is_set():
                    wanted = self._serve(wanted)
            except StableQueueError as error:
                logger.debug("Nothing is sent: %s", error.message, extra={"action": "sending_failed"})
                self._stop.wait(RETRY_S)
        self._api.close()

    def _serve(self, wanted: WantedChunk) -> WantedChunk | None:
        """Send a range or say why not; the next one."""
        while self._generating() and not self._stop.is_set():
            self._stop.wait(PAUSE_S)
        row = self._row(wanted)
        if not self._policy.hand_out:
            return self._refused(wanted, "not_handed_out", "Its owner does not hand out models.")
        if row is None:
            return self._refused(wanted, "not_here", "The file is not there any more.")
        length = min(wanted.length, self._piece)
        try:
            data = read_chunk(self._native(row), row.stat, wanted.offset, length, io=self._io)
        except FileChangedError:
            self._rescan(row.root_id)
            return self._refused(wanted, "source_changed", "The file at the source changed.")
        except FileUnreadableError as error:
            self._rescan(row.root_id)
            return self._refused(wanted, "unreadable", f"The source cannot read the file: {error.code}.")
        return self._send(wanted, data)

    def _send(self, wanted: WantedChunk, data: bytes) -> WantedChunk | None:
        try:
            following = self._api.send_chunk(self._server_id, wanted, data)
        except (ConflictError, NotFoundError):
            return None  # nobody waits for it any more
        except BusyError:
            raise
        except StableQueueError as error:
            return self._with_smaller_pieces(wanted, error)
        self._went_through += 1
        if self._went_through >= GROW_AFTER and self._piece < self._largest:
            self._piece, self._went_through = min(self._largest, self._piece * 2), 0
        return following

    def _with_smaller_pieces(self, wanted: WantedChunk, error: StableQueueError) -> WantedChunk | None:
        """A proxy says 413 or just hangs up, or the line is too slow for so much: half of it may go through.
        Raises what is the hub's being away."""
        refused = isinstance(error, TooLargeError) or error.details.get(HTTP_STATUS) == 413
        self._went_through = 0
        if self._piece > CHUNK_MIN_BYTES:
            self._piece = max(CHUNK_MIN_BYTES, min(self._piece, wanted.length) // 2)
            if refused:
                self._largest = self._piece
                return wanted
        elif refused:
            return self._refused(wanted, "chunk_too_large", TOO_LARGE)
        raise error

    def _refused(self, wanted: WantedChunk, code: str, text: str) -> WantedChunk | None:
        """Say why it is not sent; nothing more is wanted of it."""
        said = SourceRefusal(wanted.fence, code, text)  # type: ignore[arg-type]
        with suppress(ConflictError, NotFoundError):
            self._api.refuse_chunk(self._server_id, wanted.transfer_id, said)
        return None

    def _row(self, wanted: WantedChunk) -> IndexRow | None:
        """The file to read from: its ending is that of a safetensors file, its folder one of ours."""
        for row in self._index.rows_with(wanted.sha256):
            if row.root_id in self._roots and row.path.lower().endswith(SUFFIX):
                inside = 0 <= wanted.offset < wanted.offset + wanted.length <= row.size
                return row if inside else None
        return None

    def _native(self, row: IndexRow) -> str:
        return os.path.join(self._roots[row.root_id].path, native_path(row.path, windows=WINDOWS))
