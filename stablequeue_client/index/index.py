"""The local index: what this server knows of its model files, in ``<data>/index.sqlite``.

    facts(name, value)                  index_id, sequence, digest, delta_from, orders_seen, schema_version
    roots(root_id, ...)                 health, what is missing there, sequence, row_digest
    files(root_id, path, ...)           stamps, state, digests, claims, what to do, sequence, row_digest
    contents(sha256, metadata_json)     allow-listed header fields, once per content
    tombstones(root_id, path, sequence) what is gone, until the hub has acknowledged it
    acks(hub_id, sequence)              what the hub has
    orders(...) progress(...)           where the agent and the other processes of the server meet

Every row ends in a checksum (``database``). ``sequence`` grows by one per change that a hub must hear of,
each row keeps the sequence of its last one, and the inventory's digest (the sum of all row digests) is kept
in the same transaction (``change_log``). Damage is found at opening: the file is moved aside as
``.damaged-<n>`` and rebuilt from the folders under a new ``index_id``; the machine's digest store makes
that cheap.

What a scan means is decided in ``reconcile`` and ``removal_guard``, without the disk.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from stablequeue_client.files.file_io import WINDOWS, escaped
from stablequeue_client.files.hashing import HashResult, sample_digest
from stablequeue_client.files.same_file import Stamps, same_file
from stablequeue_client.files.scanner import RootScan, ScannedFile, ScanReport
from stablequeue_client.index import agent_report, change_log, orders
from stablequeue_client.index.agent_report import AgentReport
from stablequeue_client.index.change_log import Position
from stablequeue_client.index.database import BUSY_TIMEOUT_S, Connect, Database, Schema, open_database
from stablequeue_client.index.inventory import SyncContent
from stablequeue_client.index.orders import StoredOrder
from stablequeue_client.index.reconcile import IndexState, ScanOutcome, ScanPlan, ScanTime, plan_scan
from stablequeue_client.index.rows import (
    ACKS,
    CONTENTS,
    FILES,
    ROOTS,
    TODO_HASH,
    TODO_NOTHING,
    TODO_RECHECK,
    TOMBSTONES,
    IndexRow,
    Key,
    PendingFile,
    RootRow,
    claims_json,
    received_row,
    wants_payload,
)
from stablequeue_client.shared.errors import StableQueueError
from stablequeue_client.shared.model_files.model_file import Claim, FileState, Kind
from stablequeue_client.shared.wire.inventory import Activity, native_path

__all__ = ["Index", "Position", "open_index"]

QUIET_S = 5.0
RACY_WINDOW_MS = 3_000
INDEX_SCHEMA = Schema(
    application_id=0x53516978,  # "SQix"
    version=1,
    tables=(FILES, ROOTS, TOMBSTONES, CONTENTS, ACKS, orders.ORDERS, orders.PROGRESS),
    first_rows=change_log.first_facts,
    check=change_log.problem,
)

Sample = Callable[[ScannedFile], str | None]


def open_index(
    data_dir: Path | str,
    *,
    repair: bool = True,
    clock: Callable[[], float] = time.time,
    connect: Connect = sqlite3.connect,
    busy_s: float = BUSY_TIMEOUT_S,
) -> Index:
    """Opens ``<data_dir>/index.sqlite``, which is made when missing. ``clock``: seconds since 1970.

    ``Index.repaired`` says in words that a damaged index was moved aside, else it is None. ``repair`` False
    is for processes beside the agent: quick, and they leave a damaged index to it (DamagedDatabaseError).
    Raises NewerDataError, DataFolderError.
    """
    path = os.path.join(data_dir, "index.sqlite")
    database, repaired = open_database(path, INDEX_SCHEMA, repair=repair, connect=connect, busy_s=busy_s)
    return Index(database, repaired, clock)


def read_sample(file: ScannedFile) -> str | None:
    """The sample digest of a file that may have been moved; None when it cannot be read."""
    try:
        return sample_digest(file.native)
    except StableQueueError:
        return None


class Index:
    """The index of one server. Several threads may use it, and several processes may open it.

    Every method is one transaction. Raises DataFolderError (full disk, locked file, I/O error: nothing was
    changed) or DamagedDatabaseError (close it and open it again: it is rebuilt).
    """

    plan = staticmethod(plan_scan)

    def __init__(self, database: Database, repaired: str | None, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock
        self.repaired = repaired

    def close(self) -> None:
        self._database.close()

    def _now_ms(self, now: float | None) -> int:
        return int((self._clock() if now is None else now) * 1000)

    # --- reading ----------------------------------------------------------------------------------

    def position(self) -> Position:
        """Index id, sequence and digest of one instant: what a heartbeat says."""
        with self._database.read() as connection:
            return change_log.position(connection)

    @property
    def index_id(self) -> str:
        return self.position().index_id

    def sequence(self) -> int:
        return self.position().sequence

    def digest(self) -> int:
        return self.position().digest

    def rows(self) -> list[IndexRow]:
        """All files, by root id and path."""
        with self._database.read() as connection:
            return _files(connection)

    def row(self, root_id: str, path: str) -> IndexRow | None:
        with self._database.read() as connection:
            return _file(connection, (root_id, path))

    def rows_with(self, sha256: str) -> list[IndexRow]:
        """The files that were read and have this content."""
        with self._database.read() as connection:
            return _files(connection, "sha256 = ? AND state = 'ready'", (sha256,))

    def roots(self) -> list[RootRow]:
        """All folders, by id."""
        with self._database.read() as connection:
            return _roots(connection)

    def metadata_of(self, sha256: str) -> dict[str, str] | None:
        """The allow-listed header fields of a content; None when it is not known here."""
        with self._database.read() as connection:
            found = CONTENTS.select(connection, "sha256 = ?", (sha256,))
        return json.loads(found[0][1]) if found else None

    def data_version(self) -> int:
        """Changes when another process wrote to the index; for polling."""
        return self._database.data_version()

    # --- scanning ---------------------------------------------------------------------------------

    def apply_scan(
        self,
        report: ScanReport,
        now: float | None = None,
        *,
        sample: Sample = read_sample,
        accept: Collection[str] = (),
        quiet_s: float = QUIET_S,
    ) -> ScanOutcome:
        """Takes over what a scan saw. Roots that are not in the report stay as they are.

        ``now``: when the scan looked. ``sample``: reads the sample digest of a file that may have been
        moved (outside of any transaction). ``accept``: roots whose owner accepts whatever this scan misses.
        """
        look = ScanTime(self._now_ms(now), int(quiet_s * 1000))
        scans = self._interesting(report.roots)
        if not scans:
            return ScanOutcome()
        with self._database.read() as connection:
            plan = self.plan(_known(connection), scans, look, accept=accept)
        if plan.is_empty and not plan.candidates:
            return plan.outcome
        samples = {(file.root_id, file.path): sample(file) for file in plan.candidates}
        with self._database.write() as connection:
            # Planned again on what is there now: a hash may have been recorded meanwhile.
            plan = self.plan(_known(connection), scans, look, samples=samples, accept=accept)
            _carry_out(connection, plan)
        return plan.outcome

    def _interesting(self, scans: Sequence[RootScan]) -> list[RootScan]:
        """All scans, unless no root differs from the index in anything: the common case, without the rows."""
        with self._database.read() as connection:
            roots = {root.root_id: root for root in _roots(connection)}
            same = all(_is_as_known(connection, scan, roots.get(scan.root.root_id)) for scan in scans)
        return [] if same else list(scans)

    def accept_removals(self, root_id: str) -> bool:
        """The next scan that misses the same files of the root removes them.

        False: nothing is missing there (or there is no such root).
        """
        with self._database.write() as connection:
            root = next((root for root in _roots(connection) if root.root_id == root_id), None)
            if root is None or not root.missing:
                return False
            change_log.put_root(connection, root, root._replace(accepted_digest=root.missing_digest))
            return True

    def forget_files(self, keys: Collection[Key]) -> None:
        """These files are none of the inventory any more (they became private): no loss of files."""
        with self._database.write() as connection:
            found = (_file(connection, key) for key in keys)
            change_log.remove_files(connection, [row for row in found if row is not None])
            _drop_unused_contents(connection)

    def forget_root(self, root_id: str) -> None:
        """The folder is not one of this server's any more: its rows go, with ordinary tombstones."""
        with self._database.write() as connection:
            change_log.remove_files(connection, _files(connection, "root_id = ?", (root_id,)))
            for root in _roots(connection):
                if root.root_id == root_id:
                    change_log.remove_root(connection, root)
            _drop_unused_contents(connection)

    # --- hashing ----------------------------------------------------------------------------------

    def pending_hashes(self, now: float | None = None) -> list[PendingFile]:
        """Return what is to be hashed, each file once, small files first; second hashes of known ones last.

        Some may not be hashed yet (``not_before``).
        """
        asked_ms = self._now_ms(now)
        with self._database.read() as connection:
            folders = {root.root_id: root.path_on_disk for root in _roots(connection)}
            rows = _files(connection, "todo > 0")
        groups: dict[Stamps | Key, list[IndexRow]] = defaultdict(list)
        for row in rows:
            groups[row.stamps if row.inode else row.key].append(row)
        pending = [_pending(group, folders, asked_ms) for group in groups.values()]
        return sorted(pending, key=lambda item: (item.recheck, item.stat.size, item.root_id, item.path))

    def record_hash(
        self,
        pending: PendingFile,
        result: HashResult,
        metadata: Mapping[str, str],
        claims: Collection[Claim],
        *,
        base_model: str | None = None,
    ) -> bool:
        """The digests of a file, for all its rows. False: the file is another one now; nothing was stored."""
        now_ms = self._now_ms(None)
        sha256 = result.digests.sha256
        if sha256 is None or not same_file(pending.stat, result.stat):
            return False
        with self._database.write() as connection:
            changes = [
                (row, _hashed(row, pending, result, now_ms)._replace(base_model=base_model))
                for row in self._rows_of(connection, pending)
            ]
            if changes and changes[0][0].key == (pending.root_id, pending.path):
                # The sidecars lie beside this name only.
                changes[0] = (changes[0][0], changes[0][1]._replace(claims_json=claims_json(claims)))
            change_log.put_files(connection, changes)
            if changes:
                CONTENTS.put(connection, [(sha256, json.dumps(dict(metadata), sort_keys=True))])
        return bool(changes)

    def record_received(
        self,
        root_id: str,
        path: str,
        kind: Kind,
        result: HashResult,
        metadata: Mapping[str, str],
        *,
        base_model: str | None = None,
    ) -> bool:
        """A file that we wrote just now, with the digests that were computed meanwhile: nobody has to read it
        again. False: there is no such folder any more."""
        now_ms, sha256 = self._now_ms(None), result.digests.sha256
        with self._database.write() as connection:
            if sha256 is None or all(root.root_id != root_id for root in _roots(connection)):
                return False
            # A walk may have been there since the file got its name.
            old = _file(connection, (root_id, path))
            row = received_row(root_id, path, kind, result, now_ms)._replace(base_model=base_model)
            if old is not None:
                row = row._replace(sequence=old.sequence, row_digest=old.row_digest, seen_ms=old.seen_ms)
            change_log.put_files(connection, [(old, row)])
            CONTENTS.put(connection, [(sha256, json.dumps(dict(metadata), sort_keys=True))])
        return True

    def record_claims(
        self, pending: PendingFile, claims: Collection[Claim], *, base_model: str | None = None
    ) -> bool:
        """Store what others say of a file that is not hashed yet. False: it is another file now, or hashed.

        It was looked at after its quiet period: a file that was still being written is at rest now.
        """
        said = claims_json(claims)
        with self._database.write() as connection:
            rows = [row for row in self._rows_of(connection, pending) if row.sha256 is None]
            changes = [(row, _at_rest(row)._replace(claims_json=said, base_model=base_model)) for row in rows]
            change_log.put_files(connection, [(old, new) for old, new in changes if old != new])
        return bool(rows)

    def record_problem(
        self, pending: PendingFile, state: FileState, reason: str, *, retry_s: float = 30.0
    ) -> bool:
        """Store why a file could not be hashed. False: it is another file now; nothing was stored.

        ``corrupt`` stays until the file changes, the others are pending again after ``retry_s``. A ``busy``
        file that was hashed before stays as it is. ``set_aside`` only notes the reason.
        """
        retry_ms = self._now_ms(None) + int(retry_s * 1000)
        with self._database.write() as connection:
            rows = self._rows_of(connection, pending)
            changes = [(row, _with_problem(row, state, escaped(reason), retry_ms)) for row in rows]
            change_log.put_files(connection, changes)
        return bool(changes)

    def _rows_of(self, connection: sqlite3.Connection, pending: PendingFile) -> list[IndexRow]:
        """The rows that are still this very file."""
        rows = [_file(connection, key) for key in ((pending.root_id, pending.path), *pending.aliases)]
        return [row for row in rows if row is not None and same_file(row.stat, pending.stat)]

    # --- synchronising ----------------------------------------------------------------------------

    def full(self) -> SyncContent:
        """The whole inventory."""
        with self._database.read() as connection:
            return change_log.content_since(connection, None)

    def delta(self, base_sequence: int) -> SyncContent:
        """Return what changed after ``base_sequence``; ``mode`` "full" when that is not all known any
        more."""
        with self._database.read() as connection:
            return change_log.content_since(connection, base_sequence)

    def acknowledge(self, hub_id: str, index_id: str, sequence: int) -> None:
        """The hub has everything up to ``sequence``."""
        with self._database.write() as connection:
            change_log.acknowledge(connection, hub_id, index_id, sequence)

    def acked(self, hub_id: str) -> int | None:
        """The sequence that this hub acknowledged last; None: it knows nothing of this index."""
        with self._database.read() as connection:
            found = ACKS.select(connection, "hub_id = ?", (hub_id,))
        return int(found[0][1]) if found else None

    def new_identity(self) -> str:
        """The same rows under a new index id, of which no hub knows anything."""
        with self._database.write() as connection:
            return change_log.new_identity(connection)

    # --- orders and progress ----------------------------------------------------------------------

    def add_order(
        self, kind: str, fields: Mapping[str, Any], expires_s: float, *, hub_order_id: int | None = None
    ) -> int | None:
        """An order that is good for ``expires_s`` seconds; its id, None for one of the hub's taken before."""
        expires_ms = self._now_ms(None) + int(expires_s * 1000)
        with self._database.write() as connection:
            return orders.add_order(connection, kind, fields, expires_ms, hub_order_id)

    def take_orders(self, now: float | None = None) -> list[StoredOrder]:
        """The orders that wait, oldest first; each stays until ``order_done``, also over a restart."""
        with self._database.read() as connection:
            return orders.waiting_orders(connection, self._now_ms(now))

    def order_done(self, order_id: int) -> None:
        with self._database.write() as connection:
            orders.remove_order(connection, order_id, self._now_ms(None))

    def orders_seen(self) -> int:
        """The highest id of a hub's order ever taken over; 0 at first."""
        with self._database.read() as connection:
            return orders.orders_seen(connection)

    def store_pause(self, seconds: float) -> None:
        """Reading is paused for so long from now, also over a restart; 0: it is not."""
        until_ms = self._now_ms(None) + int(seconds * 1000) if seconds else 0
        with self._database.write() as connection:
            orders.put_pause(connection, until_ms)

    def stored_pause(self) -> float:
        """Seconds left of a stored pause; 0 or less: none."""
        with self._database.read() as connection:
            until_ms = orders.get_pause(connection)
        return (until_ms - self._now_ms(None)) / 1000

    def write_progress(self, activity: Activity, now: float | None = None) -> None:
        with self._database.write() as connection:
            orders.put_progress(connection, activity, self._now_ms(now))

    def read_progress(self) -> Activity | None:
        """Return what the agent was doing when it last said so."""
        with self._database.read() as connection:
            return orders.get_progress(connection)

    def write_agent_report(self, report: AgentReport) -> None:
        with self._database.write() as connection:
            agent_report.put_report(connection, report)

    def agent_report(self) -> AgentReport | None:
        """Return what the last agent said of itself and of the hub; None when none ever ran."""
        with self._database.read() as connection:
            return agent_report.get_report(connection)


