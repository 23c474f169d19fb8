"""The one writer of model files: a copy that comes in pieces gets its name only when all of it is right.

In a model folder there is one hidden folder of ours, on the same volume:

    <folder>/.stablequeue/<sha256>.part       the bytes so far; its ending is that of no model
    <folder>/.stablequeue/<sha256>.journal    lines of JSON: {"size"}, then {"from", "to"} of what is safe

Scanners and WebUIs list files by their ending, and most leave out hidden folders: nothing in it is ever taken
for a model. A journal's line is written after the bytes that it tells of were synced, so a crash at any
instant leaves a part of which the journal knows less than there is, never more. Started again, the part's
beginning is read once and the rest is fetched; only the SHA256 of all of it makes a model.

The name is given by a second link, which fails where the name is taken: nothing of anybody is written over,
moved or removed. A name that another content has gets the content's AutoV2 behind it.
"""

from __future__ import annotations

import errno
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from stablequeue_client.files.file_io import escaped, stat_key
from stablequeue_client.files.hashing import (
    BUFFER_BYTES,
    HashResult,
    StreamedDigests,
    WantedDigests,
    hash_file,
)
from stablequeue_client.files.safe_names import safe_file_name, with_short_hash
from stablequeue_client.files.write_io import OS_WRITE_IO, OpenFolder, WriteIO
from stablequeue_client.shared.errors import StableQueueError
from stablequeue_client.shared.model_files.model_file import Kind
from stablequeue_client.shared.model_files.safetensors_header import Header, HeaderError, read_header

HIDDEN_FOLDER = ".stablequeue"
JOURNAL_EVERY = 64 * 1024 * 1024
RESERVE_BYTES = 10 * 1024**3
RESERVE_SHARE = 0.05
KEPT_S = 7 * 86_400
"""A part that nobody went on with for so long is removed."""
_SETTLE_S = 0.05
"""Longer than file systems take for their stamps to move on: a write after it shows in the stamps."""
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_CONTENT = re.compile(r"[0-9a-f]{64}\Z")
_OURS = re.compile(r"[0-9a-f]{64}\.(?:part|journal)\Z")


class WriteFailedError(StableQueueError):
    """The copy could not be written."""

    code = "write_failed"
    remedy_text = "Check the folder and its disk, then copy again; what came so far is kept."


class NoSpaceError(WriteFailedError):
    """There is no room for the copy."""

    code = "no_space"
    remedy_text = "Make room on that disk, then copy again; what came so far is kept."


class ReadOnlyError(WriteFailedError):
    """The folder cannot be written to."""

    code = "read_only"
    remedy_text = "Let this user write to the folder, then copy again."


class FolderGoneError(WriteFailedError):
    """The folder is not connected any more."""

    code = "folder_gone"
    remedy_text = "Connect it again; the copy resumes by itself."


class WrongContentError(WriteFailedError):
    """What came is not the content that was wanted."""

    code = "wrong_content"
    remedy_text = "Nothing was kept. Have the file at the source read again, or copy it from elsewhere."


class NameTakenError(WriteFailedError):
    """Files with other contents have both names that the copy could get."""

    code = "name_taken"
    remedy_text = "Rename one of them, then copy again."


@dataclass(frozen=True)
class WantedFile:
    """What is to be written: the content, its size, and the name it shall get (``safe_names``)."""

    sha256: str
    size: int
    kind: Kind
    name: str


@dataclass(frozen=True)
class WrittenFile:
    """A model file that is there now, under its final name."""

    name: str
    path: str
    result: HashResult
    header: Header


def space_needed(total: int) -> int:
    """Bytes that must stay free on a file system of that size."""
    return max(RESERVE_BYTES, int(total * RESERVE_SHARE))


