"""Whether what a scan did not see in a folder is gone, or only out of sight. Pure.

A root that could not be looked at, or in which no file was seen though it has rows, is ``suspect`` and keeps
its rows until files are seen in it again or its owner accepts; time never ends this. In a root where files
were seen, the loss of more than 20 files that are also more than 30 % of its rows makes it ``suspect`` until
another scan at least 10 minutes later misses the same files, or its owner accepts.

The owner accepts a set of missing files (its digest), not a folder: what vanishes later is not accepted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from stablequeue_client.files.file_io import escaped
from stablequeue_client.files.scanner import RootScan
from stablequeue_client.index.rows import IndexRow, RootRow

LOSS_FILES = 20
LOSS_SHARE = 0.30
AGREEMENT_MS = 10 * 60 * 1000

_GONE, _LOSS = "gone", "loss"

Judge = Callable[[RootScan, RootRow, Sequence[IndexRow], int, int, bool], RootRow]


def judge_root(
    scan: RootScan, root: RootRow, lost: Sequence[IndexRow], rows: int, now_ms: int, accept: bool
) -> RootRow:
    """The root's row after this scan. Its ``missing`` is 0 when the ``lost`` rows may be removed.

    ``lost``: rows not seen and not found again elsewhere. ``rows``: how many the root had. ``accept``: the
    owner accepts whatever this scan misses.
    """
    sort, reason = _doubt(scan, lost, rows)
    trusted = root._replace(
        health="healthy" if is_connected(scan) else "unreachable", reason="", missing=0,
        missing_digest="", missing_since_ms=0, accepted_digest="",
    )  # fmt: skip
    if not lost:
        return trusted._replace(reason=reason)
    digest = _missing_digest(sort, lost)
    if not reason or accept or root.accepted_digest == digest:
        return trusted
    same = digest == root.missing_digest and root.missing_since_ms <= now_ms
    since = root.missing_since_ms if same else now_ms
    if sort == _LOSS and same and now_ms - since >= AGREEMENT_MS:
        return trusted
    return root._replace(
        health="suspect", reason=reason, missing=len(lost), missing_digest=digest, missing_since_ms=since
    )


def is_connected(scan: RootScan) -> bool:
    """The folder itself could be listed."""
    return scan.health != "unreachable" and "" not in scan.failed_dirs


def _doubt(scan: RootScan, lost: Sequence[IndexRow], rows: int) -> tuple[str, str]:
    """Return why what is missing may not be gone, as (sort, reason); an empty reason: it is believed."""
    if not is_connected(scan):
        cause = next((escaped(item.reason) for item in scan.skipped if item.path == ""), "")
        return _GONE, "the folder is not connected" + (f" ({cause})" if cause else "")
    if not lost:
        return _LOSS, ""
    if not scan.files:
        return _GONE, "the folder is empty"
    if scan.health != "healthy":
        return _GONE, "the folder was exchanged while it was read"
    if len(lost) > LOSS_FILES and len(lost) > LOSS_SHARE * rows:
        return _LOSS, f"{len(lost)} of {rows} files are missing at once"
    return _LOSS, ""


def _missing_digest(sort: str, lost: Sequence[IndexRow]) -> str:
    """Names a set of missing files and how they went missing: only two mass losses can agree."""
    paths = sorted(row.path for row in lost)
    return f"{sort}:" + hashlib.sha256("\n".join(paths).encode()).hexdigest()
