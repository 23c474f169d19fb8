"""Pieces of a model file for another computer: of exactly the file whose digests the index has, or none."""

from __future__ import annotations

from stablequeue_client.files.file_io import OS_IO, FileChangedError, ScanIO, escaped, stat_key
from stablequeue_client.files.hashing import refuse_changed
from stablequeue_client.files.same_file import same_file
from stablequeue_client.shared.model_files.model_file import StatKey


def read_chunk(native: str, stat: StatKey, offset: int, length: int, *, io: ScanIO = OS_IO) -> bytes:
    """The bytes from ``offset``, of a file that has the stamps ``stat`` before and after.

    Raises FileChangedError when it is another file now, FileBusyError, FileUnreadableError.
    """
    with io.open(native) as opened:
        before = opened.stat()
        if not same_file(stat_key(before, stable_inode=stat.inode != 0), stat):
            raise FileChangedError(f"{escaped(native)} changed since it was read.")
        data = opened.read_at(offset, length)
        refuse_changed(opened, before, io)
        opened.drop_cached(offset, length)
    if len(data) != length:
        raise FileChangedError(f"{escaped(native)} is shorter than it was.")
    return data
