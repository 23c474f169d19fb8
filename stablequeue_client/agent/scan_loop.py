"""Looking at the folders when it is time, and bringing the index up to date."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from stablequeue_client.agent.agent_settings import SYNC_EVERY_S
from stablequeue_client.agent.folder_probe import ProbedFolders
from stablequeue_client.agent.progress import ProgressTracker
from stablequeue_client.agent.schedule import ScanSchedule
from stablequeue_client.agent.walker import Walker
from stablequeue_client.clock import Clock
from stablequeue_client.files.file_io import WINDOWS
from stablequeue_client.files.private_files import PrivateFiles
from stablequeue_client.files.scanner import RootScan, ScanReport, Skipped
from stablequeue_client.index.index import Index
from stablequeue_client.index.reconcile import ScanOutcome
from stablequeue_client.shared.wire.inventory import native_path

logger = logging.getLogger(__name__)


class ScanLoop:
    """Runs in a thread of its own until ``stop``. ``scanned`` is called after the index took a report.

    ``every_s``: between two walks of a local folder, 0 never. ``at_start`` False: a folder that is in the
    index already is not walked before its time has come.
    """

    def __init__(
        self,
        index: Index,
        located: ProbedFolders,
        walker: Walker,
        progress: ProgressTracker,
        *,
        scanned: Callable[[], None],
        clock: Clock,
        stop: threading.Event,
        every_s: float = SYNC_EVERY_S,
        at_start: bool = True,
    ) -> None:
        self._index = index
        self._roots = {root.root_id: root for root in located.roots}
        self._private = located.private
        self._walker = walker
        self._progress = progress
        self._scanned = scanned
        self._clock = clock
        self._stop = stop
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._schedule = ScanSchedule(local_walk_s=every_s)
        self._working = False
        self._skipped: dict[str, tuple[Skipped, ...]] = {}
        now = clock.monotonic()
        known = set() if at_start else {row.root_id for row in index.roots()}
        for name in self._roots:
            self._schedule.add(name, network=located.is_network(name), now=now, at_once=name not in known)

    # --- called from other threads ---------------------------------------------------------------------

    def event(self, root_id: str) -> None:
        """Something changed in that folder."""
        with self._lock:
            self._schedule.event(root_id, self._clock.monotonic())
        self._wake.set()

    def rescan(self, root_id: str) -> None:
        """Walk that folder now."""
        with self._lock:
            self._schedule.at_once(root_id, self._clock.monotonic())
        self._wake.set()

    def wake(self) -> None:
        """Look at ``stop``."""
        self._wake.set()

    def is_idle(self) -> bool:
        """Return whether no folder is being walked or due."""
        with self._lock:
            return not self._working and not self._schedule.due(self._clock.monotonic())

    def skipped(self) -> list[tuple[str, Skipped]]:
        """(root id, what) of everything that the last walk of each folder could not look at."""
        with self._lock:
            return [(root_id, item) for root_id, found in self._skipped.items() for item in found]

    # --- the loop --------------------------------------------------------------------------------------

    def run(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            with self._lock:
                due = self._schedule.due(self._clock.monotonic())
                self._working = bool(due)
            if due:
                self._scan(due)
                continue
            with self._lock:
                wait = self._schedule.next_in(self._clock.monotonic())
            self._clock.wait(self._wake, wait)

    def _scan(self, due: Sequence[str]) -> None:
        started = self._clock.monotonic()
        self._progress.scanning(+1)
        try:
            with self._lock:
                for root_id in due:
                    self._schedule.started(root_id, started)
            report = self._walker.walk([self._roots[root_id] for root_id in due], self._stop.is_set)
            if report is None:
                return
            report = ScanReport(tuple(without_private(scan, self._private) for scan in report.roots))
            outcome = self._index.apply_scan(report)
        except BaseException:
            self._plan_again(due)
            raise
        finally:
            self._progress.scanning(-1)
        self._plan_next(due, started)
        with self._lock:
            self._skipped.update({scan.root.root_id: scan.skipped for scan in report.roots})
        _log_outcome(report, outcome)
        self._scanned()

    def _plan_again(self, due: Sequence[str]) -> None:
        """Make these folders due again, because what was seen could not be stored."""
        with self._lock:
            for root_id in due:
                self._schedule.at_once(root_id, self._clock.monotonic())

    def _plan_next(self, due: Sequence[str], started: float) -> None:
        """Sooner at folders that are not well; and not again at once where a walk took long."""
        unwell = {row.root_id for row in self._index.roots() if row.health != "healthy"}
        now = self._clock.monotonic()
        with self._lock:
            for root_id in due:
                self._schedule.ended(root_id, now, took_s=now - started, healthy=root_id not in unwell)


def without_private(scan: RootScan, private: PrivateFiles) -> RootScan:
    """The scan without what is private. (A private file that was in the index was taken out at the start.)"""
    if not private:
        return scan
    root = scan.root

    def is_shown(path: str, link: bool) -> bool:
        return not path or not private.hides(root, native_path(path, windows=WINDOWS), link=link)

    return replace(
        scan,
        files=tuple(file for file in scan.files if is_shown(file.path, file.link)),
        skipped=tuple(item for item in scan.skipped if is_shown(item.path, False)),
    )


def _log_outcome(report: ScanReport, outcome: ScanOutcome) -> None:
    for scan in report.roots:
        for skipped in scan.skipped:
            extra = {"action": "skipped", "root": scan.root.root_id, "code": skipped.code}
            logger.warning("Skipped: %s (%s).", skipped.path or scan.root.label, skipped.reason, extra=extra)
    for suspect in outcome.suspects:
        extra = {"action": "root_suspect", "root": suspect.root_id}
        logger.warning("%s: %s. Its files are kept.", suspect.label, suspect.reason, extra=extra)
    counts = {
        "new, to be read": outcome.added,
        "changed": outcome.changed,
        "moved": outcome.renamed,
        "gone": outcome.removed,
    }
    told = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    if told:
        logger.info("Files: %s.", told, extra={"action": "scanned"})
