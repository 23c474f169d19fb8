"""The local index: what this server knows of its model files. (Signatures; being filled in.)"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from stablequeue_client.hashing import HashResult
from stablequeue_client.index_rows import IndexRow, PendingFile, RootRow
from stablequeue_client.inventory import SyncContent
from stablequeue_client.model_files import Claim, FileState
from stablequeue_client.orders import Progress, StoredOrder
from stablequeue_client.protocol import Activity
from stablequeue_client.reconcile import ScanOutcome
from stablequeue_client.scanning import ScanReport, ScannedFile


def open_index(data_dir: Path | str, *, clock: Callable[[], float] = ...) -> Index:
    """Opens <data_dir>/index.sqlite (makes folder and file when missing). ``clock``: seconds since 1970.

    ``Index.repaired`` says in words that a damaged index was moved aside, else None.
    Raises NewerDataError, DataFolderError.
    """


class Index:
    index_id: str
    repaired: str | None

    def close(self) -> None: ...
    def sequence(self) -> int: ...
    def digest(self) -> int: ...
    def position(self) -> Position:
        """(index_id, sequence, digest) of one instant: what a heartbeat says."""

    def rows(self) -> list[IndexRow]: ...
    def row(self, root_id: str, path: str) -> IndexRow | None: ...
    def roots(self) -> list[RootRow]: ...

    def apply_scan(
        self,
        report: ScanReport,
        now: float | None = None,
        *,
        sample: Callable[[ScannedFile], str | None] = ...,  # reads the sample digest of a rename candidate
        accept: Collection[str] = (),  # roots whose removals the owner accepts with this very scan
        quiet_s: float = 5.0,
    ) -> ScanOutcome: ...

    def pending_hashes(self, now: float | None = None) -> list[PendingFile]:
        """PendingFile(root_id, path, kind, stat, native_path, not_before (seconds), recheck, want_payload, aliases)."""

    def record_hash(
        self, pending: PendingFile, result: HashResult, metadata: Mapping[str, str], claims: tuple[Claim, ...],
        *, base_model: str | None = None,
    ) -> bool:
        """False: the row changed meanwhile; nothing was stored."""

    def record_problem(self, pending: PendingFile, state: FileState, reason: str, *, retry_s: float = 30.0) -> bool: ...

    def full(self) -> SyncContent: ...
    def delta(self, base_sequence: int) -> SyncContent:
        """``mode`` is "full" when the rows since ``base_sequence`` are not all known any more."""

    def acknowledge(self, hub_id: str, index_id: str, sequence: int) -> None: ...
    def acked(self, hub_id: str) -> int | None: ...
    def new_identity(self) -> str: ...

    def accept_removals(self, root_id: str) -> bool:
        """The next scan that misses the same files removes them. False: nothing is missing there."""

    def forget_root(self, root_id: str) -> None: ...
    def metadata_of(self, sha256: str) -> dict[str, str] | None: ...

    def add_order(self, kind: str, fields: Mapping[str, Any], expires_s: float, *, hub_order_id: int | None = None) -> int: ...
    def take_orders(self, now: float | None = None) -> list[StoredOrder]:
        """Unexpired orders in the order given; each stays until ``order_done``. StoredOrder(id, kind, fields, hub_order_id)."""

    def order_done(self, order_id: int) -> None: ...
    def orders_seen(self) -> int:
        """The highest hub order id ever added (kept when done); 0 at first."""

    def write_progress(self, activity: Activity, now: float | None = None) -> None: ...
    def read_progress(self) -> Progress | None:
        """Progress(activity, written_s)."""

    def data_version(self) -> int:
        """Changes when another process or connection wrote; for polling."""