# --- rows -------------------------------------------------------------------------------------------------


def _files(connection: sqlite3.Connection, where: str = "1", values: tuple[Any, ...] = ()) -> list[IndexRow]:
    return [IndexRow(*row) for row in FILES.select(connection, where, values)]


def _file(connection: sqlite3.Connection, key: Key) -> IndexRow | None:
    found = _files(connection, "root_id = ? AND path = ?", key)
    return found[0] if found else None


def _roots(connection: sqlite3.Connection) -> list[RootRow]:
    return [RootRow(*row) for row in ROOTS.select(connection)]


def _known(connection: sqlite3.Connection) -> IndexState:
    return IndexState(
        {row.key: row for row in _files(connection)}, {root.root_id: root for root in _roots(connection)}
    )


def _is_as_known(connection: sqlite3.Connection, scan: RootScan, root: RootRow | None) -> bool:
    """A healthy root in which every row was seen at rest with its stamps, and nothing else."""
    if root is None or root.health != "healthy" or scan.health != "healthy":
        return False
    if root.path != escaped(scan.root.path) or root.label != escaped(scan.root.label):
        return False
    at_rest = connection.execute(
        "SELECT path, size, mtime_ns, ctime_ns, inode FROM files WHERE root_id = ? AND todo = 0"
        " AND racy = 0 AND state IN ('ready', 'set_aside', 'corrupt')",
        (root.root_id,),
    )
    settled = {row[0]: row[1:] for row in at_rest}
    count = connection.execute("SELECT count(*) FROM files WHERE root_id = ?", (root.root_id,)).fetchone()[0]
    if len(scan.files) != count or len(settled) != count:
        return False
    for file in scan.files:
        inode = file.inode if root.inodes else 0
        if settled.get(file.path) != (file.size, file.mtime_ns, file.ctime_ns, inode) or file.partial:
            return False
    return True


