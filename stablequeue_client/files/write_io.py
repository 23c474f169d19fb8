"""The system calls by which the one writer changes a model folder, so that a test can stop at any of them.

Everything happens below open folders where the system has such calls: a share that is unmounted meanwhile
is written to no more, and nothing lands in the empty mount point beneath it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import stat as stat_bits
import sys
from contextlib import suppress
from dataclasses import dataclass

from stablequeue_client.files.file_io import WINDOWS, long_path

_BY_FOLDER = os.open in os.supports_dir_fd and os.link in os.supports_dir_fd
_RENAME_NOREPLACE = 1
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES})


@dataclass(frozen=True)
class OpenFolder:
    """A folder that stays the one it was when it was opened. ``descriptor`` -1: the system has no such."""

    path: str
    descriptor: int

    def below(self, name: str) -> str:
        return long_path(os.path.join(self.path, name))

    def close(self) -> None:
        if self.descriptor >= 0:
            with suppress(OSError):
                os.close(self.descriptor)


class WriteIO:
    """Every call that changes something on the disk. Each raises OSError."""

    # --- folders ----------------------------------------------------------------------------------------

    def open_folder(self, path: str) -> OpenFolder:
        """Open a folder that is there."""
        if not _BY_FOLDER:
            if not os.path.isdir(long_path(path)):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            return OpenFolder(path, -1)
        return OpenFolder(path, os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))

    def open_hidden(self, folder: OpenFolder, name: str) -> OpenFolder:
        """Open the folder ``name`` in it, made when missing. A link there is refused: it may lead anywhere,
        and another file system would make the last step a copy."""
        path = os.path.join(folder.path, name)
        with suppress(FileExistsError):
            self.make_folder(folder, name)
        if not _BY_FOLDER:
            found = os.lstat(long_path(path))
            if not stat_bits.S_ISDIR(found.st_mode) or os.path.islink(long_path(path)):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            return OpenFolder(path, -1)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        opened = OpenFolder(path, os.open(name, flags, dir_fd=folder.descriptor))
        if os.fstat(opened.descriptor).st_dev != os.fstat(folder.descriptor).st_dev:
            opened.close()
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return opened

    def make_folder(self, folder: OpenFolder, name: str) -> None:
        if _BY_FOLDER:
            os.mkdir(name, dir_fd=folder.descriptor)
        else:
            os.mkdir(folder.below(name))

    def is_still(self, folder: OpenFolder) -> bool:
        """Return whether the folder's path still leads to the folder that was opened."""
        if folder.descriptor < 0:
            return os.path.isdir(long_path(folder.path))
        try:
            now, then = os.stat(folder.path), os.fstat(folder.descriptor)
        except OSError:
            return False
        return (now.st_dev, now.st_ino) == (then.st_dev, then.st_ino)

    def sync_folder(self, folder: OpenFolder) -> None:
        """The names in it survive a power cut. File systems without this refuse it, and need it not."""
        if folder.descriptor >= 0:
            with suppress(OSError):
                os.fsync(folder.descriptor)

    def free_and_total(self, folder: OpenFolder) -> tuple[int, int]:
        """Bytes that this user may still write on its file system, and its size."""
        usage = shutil.disk_usage(folder.path if folder.descriptor < 0 else folder.descriptor)
        return usage.free, usage.total

    # --- files ------------------------------------------------------------------------------------------

    def open_file(self, folder: OpenFolder, name: str, *, append: bool = False) -> int:
        """Open for reading and writing, made when missing; a link is not followed."""
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
        flags |= getattr(os, "O_BINARY", 0) | (os.O_APPEND if append else 0)
        if _BY_FOLDER:
            return os.open(name, flags, 0o666, dir_fd=folder.descriptor)
        return os.open(folder.below(name), flags, 0o666)

    def reserve(self, descriptor: int, size: int) -> None:
        """Take the room for the whole file now, where the file system can."""
        if hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(descriptor, 0, size)
                return
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.ENODEV):
                    raise
        os.ftruncate(descriptor, size)

    def write_at(self, descriptor: int, data: memoryview, offset: int) -> None:
        """Write all of it there."""
        while len(data):
            if hasattr(os, "pwrite"):
                count = os.pwrite(descriptor, data, offset)
            else:
                os.lseek(descriptor, offset, os.SEEK_SET)
                count = os.write(descriptor, data)
            data, offset = data[count:], offset + count

    def append(self, descriptor: int, data: bytes) -> None:
        view = memoryview(data)
        while len(view):
            view = view[os.write(descriptor, view) :]

    def truncate(self, descriptor: int, size: int) -> None:
        os.ftruncate(descriptor, size)

    def sync(self, descriptor: int) -> None:
        """What was written survives a power cut."""
        os.fsync(descriptor)

    def publish(self, source: OpenFolder, name: str, target: OpenFolder, final: str) -> None:
        """Give the file a second name, which must be free: FileExistsError, and nothing is written over.

        Where there are no hard links it is renamed, in the same way.
        """
        if WINDOWS:
            os.rename(source.below(name), target.below(final))  # fails there when the name is taken
            return
        try:
            if _BY_FOLDER:
                os.link(
                    name, final, src_dir_fd=source.descriptor, dst_dir_fd=target.descriptor,
                    follow_symlinks=False,
                )  # fmt: skip
            else:
                os.link(source.below(name), target.below(final))
        except FileExistsError:
            raise
        except OSError as error:
            if error.errno not in _NO_LINKS or not _rename_to_free_name(source, name, target, final):
                raise

    def remove(self, folder: OpenFolder, name: str) -> None:
        """Remove one of our own files; none there is as good."""
        with suppress(FileNotFoundError):
            if _BY_FOLDER:
                os.unlink(name, dir_fd=folder.descriptor)
            else:
                os.unlink(folder.below(name))

    def look(self, folder: OpenFolder, name: str) -> os.stat_result | None:
        """Return what is called so there, a link as the link that it is; None when nothing is."""
        try:
            if _BY_FOLDER:
                return os.stat(name, dir_fd=folder.descriptor, follow_symlinks=False)
            return os.lstat(folder.below(name))
        except FileNotFoundError:
            return None

    def names(self, folder: OpenFolder) -> list[str]:
        return os.listdir(folder.path if folder.descriptor < 0 else folder.descriptor)


def _rename_to_free_name(source: OpenFolder, name: str, target: OpenFolder, final: str) -> bool:
    """``renameat2`` with RENAME_NOREPLACE; False where the system or the file system has no such call."""
    if sys.platform != "linux":
        return False
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    words = (source.descriptor, os.fsencode(name), target.descriptor, os.fsencode(final))
    if call(*words, _RENAME_NOREPLACE) == 0:
        return True
    number = ctypes.get_errno()
    if number == errno.EEXIST:
        raise FileExistsError(number, os.strerror(number))
    return False


OS_WRITE_IO = WriteIO()
