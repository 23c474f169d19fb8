"""Read one model file completely: header, digests, claims. What goes wrong is a value, not an exception."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from stablequeue_client.files.claimed_hashes import (
    ClaimReport,
    ContradictedClaim,
    check_claims,
    claims_for,
    settled,
)
from stablequeue_client.files.file_io import (
    OS_IO,
    FileBusyError,
    FileChangedError,
    FileUnreadableError,
    OpenedFile,
    ScanIO,
    escaped,
    stat_key,
)
from stablequeue_client.files.hashing import (
    HashResult,
    OnBytesRead,
    ShouldStop,
    WantedDigests,
    hash_file,
    refuse_changed,
)
from stablequeue_client.files.read_throttle import ReadThrottle
from stablequeue_client.files.scanner import SET_ASIDE_SUFFIX
from stablequeue_client.shared.model_files.model_file import FileState, Kind, StatKey
from stablequeue_client.shared.model_files.other_formats import FORMATS, check_format
from stablequeue_client.shared.model_files.safetensors_header import Header, HeaderError, read_header

RETRY_AFTER_S = (1.0, 4.0)
"""A file that changed while it was read is read again after these pauses, then it is ``unstable``."""

_PAYLOAD_KINDS = frozenset({"lora", "embedding"})


@dataclass(frozen=True)
class FileJob:
    """A file to be read. ``stat``: what the scan saw (its inode 0: do not compare inodes there).

    ``path``: its wire path below the model folder, where that is known.
    """

    native: str
    kind: Kind
    stat: StatKey | None = None
    path: str = ""


@dataclass(frozen=True)
class FileReading:
    """What is known of a file after reading it.

    ``state`` ready: ``result`` is there. Otherwise ``reason`` says in a sentence what is wrong: corrupt,
    unreadable, busy, unstable (kept changing); unhashed when only the header was asked for. ``stat`` is
    what was read, None when it could not even be opened. ``header`` is None for what is no safetensors
    file. ``note`` is worth telling but no failure.
    """

    state: FileState
    reason: str | None = None
    result: HashResult | None = None
    stat: StatKey | None = None
    header: Header | None = None
    note: str | None = None
    claims: ClaimReport = field(default_factory=lambda: ClaimReport((), ()))
    contradictions: tuple[ContradictedClaim, ...] = ()


FurtherClaims = Callable[[FileJob, StatKey, Mapping[str, str]], ClaimReport]
"""What somebody else says of a file (a WebUI's cache), given its stamps and its header's metadata."""


def no_further_claims(_job: FileJob, _stat: StatKey, _metadata: Mapping[str, str]) -> ClaimReport:
    return ClaimReport((), ())


def read_model_file(
    job: FileJob,
    *,
    digests: bool = True,
    pace: ReadThrottle | None = None,
    progress: OnBytesRead | None = None,
    stop: ShouldStop | None = None,
    parallel: bool | None = None,
    io: ScanIO = OS_IO,
    further_claims: FurtherClaims = no_further_claims,
) -> FileReading:
    """Open, validate and hash one file, and collect its claims. Raises only ReadingStoppedError.

    ``digests`` False: header and claims only (names, sizes and headers at once, digests later). A file
    that changes meanwhile is read again twice, then it is ``unstable``.
    """
    pace = pace or ReadThrottle()
    for pause in (*RETRY_AFTER_S, None):
        try:
            with io.open(job.native) as opened:
                before = opened.stat()
                seen = _look(opened, before, job, further_claims, io)
                if not digests or seen.state != "unhashed":
                    return seen
                return _with_digests(opened, seen, job, (pace, progress, stop, parallel), io)
        except FileChangedError as error:
            if pause is None:
                return FileReading("unstable", str(error))
            pace.wait(pause, stop)
        except FileBusyError as error:
            return FileReading("busy", str(error))
        except FileUnreadableError as error:
            return FileReading("unreadable", str(error))
    raise AssertionError("the last attempt returns")


_How = tuple[ReadThrottle, OnBytesRead | None, ShouldStop | None, bool | None]


def _look(
    opened: OpenedFile, before: os.stat_result, job: FileJob, further_claims: FurtherClaims, io: ScanIO
) -> FileReading:
    """Header and claims: ``unhashed``, or ``corrupt``."""
    found = stat_key(before, stable_inode=_has_inode(job))
    if found.size == 0:
        return FileReading(
            "corrupt", f"{escaped(job.native)} is empty. Download or copy it again.", stat=found
        )
    header, extension = None, os.path.splitext(_model_name(job.native))[1]
    try:
        if extension == ".safetensors":
            header = read_header(opened.read_at, found.size)
        elif extension in FORMATS:
            check_format(extension, opened.read_at, found.size)
    except HeaderError as error:
        refuse_changed(opened, before, io)
        return FileReading("corrupt", f"{escaped(job.native)}: {error}", stat=found)
    metadata = header.metadata if header else {}
    claims = claims_for(job.native, metadata, size=found.size, io=io).with_(
        further_claims(job, found, metadata)
    )
    return FileReading("unhashed", None, None, found, header, header.note if header else None, claims)


def _with_digests(opened: OpenedFile, seen: FileReading, job: FileJob, how: _How, io: ScanIO) -> FileReading:
    header = seen.header
    payload_from = header.payload_offset if header and job.kind in _PAYLOAD_KINDS else None
    pace, progress, stop, parallel = how
    result = hash_file(
        opened, want=WantedDigests(payload_from=payload_from), pace=pace, progress=progress, stop=stop,
        parallel=parallel, stable_inode=_has_inode(job), io=io,
    )  # fmt: skip
    return completed(seen, result)


def completed(seen: FileReading, result: HashResult) -> FileReading:
    """A file whose header and claims were seen, with its digests."""
    claims = settled(seen.claims, result.digests)
    contradictions = check_claims(claims.claims, result.digests)
    return replace(
        seen, state="ready", result=result, stat=result.stat, claims=claims, contradictions=contradictions
    )


def _has_inode(job: FileJob) -> bool:
    return job.stat is None or job.stat.inode != 0


def _model_name(native: str) -> str:
    """The path in lower case without Forge's ``.corrupted``, so that the content is judged all the same."""
    return native.lower().removesuffix(SET_ASIDE_SUFFIX)