class ModelWriter:
    """Writes one content into one folder. For several threads: pieces may come in any order.

    Raises WriteFailedError and its kinds from everything. ``close`` keeps what came; ``discard`` does not.
    """

    def __init__(
        self,
        folder: str,
        wanted: WantedFile,
        *,
        stable_inode: bool = True,
        io: WriteIO = OS_WRITE_IO,
        journal_every: int = JOURNAL_EVERY,
        settle: Callable[[float], None] = time.sleep,
    ) -> None:
        self._folder_path, self.wanted, self._io = folder, wanted, io
        self._stable_inode, self._journal_every, self._settle = stable_inode, journal_every, settle
        self._lock = threading.RLock()
        self._part_name, self._journal_name = f"{wanted.sha256}.part", f"{wanted.sha256}.journal"
        self._root: OpenFolder | None = None
        self._hidden: OpenFolder | None = None
        self._part = self._journal = -1
        self._written = _Ranges()
        self._unsynced: list[tuple[int, int]] = []
        self._digests = StreamedDigests(wanted.size, payload=wanted.kind in ("lora", "embedding"))
        self.resumed = False
        """Some of it was there before: if all of it is wrong, that may be why."""

    def open(self) -> None:
        """Open the part, or make it. Of one that is there, what its journal tells of is read once."""
        wanted = self.wanted
        if not _CONTENT.match(wanted.sha256) or safe_file_name(wanted.name, wanted.sha256) != wanted.name:
            raise WrongContentError("What is to be written has no proper name.")
        with self._lock, _explained():
            self._root = self._io.open_folder(self._folder_path)
            self._hidden = self._io.open_hidden(self._root, HIDDEN_FOLDER)
            known = self._read_journal()
            self._require_space(sum(end - start for start, end in known))
            self._part = self._io.open_file(self._hidden, self._part_name)
            if os.fstat(self._part).st_size != self.wanted.size:
                self._io.reserve(self._part, self.wanted.size)
            self._journal = self._io.open_file(self._hidden, self._journal_name, append=True)
            if known:
                self.resumed = True
                for start, end in known:
                    self._written.add(start, end)
            else:
                self._io.append(self._journal, _line({"size": self.wanted.size}))
                self._io.sync(self._journal)
            self._hash_front(None, 0)

    def missing(self, length: int, taken: Iterable[tuple[int, int]] = ()) -> tuple[int, int] | None:
        """The next range, of at most ``length`` bytes, that is neither here nor ``taken``; None: there is
        none."""
        with self._lock:
            covered = _Ranges(self._written)
            for start, end in taken:
                covered.add(start, end)
            return covered.gap(self.wanted.size, length)

    @property
    def received(self) -> int:
        """Bytes that are here."""
        with self._lock:
            return self._written.total

    def write(self, offset: int, data: bytes) -> None:
        """A piece that came. What is here already stays as it is: its bytes were hashed. Raises
        WrongContentError for bytes that are no part of the file."""
        end = offset + len(data)
        if not data or offset < 0 or end > self.wanted.size:
            raise WrongContentError("The source sent bytes that are not part of the file.")
        view = memoryview(data)
        with self._lock, _explained():
            assert self._root is not None
            if not self._io.is_still(self._root):
                raise FolderGoneError
            if self._written.holds(offset, end):
                return
            if self._written.touches(offset, end):
                raise WriteFailedError("Two pieces of the copy overlap.")
            self._io.write_at(self._part, view, offset)
            self._written.add(offset, end)
            self._unsynced.append((offset, end))
            self._hash_front(view, offset)
            if sum(end - start for start, end in self._unsynced) >= self._journal_every:
                self._write_journal()

    def publish(self) -> WrittenFile:
        """Give the whole file its name. Raises WrongContentError and removes the part if it is not the
        content; NameTakenError, and what ``write`` raises."""
        with self._lock, _explained():
            assert self._root is not None
            assert self._hidden is not None
            header = self._verified()
            self._io.sync(self._part)
            if not self._io.is_still(self._root):
                raise FolderGoneError
            name, there_before = self._give_name(self._root, self._hidden)
            self._io.sync_folder(self._root)
            self._close_files()
            self._io.remove(self._hidden, self._part_name)
            self._io.remove(self._hidden, self._journal_name)
            # Now: that the part's name went is a change of the file's stamps.
            result = there_before or self._stamped(self._root, name)
            return WrittenFile(name, os.path.join(self._root.path, name), result, header)

    def discard(self) -> None:
        """Remove what came so far."""
        with self._lock, _explained():
            self._close_files()
            self._written, self._unsynced = _Ranges(), []
            if self._hidden is not None:
                self._io.remove(self._hidden, self._journal_name)  # first: it must not tell of a new part
                self._io.remove(self._hidden, self._part_name)

    def close(self) -> None:
        """Stop for now; what came is kept and told to the journal."""
        with self._lock:
            try:
                if self._part >= 0 and self._unsynced:
                    with _explained():
                        self._write_journal()
            finally:
                self._close_files()
                for folder in (self._hidden, self._root):
                    if folder is not None:
                        folder.close()
                self._hidden = self._root = None

    # --- steps ------------------------------------------------------------------------------------------

    def _require_space(self, here: int) -> None:
        assert self._root is not None
        free, total = self._io.free_and_total(self._root)
        kept = space_needed(total)
        if free + here - self.wanted.size < kept:
            raise NoSpaceError(
                f"The copy has {self.wanted.size / 1e9:.1f} GB; {free / 1e9:.1f} GB are free there, and "
                f"{kept / 1e9:.1f} GB are to stay free."
            )

    def _hash_front(self, fresh: memoryview | None, offset: int) -> None:
        """Hash what follows on what was hashed. What did not come just now is read from the part."""
        digests, front = self._digests, self._written.front
        if fresh is not None and offset <= digests.count < offset + len(fresh):
            digests.update(fresh[digests.count - offset :])
        buffer = bytearray(min(BUFFER_BYTES, max(0, front - digests.count)))
        while digests.count < front:
            view = memoryview(buffer)[: front - digests.count]
            count = _read_at(self._part, view, digests.count)
            if not count:
                raise WriteFailedError("The part of the copy became shorter.")
            digests.update(view[:count])

    def _write_journal(self) -> None:
        """The bytes first, then the line that tells of them."""
        self._io.sync(self._part)
        lines = b"".join(_line({"from": start, "to": end}) for start, end in self._unsynced)
        self._io.append(self._journal, lines)
        self._io.sync(self._journal)
        self._unsynced = []

    def _read_journal(self) -> list[tuple[int, int]]:
        """What a part that is there surely holds. A journal of another size is of no use."""
        assert self._hidden is not None
        part = self._io.look(self._hidden, self._part_name)
        if self._io.look(self._hidden, self._journal_name) is None or part is None:
            self._io.remove(self._hidden, self._journal_name)
            return []
        descriptor = self._io.open_file(self._hidden, self._journal_name)
        try:
            data = _read_all(descriptor)
            size, ranges, whole = _journal_ranges(data)
            usable = bool(ranges) and size == self.wanted.size == part.st_size
            if usable and whole < len(data):  # a line that a crash cut off must not spoil those to come
                self._io.truncate(descriptor, whole)
        finally:
            os.close(descriptor)
        if not usable:
            self._io.remove(self._hidden, self._journal_name)
        return ranges if usable else []

    def _verified(self) -> Header:
        """Raises WrongContentError unless the part is exactly the content that was wanted."""
        wanted = self.wanted
        if self._written.front != wanted.size:
            raise WriteFailedError("The copy is not complete.")
        found = self._digests.digests().sha256
        if found != wanted.sha256:
            self.discard()
            raise WrongContentError(
                f"What came has the SHA256 {str(found)[:10]}…, wanted was {wanted.sha256[:10]}…."
            )
        try:
            return read_header(self._read_part, wanted.size)
        except HeaderError as error:
            self.discard()
            raise WrongContentError(f"The content is not a whole safetensors file: {error}") from error

    def _read_part(self, offset: int, length: int) -> bytes:
        buffer = bytearray(length)
        count = filled = 0
        while filled < length and (
            count := _read_at(self._part, memoryview(buffer)[filled:], offset + filled)
        ):
            filled += count
        return bytes(buffer[:filled])

    def _give_name(self, root: OpenFolder, hidden: OpenFolder) -> tuple[str, HashResult | None]:
        """The name, and where this content had it already what was computed of the file that is there."""
        for name in (self.wanted.name, with_short_hash(self.wanted.name, self.wanted.sha256)):
            try:
                self._io.publish(hidden, self._part_name, root, name)
            except FileExistsError:
                if self._is_the_part(root, name):  # an earlier try ended here
                    return name, None
                same = self._with_this_content(root, name)
                if same is not None:
                    return name, same
            else:
                return name, None
        raise NameTakenError

    def _is_the_part(self, root: OpenFolder, name: str) -> bool:
        there, ours = self._io.look(root, name), os.fstat(self._part)
        if there is None or not there.st_ino:
            return False
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)

    def _with_this_content(self, root: OpenFolder, name: str) -> HashResult | None:
        """Return what was computed of the file of that name, if it is this content."""
        there = self._io.look(root, name)
        if there is None or there.st_size != self.wanted.size:
            return None
        want = WantedDigests(payload_from=self._digests.payload_from)
        try:
            found = hash_file(os.path.join(root.path, name), want=want, stable_inode=self._stable_inode)
        except StableQueueError:
            return None
        return found if found.digests.sha256 == self.wanted.sha256 else None

    def _stamped(self, root: OpenFolder, name: str) -> HashResult:
        """The digests with the file's stamps, taken once a later change would show in them."""
        self._settle(_SETTLE_S)
        there = self._io.look(root, name)
        if there is None:
            raise WriteFailedError(f"{escaped(name)} was moved away at once.")
        stamps = stat_key(there, stable_inode=self._stable_inode)
        return HashResult(self._digests.digests(), stamps, 0, False)

    def _close_files(self) -> None:
        for descriptor in (self._part, self._journal):
            if descriptor >= 0:
                os.close(descriptor)
        self._part = self._journal = -1


