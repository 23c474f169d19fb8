"""Looking at the folders when it is time, and bringing the index up to date."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from stablequeue_client.agent.clock import Clock
from stablequeue_client.agent.progress import Progress
from stablequeue_client.agent.schedule import Schedule
from stablequeue_client.agent.walking import Walker
from stablequeue_client.devices import device_kind
from stablequeue_client.index import Index
from stablequeue_client.reconcile import ScanOutcome
from stablequeue_client.scanning import Root, ScanReport

logger = logging.getLogger(__name__)


class ScanLoop:
    """Runs in a thread of its own until ``stop``. ``scanned`` is called after the index took a report."""

    def __init__(
        self,
        index: Index,
        roots: Sequence[Root],
        walker: Walker,
        progress: Progress,
        *,
        scanned: Callable[[], None],
        clock: Clock,
        stop: threading.Event,
    ) -> None:
        self._index = index
        self._roots = {root.root_id: root for root in roots}
        self._walker = walker
        self._progress = progress
        self._scanned = scanned
        self._clock = clock
        self._stop = stop
        self._bell = threading.Event()
        self._lock = threading.Lock()
        self._schedule = Schedule()
        self._working = False
        now = clock.monotonic()
        for root in roots:
            self._schedule.add(root.root_id, network=device_kind(root.path) == "network", now=now)

    # --- called from other threads ---------------------------------------------------------------------

    def event(self, root_id: str) -> None:
        """Something changed in that folder."""
        with self._lock:
            self._schedule.event(root_id, self._clock.monotonic())
        self._bell.set()

    def rescan(self, root_id: str) -> None:
        """Walk that folder now."""
        with self._lock:
            self._schedule.at_once(root_id, self._clock.monotonic())
        self._bell.set()

    def wake(self) -> None:
        """Look at ``stop``."""
        self._bell.set()

    def rest(self) -> bool:
        """Whether no folder is being walked or due."""
        with self._lock:
            return not self._working and not self._schedule.due(self._clock.monotonic())

    # --- the loop --------------------------------------------------------------------------------------

    def run(self) -> None:
        while not self._stop.is_set():
            self._bell.clear()
            with self._lock:
                due = self._schedule.due(self._clock.monotonic())
                self._working = bool(due)
            if due:
                self._scan(due)
                continue
            with self._lock:
                wait = self._schedule.next_in(self._clock.monotonic())
            self._clock.wait(self._bell, wait)

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
            outcome = self._index.apply_scan(report)
        except BaseException:
            self._plan_again(due)
            raise
        finally:
            self._progress.scanning(-1)
        self._plan_next(due, started)
        _tell(report, outcome)
        self._scanned()

    def _plan_again(self, due: Sequence[str]) -> None:
        """What was seen could not be stored: these folders are due again."""
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


def _tell(report: ScanReport, outcome: ScanOutcome) -> None:
    for scan in report.roots:
        for skipped in scan.skipped:
            extra = {"action": "skipped", "root": scan.root.root_id, "code": skipped.code}
            logger.warning(
                "Not looked at: %s (%s).", skipped.path or scan.root.label, skipped.reason, extra=extra
            )
    for suspect in outcome.suspects:
        extra = {"action": "root_suspect", "root": suspect.root_id}
        logger.warning("%s: %s. Its files are kept.", suspect.label, suspect.reason, extra=extra)
    if outcome.added or outcome.changed or outcome.renamed or outcome.removed:
        logger.info(
            "%d files new, %d changed, %d moved, %d gone.",
            outcome.added, outcome.changed, outcome.renamed, outcome.removed, extra={"action": "scanned"},
        )  # fmt: skip
