"""How long jobs and their pictures are kept: some days, and so many bytes. Starred ones are kept for ever.

Rows go first, their files after the commit: a crash in between leaves files that no row names, and those are
swept away, now or at the next start. So no row ever names a file that this removed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.errors import DataFolderError
from stablequeue_hub.jobs.rows import retire_jobs
from stablequeue_hub.jobs.states import ENDED
from stablequeue_hub.store.bulk import slices
from stablequeue_hub.store.engine import Store
from stablequeue_hub.store.prepared import Prepared, in_list
from stablequeue_hub.store.tables import job_pictures, jobs

BATCH = 200
"""Jobs in one transaction, so that no claim waits long for this."""
GB = 1_000_000_000
ORPHAN_AGE_S = 86_400.0
"""A file that no row names may be one that just arrives, or of a database whose backup is just put back."""
MARKER = "hub_id"

_MAY_GO = (jobs.c.state.in_(sorted(ENDED)), jobs.c.starred == 0)
_ITS_JOB = job_pictures.c.job_id == jobs.c.job_id
_STATES = Prepared(sa.select(jobs.c.job_id, jobs.c.state).where(in_list(jobs.c.job_id, "ids")))
_NAMED = Prepared(sa.select(job_pictures.c.file).where(in_list(job_pictures.c.job_id, "ids")))


def retire_old(connection: Connection, before_ms: int, now_ms: int) -> list[str]:
    """Remove up to 200 jobs that ended before then; their ids. Ask again while any come."""
    old = sa.select(jobs.c.job_id).where(*_MAY_GO, jobs.c.ended_ms < before_ms)
    ids = list(connection.scalars(old.order_by(jobs.c.ended_ms, jobs.c.seq).limit(BATCH)))
    retire_jobs(connection, ids, now_ms=now_ms)
    return ids


def retire_large(connection: Connection, bytes_max: int, now_ms: int) -> list[str]:
    """Remove up to 200 of the jobs that ended first, as far as their pictures are more than that; their ids.
    Ask again while any come. Starred ones do not count: once they are as large, all else would go."""
    may_go = sa.select(sa.func.sum(job_pictures.c.bytes)).join_from(job_pictures, jobs, _ITS_JOB)
    total = int(connection.scalar(may_go.where(*_MAY_GO)) or 0)
    if total <= bytes_max:
        return []
    sizes = (
        sa.select(jobs.c.job_id, sa.func.sum(job_pictures.c.bytes))
        .join_from(jobs, job_pictures, _ITS_JOB)
        .where(*_MAY_GO)
        .group_by(jobs.c.job_id, jobs.c.ended_ms, jobs.c.seq)
        .order_by(jobs.c.ended_ms, jobs.c.seq)
        .limit(BATCH)
    )
    ids = []
    for job_id, size in connection.execute(sizes):
        if total <= bytes_max:
            break
        ids.append(job_id)
        total -= int(size)
    retire_jobs(connection, ids, now_ms=now_ms)
    return ids


def sweep_pictures(store: Store, folder: Path, hub_id: str, *, now_s: float) -> int:
    """Remove files below ``folder`` that no row names for a day, and empty folders; how many files.

    ``now_s``: what files' stamps are compared with. Raises DataFolderError for the pictures of another hub: a
    hub that was started over another database once must not take them for strays.
    """
    if not folder.is_dir():
        return 0
    _check_marker(folder, hub_id)
    swept = 0
    for job_ids in slices(_folders_of_jobs(folder), BATCH):
        # Listed first, then asked which of it counts: a file that comes in between is not listed.
        present = [path for job_id in job_ids for path in _files(folder / job_id)]
        with store.read() as connection:
            states = dict(_STATES.all(connection, {"ids": job_ids}))
            named = {file for (file,) in _NAMED.all(connection, {"ids": job_ids})}
        for path in present:
            job_id = path.parent.name
            if states.get(job_id) != "processing" and f"{job_id}/{path.name}" not in named:
                swept += _remove(path, now_s)
        for job_id in job_ids:
            if job_id not in states:
                _remove_empty(folder / job_id)
    return swept


def _check_marker(folder: Path, hub_id: str) -> None:
    path = folder / MARKER
    try:
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(hub_id, encoding="ascii")
        found = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        raise DataFolderError(f"{path} cannot be read or written: {error.strerror}.") from None
    if found != hub_id:
        raise DataFolderError(
            f"The pictures in {folder} belong to another database of a hub.",
            remedy="Start the hub over that database, or move these pictures away.",
        )


def _folders_of_jobs(folder: Path) -> Iterator[str]:
    with os.scandir(folder) as entries:
        yield from [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]


def _files(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [Path(entry.path) for entry in entries if entry.is_file(follow_symlinks=False)]
    except OSError:  # its job was deleted meanwhile
        return []


def _remove(path: Path, now_s: float) -> int:
    try:
        if now_s - path.stat().st_mtime < ORPHAN_AGE_S:
            return 0
        path.unlink()
    except OSError:
        return 0
    return 1


def _remove_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return