@contextmanager
def _explained() -> Iterator[None]:
    """Turn the system's errors into ours."""
    try:
        yield
    except OSError as error:
        raise _what_it_means(error) from error


def _what_it_means(error: OSError) -> WriteFailedError:
    cause = error.strerror or type(error).__name__
    if error.errno in _FULL:
        return NoSpaceError(f"The disk of the folder is full: {cause}.")
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return ReadOnlyError(f"The folder cannot be written to: {cause}.")
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ENODEV, errno.ENOTCONN):
        return FolderGoneError(f"The folder is not connected: {cause}.")
    return WriteFailedError(f"The copy could not be written: {cause}.")


class _Ranges:
    """Byte ranges, joined where they touch."""

    def __init__(self, other: _Ranges | None = None) -> None:
        self._ranges: list[tuple[int, int]] = list(other._ranges) if other is not None else []

    def add(self, start: int, end: int) -> None:
        kept, low, high = [], start, end
        for one in self._ranges:
            if one[1] < low or one[0] > high:
                kept.append(one)
            else:
                low, high = min(low, one[0]), max(high, one[1])
        self._ranges = sorted([*kept, (low, high)])

    @property
    def front(self) -> int:
        """Up to where all bytes from the start are here."""
        return self._ranges[0][1] if self._ranges and self._ranges[0][0] == 0 else 0

    def holds(self, start: int, end: int) -> bool:
        """Return whether all of it is here."""
        return any(low <= start and end <= high for low, high in self._ranges)

    def touches(self, start: int, end: int) -> bool:
        """Return whether some of it is here."""
        return any(low < end and start < high for low, high in self._ranges)

    @property
    def total(self) -> int:
        return sum(end - start for start, end in self._ranges)

    def gap(self, size: int, length: int) -> tuple[int, int] | None:
        """The first range of at most ``length`` bytes that is not here."""
        start = 0
        for low, high in self._ranges:
            if low > start:
                return start, min(low, start + length)
            start = max(start, high)
        return (start, min(size, start + length)) if start < size else None


