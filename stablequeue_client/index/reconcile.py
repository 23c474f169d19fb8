"""What a scan means for the index: which rows are new, changed, moved or gone. Pure.

Unchanged is (size, mtime_ns, ctime_ns, inode where it means something). Another ctime alone is another file:
its digests go until it is hashed again. A file that turned up under another path, with a row's inode, size
and mtime, keeps that row's digests when its sample digest agrees, and is hashed again in the background.
Whether files that were not seen are gone is decided by ``removal_guard``.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from stablequeue_client.files.file_io import escaped
from stablequeue_client.files.same_file import Stamps, same_stamps, stored_stamps
from stablequeue_client.files.scanner import RootScan, ScannedFile
from stablequeue_client.index.removal_guard import Judge, is_connected, judge_root
from stablequeue_client.index.rows import (
    TODO_HASH,
    TODO_NOTHING,
    TODO_RECHECK,
    IndexRow,
    Key,
    RootRow,
    wants_payload,
)
from stablequeue_client.shared.model_files.model_file import FileState

_NS_PER_MS = 1_000_000
_OUT_OF_SIGHT = ("file_unreadable", "broken_link")
"""Skipped names that may still be model files; the others are something else now."""
_RETRIED = ("busy", "unstable", "unreadable")


@dataclass(frozen=True)
class IndexState:
    """The index before the scan."""

    rows: Mapping[Key, IndexRow]
    roots: Mapping[str, RootRow]


@dataclass(frozen=True)
class ScanTime:
    """When the scan looked (Unix milliseconds), and how long stamps must be old to be at rest."""

    now_ms: int
    quiet_ms: int


@dataclass(frozen=True)
class Suspect:
    """A folder whose missing files are kept, and why; ``missing`` counts them."""

    root_id: str
    label: str
    missing: int
    reason: str


@dataclass(frozen=True)
class ScanOutcome:
    """What a scan changed in the index, in files; ``kept``: missing, but not believed to be gone."""

    added: int = 0
    changed: int = 0
    renamed: int = 0
    removed: int = 0
    kept: int = 0
    suspects: tuple[Suspect, ...] = ()


@dataclass(frozen=True)
class ScanPlan:
    """(old, new) of what changes. ``candidates``: files whose sample digest decides whether they moved."""

    files: tuple[tuple[IndexRow | None, IndexRow], ...] = ()
    removals: tuple[IndexRow, ...] = ()
    roots: tuple[tuple[RootRow | None, RootRow], ...] = ()
    candidates: tuple[ScannedFile, ...] = ()
    outcome: ScanOutcome = field(default_factory=ScanOutcome)

    @property
    def is_empty(self) -> bool:
        return not (self.files or self.removals or self.roots)


def stamps_of(file: ScannedFile, root: RootRow | None = None) -> Stamps:
    """The stamps of a scanned file as the index stores them, without the inode where it means nothing."""
    stamps = stored_stamps(file.stat)
    return (*stamps[:3], 0) if root is not None and not root.inodes else stamps


def plan_scan(
    known: IndexState,
    scans: Sequence[RootScan],
    look: ScanTime,
    *,
    samples: Mapping[Key, str | None] | None = None,
    accept: Collection[str] = (),
    judge: Judge = judge_root,
) -> ScanPlan:
    """Return what to change. ``samples``: by key, what was read of the ``candidates`` of an earlier plan.

    ``accept``: ids of roots whose owner accepts whatever this scan misses.
    """
    files = _FilePlanner(known, scans, look, samples or {})
    for file in files.seen.values():
        files.see(file)
    counts, removals, suspects = files.counts, [], []
    roots: list[tuple[RootRow | None, RootRow]] = []
    for scan in scans:
        root_id = scan.root.root_id
        files.keep_unreadable(scan)
        missing = files.missing(scan)
        lost = [row for row in missing if row.key not in files.moved_from]
        after = judge(
            scan, files.roots[root_id], lost, len(files.of_root[root_id]), look.now_ms, root_id in accept
        )
        if after.missing:
            suspects.append(Suspect(root_id, after.label, after.missing, after.reason))
        else:
            removals += lost
            counts["removed"] += len(lost)
        removals += [row for row in missing if row.key in files.moved_from]
        if after != known.roots.get(root_id):
            roots.append((known.roots.get(root_id), after))
    outcome = ScanOutcome(
        counts["added"], counts["changed"], counts["renamed"], counts["removed"],
        sum(suspect.missing for suspect in suspects), tuple(suspects),
    )  # fmt: skip
    return ScanPlan(tuple(files.changes), tuple(removals), tuple(roots), tuple(files.candidates), outcome)


class _FilePlanner:
    """Goes over the files of one scan; results in ``changes``, ``candidates``, ``moved_from``, ``counts``."""

    def __init__(
        self, known: IndexState, scans: Sequence[RootScan], look: ScanTime, samples: Mapping[Key, str | None]
    ) -> None:
        self._known, self._scans, self._look, self._samples = known, scans, look, samples
        self.changes: list[tuple[IndexRow | None, IndexRow]] = []
        self.candidates: list[ScannedFile] = []
        self.moved_from: set[Key] = set()
        self.counts: Counter[str] = Counter()
        self.seen = {(file.root_id, file.path): file for scan in scans for file in scan.files}
        self.of_root: dict[str, list[IndexRow]] = defaultdict(list)
        for row in known.rows.values():
            self.of_root[row.root_id].append(row)
        self.roots = {scan.root.root_id: self._root_row(scan) for scan in scans}
        self._live = Counter((file.device, file.inode) for file in self.seen.values() if file.inode)
        self._own_names = self._names_of_their_own()
        self._by_stamps: dict[Stamps, IndexRow] = {}
        self._by_inode: dict[tuple[int, int, int], IndexRow] = {}
        for row in known.rows.values():
            if row.inode and row.sha256 and row.sample:
                self._by_stamps[row.stamps] = row
                self._by_inode.setdefault((row.size, row.mtime_ns, row.inode), row)

    def see(self, file: ScannedFile) -> None:
        """Decides what the row of a file that is there must be."""
        old = self._known.rows.get((file.root_id, file.path))
        stamps = stamps_of(file, self.roots[file.root_id])
        same = old is not None and same_stamps(old.stamps, stamps)
        new = self._unchanged(old, file, stamps) if old and same else self._another(old, file, stamps)
        if old == new:
            return
        self.changes.append((old, new))
        if old is None:
            self.counts["renamed" if new.todo == TODO_RECHECK else "added"] += 1
        elif not same:
            self.counts["changed"] += 1

    def _names_of_their_own(self) -> dict[tuple[str, int, int], str]:
        """Of a file with several names in one root the path that counts: no symbolic link, else the first.

        Within one root only: which roots are looked at together changes from scan to scan.
        """
        names: dict[tuple[str, int, int], tuple[bool, str]] = {}
        for file in self.seen.values():
            if self._live[file.device, file.inode] > 1:
                key, name = (file.root_id, file.device, file.inode), (file.link, file.path)
                names[key] = min(names.get(key, name), name)
        return {key: path for key, (_, path) in names.items()}

    def _is_link(self, file: ScannedFile) -> int:
        """Return whether this is another name of a file that has one already."""
        own = self._own_names.get((file.root_id, file.device, file.inode), file.path)
        return int(file.link or own != file.path)

    def _unchanged(self, old: IndexRow, file: ScannedFile, stamps: Stamps) -> IndexRow:
        row = old._replace(kind=file.kind, inode=stamps[3], link=self._is_link(file))
        if file.partial:
            return _downloading(row)
        if row.sha256:
            todo = TODO_RECHECK if row.racy else row.todo
            return row._replace(state=_state_hashed(file), reason="", todo=todo)
        if row.state == "corrupt" or (row.state == "set_aside" and row.reason):
            return row  # its header was read and found bad
        return self._waiting(row, file)

    def _another(self, old: IndexRow | None, file: ScannedFile, stamps: Stamps) -> IndexRow:
        """The row of a new file, or of one that is not what it was."""
        row = _new_row(file, stamps, self._look.now_ms)._replace(link=self._is_link(file))
        if old is not None:
            row = row._replace(sequence=old.sequence, row_digest=old.row_digest)
        if file.partial:
            return _downloading(row)
        donor = self._donor(file, stamps)
        if donor is not None:
            if donor.key not in self.seen:
                self.moved_from.add(donor.key)
            at_rest = self._look.now_ms + self._look.quiet_ms
            moved = row.with_digests_of(donor)
            return moved._replace(state=_state_hashed(file), todo=TODO_RECHECK, not_before_ms=at_rest)
        twin = self._twin(file, stamps)
        if twin is not None:
            return row.with_digests_of(twin)._replace(state=_state_hashed(file), todo=TODO_NOTHING)
        return self._waiting(row, file)

    def _waiting(self, row: IndexRow, file: ScannedFile) -> IndexRow:
        """To be hashed, once its stamps are old enough or were seen equal for long enough.

        The second rule is for stamps in the future: they must not keep a file out for ever.
        """
        look = self._look
        seen = min(row.seen_ms, look.now_ms)  # the clock may have been set back
        newest = max(row.mtime_ns, row.ctime_ns) // _NS_PER_MS
        at_rest = min(newest, seen) + look.quiet_ms
        fresh = look.now_ms < at_rest
        state, reason = row.state, row.reason
        if file.set_aside:
            state, reason = "set_aside", ""
        elif state not in _RETRIED:
            state, reason = ("partial", "written a moment ago") if fresh else ("unhashed", "")
        not_before = at_rest if fresh else min(row.not_before_ms, look.now_ms)
        return row._replace(
            state=state, reason=reason, todo=TODO_HASH, not_before_ms=not_before, seen_ms=seen
        )

    def _donor(self, file: ScannedFile, stamps: Stamps) -> IndexRow | None:
        """The row this file was moved from: gone from its path, no other live path, equal sample."""
        size, mtime_ns, _, inode = stamps
        key = (file.root_id, file.path)
        donor = self._by_inode.get((size, mtime_ns, inode)) if inode else None
        if donor is None or donor.key == key or self._live[file.device, file.inode] > 1:
            return None
        if not self._left_its_path(donor):
            return None
        if key not in self._samples:
            self.candidates.append(file)
            return None
        return donor if self._samples[key] == donor.sample else None

    def _left_its_path(self, donor: IndexRow) -> bool:
        """The walk saw that the donor's file is not at its path any more."""
        there = self.seen.get(donor.key)
        if there is not None:
            return stamps_of(there)[3] != donor.inode
        scan = next((scan for scan in self._scans if scan.root.root_id == donor.root_id), None)
        return scan is not None and scan.knows(donor.path)

    def _twin(self, file: ScannedFile, stamps: Stamps) -> IndexRow | None:
        """A row of the same file under another live path (a link) that is hashed and at rest."""
        twin = self._by_stamps.get(stamps) if stamps[3] else None
        if twin is None or twin.todo or twin.racy or twin.key == (file.root_id, file.path):
            return None
        there = self.seen.get(twin.key)
        if there is None or there.device != file.device or stamps_of(there) != stamps:
            return None
        return twin if twin.payload_sha256 or not wants_payload(file.kind) else None

    def keep_unreadable(self, scan: RootScan) -> None:
        """A known file that could not be looked at keeps its row and its digests."""
        for item in scan.skipped:
            row = self._known.rows.get((scan.root.root_id, item.path))
            if row is None or row.key in self.seen or item.code not in _OUT_OF_SIGHT:
                continue
            new = row._replace(state="unreadable", reason=escaped(item.reason))
            if new != row:
                self.changes.append((row, new))

    def missing(self, scan: RootScan) -> list[IndexRow]:
        """Rows that were not seen, though the walk could look there, or could not look anywhere."""
        rows = [row for row in self.of_root[scan.root.root_id] if row.key not in self.seen]
        if not is_connected(scan):
            return rows
        hidden = {item.path for item in scan.skipped if item.code in _OUT_OF_SIGHT}
        return [row for row in rows if row.path not in hidden and scan.knows(row.path)]

    def _root_row(self, scan: RootScan) -> RootRow:
        """The root as it was, with today's label and path; a new one is trusted."""
        root, before = scan.root, self._known.roots.get(scan.root.root_id)
        row = before or RootRow(root.root_id, root.kind, "", "", "healthy", "", 1, 0, "", 0, "", 0, b"")
        row = row._replace(path=escaped(root.path), label=escaped(root.label))
        return row._replace(inodes=0) if row.inodes and self._inodes_wander(scan) else row

    def _inodes_wander(self, scan: RootScan) -> bool:
        """Most files have all other stamps as before but another inode: the numbers mean nothing there."""
        same = other = 0
        for file in scan.files:
            row = self._known.rows.get((file.root_id, file.path))
            stamps = stamps_of(file)
            if row is not None and row.inode and stamps[3] and row.stamps[:3] == stamps[:3]:
                same += stamps[3] == row.inode
                other += stamps[3] != row.inode
        return other > 1 and other > same


def _state_hashed(file: ScannedFile) -> FileState:
    return "set_aside" if file.set_aside else "ready"


def _downloading(row: IndexRow) -> IndexRow:
    return row.without_digests()._replace(
        state="partial", reason="a download is writing to it", todo=TODO_NOTHING, not_before_ms=0
    )


def _new_row(file: ScannedFile, stamps: Stamps, now_ms: int) -> IndexRow:
    size, mtime_ns, ctime_ns, inode = stamps
    return IndexRow(
        root_id=file.root_id, path=file.path, kind=file.kind, size=size, mtime_ns=mtime_ns,
        ctime_ns=ctime_ns, inode=inode, link=int(file.link), state="unhashed", reason="",
        sha256=None, blake3=None, autov1=None, payload_sha256=None, sample=None, claims_json="",
        base_model=None, racy=0, todo=TODO_HASH, not_before_ms=0, seen_ms=now_ms, verified_ms=0,
        sequence=0, row_digest=b"",
    )  # fmt: skip
