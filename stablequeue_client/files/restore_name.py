"""Give a file that the WebUI set aside (``x.safetensors.corrupted``) its name back, if it is whole."""

from __future__ import annotations

import os
from collections.abc import Callable

from stablequeue_client.files.file_io import ScanIO, escaped, long_path, stat_key
from stablequeue_client.files.file_reader import FileJob, FileReading, read_model_file
from stablequeue_client.files.same_file import same_file
from stablequeue_client.files.scanner import SET_ASIDE_SUFFIX
from stablequeue_client.shared.errors import ConflictError
from stablequeue_client.shared.model_files.model_file import Kind, StatKey


class NotPutBackError(ConflictError):
    """The file was not put back."""

    code = "not_put_back"
    remedy_text = "Nothing was changed."


def put_back(native: str, kind: Kind, stat: StatKey, *, stop: Callable[[], bool], io: ScanIO) -> str:
    """Hash the file, then rename it; the new path. Raises NotPutBackError, ReadingStoppedError.

    Only if its header is valid, it is still the file that ``stat`` describes, and the name is free.
    """
    if not native.lower().endswith(SET_ASIDE_SUFFIX):
        raise NotPutBackError(f"{escaped(native)} is not a file that was set aside.")
    target = native[: -len(SET_ASIDE_SUFFIX)]
    reading = read_model_file(FileJob(native, kind, stat), stop=stop, io=io)
    _require_whole(native, reading)
    if reading.stat is None or not same_file(reading.stat, stat):
        raise NotPutBackError(f"{escaped(native)} changed since the last look.", remedy="Try again.")
    _rename_to_free_name(native, target, reading.stat)
    return target


def _require_whole(native: str, reading: FileReading) -> None:
    if reading.state != "ready":
        raise NotPutBackError(reading.reason or f"{escaped(native)} cannot be read.")
    if reading.header is None:
        raise NotPutBackError(
            f"{escaped(native)} is not a safetensors file, so whether it is whole cannot be checked.",
            remedy="Rename it by hand if you trust it.",
        )


def _rename_to_free_name(source: str, target: str, stat: StatKey) -> None:
    """Never over another file: a hard link fails where the name is taken, a plain rename would not."""
    try:
        found = os.lstat(long_path(source))
        if _is_other_file(source, target):
            raise NotPutBackError(f"{escaped(target)} is there already.", remedy="Move one of the two away.")
        is_link = os.path.islink(long_path(source))
        if not is_link and not same_file(stat_key(found, stable_inode=stat.inode != 0), stat):
            raise NotPutBackError(f"{escaped(source)} changed while it was read.", remedy="Try again.")
        if os.path.lexists(long_path(target)) or (
            os.name != "nt" and not is_link and _linked(source, target)
        ):
            os.unlink(long_path(source))
        else:
            os.rename(long_path(source), long_path(target))
    except FileExistsError:
        raise NotPutBackError(
            f"{escaped(target)} is there already.", remedy="Move one of the two away."
        ) from None
    except OSError as error:
        raise NotPutBackError(
            f"{escaped(source)} cannot be renamed: {error.strerror}.",
            remedy="Check the folder's permissions.",
        ) from None


def _is_other_file(source: str, target: str) -> bool:
    """Return whether the name is taken; by a second name of the same file it is not: an earlier try ended
    there."""
    if not os.path.lexists(long_path(target)):
        return False
    return os.path.islink(long_path(target)) or not os.path.samefile(long_path(source), long_path(target))


def _linked(source: str, target: str) -> bool:
    """Return whether the file now has both names; False where the file system has no hard links."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        return False
    return True