def _carry_out(connection: sqlite3.Connection, plan: ScanPlan) -> None:
    change_log.remove_files(connection, plan.removals)
    change_log.put_files(connection, plan.files)
    for before, after in plan.roots:
        change_log.put_root(connection, before, after)
    if plan.removals or plan.outcome.changed:
        _drop_unused_contents(connection)


def _drop_unused_contents(connection: sqlite3.Connection) -> None:
    connection.execute(
        "DELETE FROM contents WHERE sha256 NOT IN (SELECT sha256 FROM files WHERE sha256 IS NOT NULL)"
    )


# --- hashing ----------------------------------------------------------------------------------------------


def _pending(rows: Sequence[IndexRow], folders: Mapping[str, str], asked_ms: int) -> PendingFile:
    """One file to hash from the rows that are links to it."""
    first = min(rows, key=lambda row: (row.link, row.key))
    return PendingFile(
        root_id=first.root_id,
        path=first.path,
        kind=first.kind,
        native=os.path.join(folders[first.root_id], native_path(first.path, windows=WINDOWS)),
        stat=first.stat,
        not_before=max(row.not_before_ms for row in rows) / 1000,
        recheck=all(row.todo == TODO_RECHECK for row in rows),
        want_payload=any(wants_payload(row.kind) for row in rows),
        aliases=tuple(row.key for row in rows if row is not first),
        asked_ms=asked_ms,
    )