def _line(fields: dict[str, int]) -> bytes:
    return json.dumps(fields).encode() + b"\n"


def _journal_ranges(data: bytes) -> tuple[int, list[tuple[int, int]], int]:
    """The size and the ranges in a journal, and how many bytes of it are sound: from the first line that is
    not whole nothing counts."""
    size, whole = -1, 0
    ranges: list[tuple[int, int]] = []
    for line in data.split(b"\n")[:-1]:
        try:
            fields = json.loads(line)
            if size < 0:
                size = int(fields["size"])
                whole += len(line) + 1
                continue
            start, end = int(fields["from"]), int(fields["to"])
        except (ValueError, TypeError, KeyError):
            break
        if not 0 <= start < end <= size:
            break
        ranges.append((start, end))
        whole += len(line) + 1
    return size, ranges, whole


def _read_all(descriptor: int) -> bytes:
    parts = []
    while part := os.read(descriptor, BUFFER_BYTES):
        parts.append(part)
    return b"".join(parts)


def _read_at(descriptor: int, view: memoryview, offset: int) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [view], offset)
    os.lseek(descriptor, offset, os.SEEK_SET)
    data = os.read(descriptor, len(view))
    view[: len(data)] = data
    return len(data)


def sweep_parts(folder: str, keep: Iterable[str], *, now: float, io: WriteIO = OS_WRITE_IO) -> None:
    """Remove parts of copies that nobody went on with for a week, other than those of the contents
    ``keep``. Nothing else is touched; a folder without parts, or that cannot be looked at, is left alone."""
    kept = set(keep)
    try:
        root = io.open_folder(folder)
    except OSError:
        return
    try:
        there = io.look(root, HIDDEN_FOLDER)
        if there is None:
            return
        hidden = io.open_hidden(root, HIDDEN_FOLDER)
        try:
            for name in io.names(hidden):
                found = io.look(hidden, name)
                old = found is not None and abs(now - found.st_mtime) > KEPT_S
                if _OURS.match(name) and old and name[:64] not in kept:
                    io.remove(hidden, name)
        finally:
            hidden.close()
    except OSError:
        return
    finally:
        root.close()
