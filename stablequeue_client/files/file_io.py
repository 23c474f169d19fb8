"""The one place through which model folders are opened, listed, looked at and read.

Everything that scans or hashes takes a ``ScanIO``, so that a test can make any single call fail. Errors
of one file are raised as the three classes below; what goes wrong with a folder stays an ``OSError``,
because the walk records it per directory.
"""

from __future__ import annotations

import errno
import os
import stat as stat_bits
import sys
from collections.abc import Callable
from contextlib import suppress

from stablequeue_client.shared.errors import StableQueueError
from stablequeue_client.shared.model_files.model_file import StatKey
from stablequeue_client.shared.wire.inventory import wire_path

WINDOWS = os.name == "nt"

_BUSY_ERRNOS = frozenset({errno.EBUSY, errno.ETXTBSY, errno.EAGAIN})
_BUSY_WINERRORS = frozenset({32, 33})  # ERROR_SHARING_VIOLATION, ERROR_LOCK_VIOLATION


class FileUnreadableError(StableQueueError):
    """A model file cannot be read."""

    code = "file_unreadable"
    remedy_text = "Check that this user may read it and that its disk or share is well."


class FileBusyError(FileUnreadableError):
    """A model file is held by another program."""

    code = "file_busy"
    remedy_text = "It is retried automatically when the other program is done."


class FileChangedError(FileUnreadableError):
    """A model file changed while it was read."""

    code = "file_changed"
    remedy_text = "It is read again by itself when nothing writes to it any more."


class OpenedFile:
    """A regular file, open for reading. Close it, or use it in ``with``. Raises the errors above."""

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    def __enter__(self) -> OpenedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with suppress(OSError):
            os.close(self._descriptor)

    def stat(self) -> os.stat_result:
        try:
            return os.fstat(self._descriptor)
        except OSError as error:
            raise file_error(self.path, error) from error

    def readinto(self, view: memoryview) -> int:
        """Fill ``view`` from where the last call ended; the number of bytes, 0 at the end of the file."""
        try:
            return self._readinto(view)
        except OSError as error:
            raise file_error(self.path, error) from error

    def read_at(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``, fewer at the end. Not to be mixed with ``readinto``."""
        try:
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            buffer = bytearray(length)
            view, filled = memoryview(buffer), 0
            while filled < length and (count := self._readinto(view[filled:])):
                filled += count
            return bytes(buffer[:filled])
        except OSError as error:
            raise file_error(self.path, error) from error

    def rewind(self) -> None:
        try:
            os.lseek(self._descriptor, 0, os.SEEK_SET)
        except OSError as error:
            raise file_error(self.path, error) from error

    def will_read_in_order(self) -> None:
        """Tell the system that the file is read once from start to end."""
        if hasattr(os, "posix_fadvise"):
            with suppress(OSError):
                os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)

    def drop_cached(self, offset: int, length: int) -> None:
        """Take these bytes (``length`` 0: to the end) out of the page cache. A hint; never fails."""
        if hasattr(os, "posix_fadvise"):
            with suppress(OSError):
                os.posix_fadvise(self._descriptor, offset, length, os.POSIX_FADV_DONTNEED)

    def _readinto(self, view: memoryview) -> int:
        if hasattr(os, "readv"):
            return os.readv(self._descriptor, [view])
        data = os.read(self._descriptor, len(view))
        view[: len(data)] = data
        return len(data)


class ScanIO:
    """Folders and files as the operating system shows them."""

    def scandir(self, path: str) -> list[os.DirEntry[str]]:
        """All entries of a directory, or OSError: never a part of them."""
        with os.scandir(long_path(path)) as entries:
            return list(entries)

    def is_empty(self, path: str) -> bool:
        """Return whether a directory has no entry at all. Raises OSError."""
        with os.scandir(long_path(path)) as entries:
            return next(entries, None) is None

    # What an entry leads to. The system's own method, without a call around it: it runs once per file.
    stat_entry: Callable[[os.DirEntry[str]], os.stat_result] = staticmethod(os.DirEntry.stat)

    def stat(self, path: str) -> os.stat_result:
        """Return what ``path`` leads to. Raises OSError."""
        return os.stat(long_path(path))

    def realpath(self, path: str) -> str:
        """The path without links. Raises OSError when it does not exist or loops."""
        return os.path.realpath(path, strict=True)

    def open(self, path: str) -> OpenedFile:
        """Open a regular file. Raises FileUnreadableError or FileBusyError."""
        try:
            descriptor = _open_shared(path) if WINDOWS else os.open(path, _OPEN_FLAGS)
        except OSError as error:
            raise file_error(path, error) from error
        opened = OpenedFile(path, descriptor)
        if not stat_bits.S_ISREG(opened.stat().st_mode):
            opened.close()
            raise FileUnreadableError(
                f"{escaped(path)} is not a regular file.", remedy="Remove it from there."
            )
        return opened


OS_IO = ScanIO()

# O_NONBLOCK: opening a FIFO that lies among the models must not wait for a writer.
_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)


def stat_key(found: os.stat_result, *, stable_inode: bool = True) -> StatKey:
    """Return what tells this file from a changed one. On Windows ctime is the creation and inode costs an
    open."""
    if WINDOWS:
        return StatKey(found.st_size, found.st_mtime_ns, 0, 0)
    return StatKey(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino if stable_inode else 0)


def escaped(path: str) -> str:
    """A native path, or any text from outside, as text that every encoder takes and no terminal obeys."""
    return wire_path(path, windows=WINDOWS)


def file_error(path: str, error: OSError) -> FileUnreadableError:
    """The error to raise for what the system said about one file."""
    cause = error.strerror or type(error).__name__
    if error.errno in _BUSY_ERRNOS or getattr(error, "winerror", None) in _BUSY_WINERRORS:
        return FileBusyError(f"{escaped(path)} is in use: {cause}.")
    return FileUnreadableError(f"{escaped(path)} cannot be read: {cause}.", details={"errno": error.errno})


def long_path(path: str) -> str:
    r"""``path`` in the form that Windows accepts beyond 260 characters (``\\?\``); elsewhere as it is."""
    if not WINDOWS or path.startswith("\\\\?\\"):
        return path
    absolute = os.path.abspath(path)
    return "\\\\?\\UNC\\" + absolute[2:] if absolute.startswith("\\\\") else "\\\\?\\" + absolute


def _open_shared(path: str) -> int:
    """Open on Windows so that others may still write, rename and delete the file (``open`` forbids it)."""
    if sys.platform != "win32":
        raise NotImplementedError
    import ctypes
    import msvcrt
    from ctypes import wintypes

    generic_read, share_all, open_existing, sequential_scan = 0x80000000, 0x7, 3, 0x08000000
    kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    create = kernel32.CreateFileW
    create.restype = wintypes.HANDLE
    create.argtypes = [
        wintypes.LPCWSTR, wintypes.DWORD, wintypes.DWORD, wintypes.LPVOID,
        wintypes.DWORD, wintypes.DWORD, wintypes.HANDLE,
    ]  # fmt: skip
    handle = create(long_path(path), generic_read, share_all, None, open_existing, sequential_scan, None)
    if handle == wintypes.HANDLE(-1).value:
        raise ctypes.WinError(ctypes.get_last_error())
    return msvcrt.open_osfhandle(handle, os.O_RDONLY | os.O_BINARY)
