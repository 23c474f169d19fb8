"""Files of our own: whole or not there, and readable by this user only."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def write_private(path: Path, data: bytes) -> None:
    """Make ``path`` hold ``data``. Whatever ends us meanwhile leaves what was there. Raises OSError."""
    _make_private_folders(path.parent)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
    with suppress(OSError):  # not every file system takes it, and Windows opens no folder
        _sync_folder(path.parent)


def _make_private_folders(folder: Path) -> None:
    """Each for this user only: ``mkdir`` gives its mode to the last one alone."""
    path = [folder, *folder.parents]
    for each in reversed([one for one in path if not one.exists()]):
        each.mkdir(exist_ok=True, mode=0o700)


def _sync_folder(folder: Path) -> None:
    """So that the new name survives a power cut too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
