"""Index rows as what the hub is told: entries, and the requests that carry them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import msgspec

from stablequeue_client.index.rows import IndexRow, RootRow
from stablequeue_client.shared.errors import TooLargeError
from stablequeue_client.shared.model_files.model_file import Claim, Digests
from stablequeue_client.shared.wire.inventory import (
    CLAIMS_MAX,
    PROTOCOL_MAX,
    SYNC_MAX_ROWS,
    FileEntry,
    Removal,
    RootEntry,
    SyncRequest,
    WireClaim,
    WireDigests,
    digest_hex,
    entry_dict,
    row_digest,
)


@dataclass(frozen=True)
class SyncContent:
    """What one synchronisation says. ``digest``: of the whole inventory at ``sequence``."""

    index_id: str
    mode: Literal["full", "delta"]
    base_sequence: int
    sequence: int
    digest: int
    roots: tuple[RootEntry, ...]
    upserts: tuple[FileEntry, ...]
    removals: tuple[Removal, ...]

    @property
    def rows(self) -> int:
        return len(self.upserts) + len(self.removals)


def file_entry(row: IndexRow) -> FileEntry:
    """The row as it is sent. A set-aside or unreadable file keeps its digests; only ``ready`` is offered."""
    digests = row.digests
    wire = WireDigests(row.sha256, row.blake3, row.autov1, digests.autov3)
    claims = claims_to_send(row.claims, digests) if row.claims_json else ()
    return FileEntry(
        root=row.root_id,
        path=row.path,
        kind=row.kind,
        size=row.size,
        state=row.state,
        digests=wire if wire != WireDigests() else None,
        claims=claims or None,
        link=bool(row.link),
    )


def root_entry(root: RootRow) -> RootEntry:
    return RootEntry(root=root.root_id, kind=root.kind, health=root.health, label=root.label or None)


def claims_to_send(claims: Iterable[Claim], digests: Digests) -> tuple[WireClaim, ...]:
    """Claims beside which no computed digest stands, or which contradict it; contradictions first."""
    wanted = []
    for claim in sorted(set(claims)):
        computed = computed_digest(digests, claim)
        if computed != claim.value:
            wanted.append((computed is None, WireClaim(claim.source, claim.digest, claim.value)))
    return tuple(claim for _, claim in sorted(wanted, key=lambda item: item[0])[:CLAIMS_MAX])


def computed_digest(digests: Digests, claim: Claim) -> str | None:
    """The computed digest of the claim's kind, at the claim's length; None when none was computed.

    A payload's SHA256 is claimed in full by some headers and as AutoV3 by others.
    """
    if claim.digest == "autov3":
        computed = digests.payload_sha256
    elif claim.digest == "autov2":
        computed = digests.sha256
    else:
        computed = getattr(digests, claim.digest)
    return computed[: len(claim.value)] if computed else None


def file_digest(row: IndexRow) -> bytes:
    return row_digest(entry_dict(file_entry(row)))


def root_digest(root: RootRow) -> bytes:
    return row_digest(entry_dict(root_entry(root)))


def sync_request(content: SyncContent) -> SyncRequest:
    """The message that carries ``content``. Raises TooLargeError."""
    if content.rows > SYNC_MAX_ROWS:
        raise TooLargeError(
            f"The inventory has {content.rows:,} rows; one synchronisation carries {SYNC_MAX_ROWS:,}.",
            remedy="Give some of the folders to a second agent with its own --data folder and alias.",
        )
    return SyncRequest(
        protocol=PROTOCOL_MAX,
        index_id=content.index_id,
        mode=content.mode,
        base_sequence=content.base_sequence,
        sequence=content.sequence,
        digest=digest_hex(content.digest),
        roots=[msgspec.Raw(msgspec.json.encode(entry)) for entry in content.roots],
        upserts=[msgspec.Raw(msgspec.json.encode(entry)) for entry in content.upserts],
        removals=list(content.removals),
    )
