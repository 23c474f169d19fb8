"""The rows of the local index as values, and the tables they lie in. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, cast

from stablequeue_client.files.file_io import WINDOWS
from stablequeue_client.files.hashing import HashResult
from stablequeue_client.files.same_file import Stamps, stored_stamps
from stablequeue_client.index.checked_tables import Table
from stablequeue_client.shared.model_files.model_file import (
    Claim,
    ClaimSource,
    DigestKind,
    Digests,
    FileState,
    Kind,
    StatKey,
)
from stablequeue_client.shared.wire.inventory import native_path

_INT64 = 1 << 63

TODO_NOTHING, TODO_HASH, TODO_RECHECK = 0, 1, 2
"""What is to be done with a row: nothing; hash it; hash it again although its digests stand."""

Key = tuple[str, str]
"""(root_id, wire path)."""


class IndexRow(NamedTuple):
    """One model file as the index has it. Times are Unix milliseconds (``_ms``) or nanoseconds (``_ns``).

    Digests belong to exactly the stamps beside them. ``racy``: the stamps may not move with the next write,
    so the next scan has it hashed again. ``seen_ms``: the first look that found these stamps.
    ``not_before_ms``: not to be hashed earlier. ``sequence``: of the last change that a hub must hear of.
    """

    root_id: str
    path: str
    kind: Kind
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    link: int
    state: FileState
    reason: str
    sha256: str | None
    blake3: str | None
    autov1: str | None
    payload_sha256: str | None
    sample: str | None
    claims_json: str
    base_model: str | None
    racy: int
    todo: int
    not_before_ms: int
    seen_ms: int
    verified_ms: int
    sequence: int
    row_digest: bytes

    @property
    def key(self) -> Key:
        return self.root_id, self.path

    @property
    def stat(self) -> StatKey:
        """The stamps as the operating system gives them."""
        return StatKey(
            self.size, _os_stamp(self.mtime_ns), _os_stamp(self.ctime_ns), self.inode % (2 * _INT64)
        )

    @property
    def stamps(self) -> Stamps:
        return self[3:7]

    @property
    def digests(self) -> Digests:
        return Digests(self.sha256, self.blake3, self.autov1, self.payload_sha256, self.sample)

    @property
    def claims(self) -> tuple[Claim, ...]:
        return tuple(
            Claim(cast(ClaimSource, source), cast(DigestKind, digest), value)
            for source, digest, value in (json.loads(self.claims_json) if self.claims_json else ())
        )

    def without_digests(self) -> IndexRow:
        """Nothing computed and nothing claimed: for a file that is another one now."""
        return self._replace(
            sha256=None, blake3=None, autov1=None, payload_sha256=None, sample=None,
            claims_json="", base_model=None, racy=0, verified_ms=0,
        )  # fmt: skip

    def with_digests_of(self, other: IndexRow) -> IndexRow:
        """Return what was computed and claimed for ``other``, which is the same content."""
        return self._replace(
            sha256=other.sha256, blake3=other.blake3, autov1=other.autov1,
            payload_sha256=other.payload_sha256, sample=other.sample, claims_json=other.claims_json,
            base_model=other.base_model, racy=other.racy, verified_ms=other.verified_ms,
        )  # fmt: skip


def received_row(root_id: str, path: str, kind: Kind, result: HashResult, now_ms: int) -> IndexRow:
    """The row of a file that was written here, and hashed meanwhile."""
    size, mtime_ns, ctime_ns, inode = stored_stamps(result.stat)
    digests = result.digests
    return IndexRow(
        root_id=root_id, path=path, kind=kind, size=size, mtime_ns=mtime_ns, ctime_ns=ctime_ns, inode=inode,
        link=0, state="ready", reason="", sha256=digests.sha256, blake3=digests.blake3,
        autov1=digests.autov1, payload_sha256=digests.payload_sha256, sample=digests.sample, claims_json="",
        base_model=None, racy=int(result.racy), todo=TODO_NOTHING, not_before_ms=0, seen_ms=now_ms,
        verified_ms=now_ms, sequence=0, row_digest=b"",
    )  # fmt: skip


def _os_stamp(stored: int) -> int:
    """A stamp from before 1823 is really one from beyond 2262."""
    return stored if stored >= -_INT64 // 2 else stored + 2 * _INT64


def wants_payload(kind: Kind) -> bool:
    """AutoV3 is a second SHA256 over nearly every byte: only for the kinds that are looked up by it."""
    return kind in ("lora", "embedding")


def claims_json(claims: Iterable[Claim]) -> str:
    """Claims as the row keeps them; empty when there are none."""
    listed = sorted([claim.source, claim.digest, claim.value] for claim in claims)
    return json.dumps(listed, separators=(",", ":")) if listed else ""


class RootRow(NamedTuple):
    """One model folder. ``path`` is escaped like a wire path; ``path_on_disk`` is the native one.

    ``health`` suspect: its rows are kept although ``missing`` of them were not found. ``missing_digest``
    names that set, ``missing_since_ms`` when it was first seen like this, ``accepted_digest`` the set
    whose removal the owner accepted. ``inodes`` 0: inode numbers change by themselves there.
    """

    root_id: str
    kind: Kind
    path: str
    label: str
    health: str
    reason: str
    inodes: int
    missing: int
    missing_digest: str
    missing_since_ms: int
    accepted_digest: str
    sequence: int
    row_digest: bytes

    @property
    def path_on_disk(self) -> str:
        return native_path(self.path, windows=WINDOWS)


@dataclass(frozen=True)
class PendingFile:
    """A file to hash. ``stat`` is what the index has; another stat at opening means: scan again first.

    ``native``: the path for the operating system. ``not_before``: Unix seconds. ``recheck``: the row has
    digests, which stay while it waits. ``want_payload``: AutoV3 is wanted. ``aliases``: other rows of the
    same file, which ``record_hash`` serves too. ``asked_ms``: when this list was made.
    """

    root_id: str
    path: str
    kind: Kind
    native: str
    stat: StatKey
    not_before: float
    recheck: bool
    want_payload: bool
    aliases: tuple[Key, ...]
    asked_ms: int


FILES = Table(
    "files",
    (
        ("root_id", "TEXT NOT NULL"), ("path", "TEXT NOT NULL"), ("kind", "TEXT NOT NULL"),
        ("size", "INTEGER NOT NULL"), ("mtime_ns", "INTEGER NOT NULL"), ("ctime_ns", "INTEGER NOT NULL"),
        ("inode", "INTEGER NOT NULL"), ("link", "INTEGER NOT NULL"), ("state", "TEXT NOT NULL"),
        ("reason", "TEXT NOT NULL"), ("sha256", "TEXT"), ("blake3", "TEXT"), ("autov1", "TEXT"),
        ("payload_sha256", "TEXT"), ("sample", "TEXT"), ("claims_json", "TEXT NOT NULL"),
        ("base_model", "TEXT"), ("racy", "INTEGER NOT NULL"), ("todo", "INTEGER NOT NULL"),
        ("not_before_ms", "INTEGER NOT NULL"), ("seen_ms", "INTEGER NOT NULL"),
        ("verified_ms", "INTEGER NOT NULL"), ("sequence", "INTEGER NOT NULL"),
        ("row_digest", "BLOB NOT NULL"),
    ),
    key=2,
)  # fmt: skip

ROOTS = Table(
    "roots",
    (
        ("root_id", "TEXT NOT NULL"), ("kind", "TEXT NOT NULL"), ("path", "TEXT NOT NULL"),
        ("label", "TEXT NOT NULL"), ("health", "TEXT NOT NULL"), ("reason", "TEXT NOT NULL"),
        ("inodes", "INTEGER NOT NULL"), ("missing", "INTEGER NOT NULL"),
        ("missing_digest", "TEXT NOT NULL"), ("missing_since_ms", "INTEGER NOT NULL"),
        ("accepted_digest", "TEXT NOT NULL"), ("sequence", "INTEGER NOT NULL"),
        ("row_digest", "BLOB NOT NULL"),
    ),
)  # fmt: skip

TOMBSTONES = Table(
    "tombstones",
    (("root_id", "TEXT NOT NULL"), ("path", "TEXT NOT NULL"), ("sequence", "INTEGER NOT NULL")),
    key=2,
)
"""Rows that are gone and of which the hub has not heard; an empty path is the root itself."""

CONTENTS = Table("contents", (("sha256", "TEXT NOT NULL"), ("metadata_json", "TEXT NOT NULL")))

ACKS = Table("acks", (("hub_id", "TEXT NOT NULL"), ("sequence", "INTEGER NOT NULL")))
