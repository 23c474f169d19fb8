"""Walk folders in threads of their own, so that one that hangs (a share that went away) holds up nobody."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence

from stablequeue_client.clock import Clock
from stablequeue_client.files.file_io import OpenedFile, ScanIO
from stablequeue_client.files.scanner import Root, RootScan, ScanReport, Skipped, scan_root

logger = logging.getLogger(__name__)

STALL_S = 120.0
"""No directory listed within this time: the folder hangs. Such a call cannot be interrupted."""
_POLL_S = 0.05


class _TimedIO(ScanIO):
    """Passes on to ``inner`` and notes when the last call was answered."""

    def __init__(self, inner: ScanIO, clock: Clock) -> None:
        self._inner = inner
        self._clock = clock
        self.answered = clock.monotonic()
        self.stat_entry = inner.stat_entry  # once per file: no call around it

    def scandir(self, path: str) -> list[os.DirEntry[str]]:
        found = self._inner.scandir(path)
        self.answered = self._clock.monotonic()
        return found

    def stat(self, path: str) -> os.stat_result:
        return self._inner.stat(path)

    def is_empty(self, path: str) -> bool:
        return self._inner.is_empty(path)

    def realpath(self, path: str) -> str:
        return self._inner.realpath(path)

    def open(self, path: str) -> OpenedFile:
        return self._inner.open(path)


class Walker:
    """Walks of all folders of one agent; at most one at a time per folder."""

    def __init__(self, roots: Sequence[Root], io: ScanIO, clock: Clock, *, stall_s: float = STALL_S) -> None:
        self._roots = tuple(roots)
        self._io = io
        self._clock = clock
        self._stall_s = stall_s
        self._hanging: set[str] = set()
        self._lock = threading.Lock()

    def walk(self, roots: Sequence[Root], stopped: Callable[[], bool]) -> ScanReport | None:
        """Scan ``roots``, all at once. One that hangs is reported unreachable; its walk is left to itself.

        None when stopped meanwhile.
        """
        walks = [
            _WalkThread(root, self._roots, _TimedIO(self._io, self._clock)) for root in self._free(roots)
        ]
        for walk in walks:
            walk.start()
        while any(walk.is_alive() and not self._stalled(walk) for walk in walks):
            if stopped():
                return None
            for walk in walks:
                if walk.is_alive() and not self._stalled(walk):
                    walk.join(_POLL_S)
                    break
        done = {walk.root.root_id: self._finish(walk) for walk in walks}
        return ScanReport(tuple(done.get(root.root_id) or _unreachable(root) for root in roots))

    def _free(self, roots: Sequence[Root]) -> list[Root]:
        with self._lock:
            return [root for root in roots if root.root_id not in self._hanging]

    def _stalled(self, walk: _WalkThread) -> bool:
        return self._clock.monotonic() - walk.io.answered > self._stall_s

    def _finish(self, walk: _WalkThread) -> RootScan | None:
        """The result, or None of a walk that hangs: it may return at any later time."""
        if not walk.is_alive():
            if walk.error is not None:
                raise walk.error
            return walk.result
        with self._lock:
            self._hanging.add(walk.root.root_id)
        logger.warning(
            "A folder does not answer.", extra={"action": "root_stalled", "root": walk.root.root_id}
        )
        threading.Thread(target=self._release, args=(walk,), name="stablequeue-stalled", daemon=True).start()
        return None

    def _release(self, walk: _WalkThread) -> None:
        walk.join()
        with self._lock:
            self._hanging.discard(walk.root.root_id)


class _WalkThread(threading.Thread):
    """One walk over one root."""

    def __init__(self, root: Root, others: Sequence[Root], io: _TimedIO) -> None:
        super().__init__(name="stablequeue-walk", daemon=True)
        self.root = root
        self.io = io
        self.result: RootScan | None = None
        self.error: BaseException | None = None
        self._others = others

    def run(self) -> None:
        try:
            self.result = scan_root(self.root, io=self.io, other_roots=self._others)
        except BaseException as error:  # raised again in the thread that waits
            self.error = error


def _unreachable(root: Root) -> RootScan:
    """A folder of which nothing can be said now."""
    return RootScan(
        root=root,
        files=(),
        skipped=(Skipped("", "folder_unreadable", "it does not answer"),),
        failed_dirs=("",),
        health_before="unreachable",
        health_after="unreachable",
    )
