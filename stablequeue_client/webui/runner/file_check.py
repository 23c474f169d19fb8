"""Confirm the files of a job: each by its row in the local index and by a look at the disk now."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from stablequeue_client.files.file_io import OS_IO, WINDOWS, stat_key
from stablequeue_client.files.same_file import same_file
from stablequeue_client.index.rows import RootRow
from stablequeue_client.index.snapshot import Snapshot
from stablequeue_client.shared.model_files.model_file import StatKey
from stablequeue_client.shared.wire.inventory import native_path
from stablequeue_client.shared.wire.runner import AssignedFile
from stablequeue_client.webui.runner.refusal import Refusal

Stat = Callable[[str], os.stat_result]


@dataclass(frozen=True)
class ConfirmedFile:
    """A file of the job, where it lies here, and how it looked just before the run."""

    file: AssignedFile
    path: str
    stat: StatKey
    stable_inode: bool = True


def confirm(
    files: Iterable[AssignedFile], snapshot: Snapshot, stat: Stat = OS_IO.stat
) -> list[ConfirmedFile] | Refusal:
    """All files confirmed, or the first that is not as the hub believes."""
    roots = {root.root_id: root for root in snapshot.roots}
    confirmed = []
    for file in files:
        found = _confirmed(file, snapshot, roots.get(file.root), stat)
        if isinstance(found, Refusal):
            return found
        confirmed.append(found)
    return confirmed


def _confirmed(
    file: AssignedFile, snapshot: Snapshot, root: RootRow | None, stat: Stat
) -> ConfirmedFile | Refusal:
    row = snapshot.files.get((file.root, file.path))
    if row is None or root is None:
        return _refused("model_missing", file, "is not known in this WebUI's folders any more")
    if file.sha256 is not None and (row.state != "ready" or row.sha256 != file.sha256):
        return _refused("model_changed", file, "is another content now, or is being read again")
    path = os.path.join(root.path_on_disk, native_path(file.path, windows=WINDOWS))
    try:
        seen = stat_key(stat(path), stable_inode=bool(root.inodes))
    except OSError as error:
        return _refused("model_missing", file, f"cannot be looked at: {error.strerror}")
    if not same_file(seen, row.stat):
        return _refused("model_changed", file, "changed since it was read")
    return ConfirmedFile(file, path, seen, bool(root.inodes))


def _refused(code: str, file: AssignedFile, cause: str) -> Refusal:
    assert code in ("model_missing", "model_changed")
    return Refusal(code, f"“{file.name}” {cause}.", file.requirement, file.root)  # type: ignore[arg-type]


def is_unchanged(confirmed: ConfirmedFile, stat: Stat = OS_IO.stat) -> bool:
    """Return whether it still is the file that was confirmed."""
    try:
        return same_file(stat_key(stat(confirmed.path), stable_inode=confirmed.stable_inode), confirmed.stat)
    except OSError:
        return False


def same_path(one: str, other: str) -> bool:
    """Return whether two paths lead to one file, through links and in any writing."""
    if one == other:
        return True
    return os.path.normcase(os.path.realpath(one)) == os.path.normcase(os.path.realpath(other))