def _hashed(row: IndexRow, pending: PendingFile, result: HashResult, now_ms: int) -> IndexRow:
    digests = result.digests
    return row._replace(
        state="set_aside" if row.state == "set_aside" else "ready",
        reason="",
        sha256=digests.sha256,
        blake3=digests.blake3,
        autov1=digests.autov1,
        payload_sha256=digests.payload_sha256,
        sample=digests.sample,
        racy=int(result.racy and not _is_settled(row, pending, digests.sha256)),
        todo=TODO_NOTHING,
        not_before_ms=0,
        verified_ms=now_ms,
    )


def _is_settled(row: IndexRow, pending: PendingFile, sha256: str | None) -> bool:
    """A second hash of a racy row agrees, and its stamps had been seen well before it began.

    A later write would have got later stamps; without this rule a file from the future is hashed for ever.
    """
    return bool(row.racy) and row.sha256 == sha256 and pending.asked_ms - row.seen_ms >= RACY_WINDOW_MS


def _at_rest(row: IndexRow) -> IndexRow:
    return row._replace(state="unhashed", reason="") if row.state == "partial" else row


def _with_problem(row: IndexRow, state: FileState, reason: str, retry_ms: int) -> IndexRow:
    if state == "set_aside":
        return row._replace(reason=reason)
    if state == "busy" and row.sha256:
        return row._replace(not_before_ms=retry_ms)
    lasting = state == "corrupt"
    shown = "set_aside" if lasting and row.state == "set_aside" else state
    return row.without_digests()._replace(
        state=shown, reason=reason, todo=TODO_NOTHING if lasting else TODO_HASH, not_before_ms=retry_ms
    )
