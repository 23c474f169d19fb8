"""Bodies that arrive in pieces: ``bodies/<owner>/<id>-<total>.part`` in the data folder, until they are used.

The client sends them in order, and may send a piece again; what lies there says how far it came, so a
restart of the hub costs nothing. What is never asked for is swept away.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from stablequeue_client.shared.errors import DataFolderError, InvalidValueError, TooLargeError
from stablequeue_client.shared.wire.pieces import BODY_ID_PATTERN, BODY_MAX_BYTES
from stablequeue_hub.errors import IncompleteBodyError

FOLDER = "bodies"
OWNER_MAX_BYTES = 4 * BODY_MAX_BYTES
"""Of one key: beyond that its oldest bodies go."""
KEPT_S = 3600.0
_ID = re.compile(BODY_ID_PATTERN)


class StoredBodies:
    """The folder. An ``owner`` is an actor; nobody reaches another one's bodies."""

    def __init__(self, data_dir: Path) -> None:
        self.folder = data_dir / FOLDER

    def add(self, owner: str, body_id: str, offset: int, total: int, piece: bytes) -> int:
        """Put a piece at its place; the bytes that are there then. Raises TooLargeError, InvalidValueError,
        IncompleteBodyError when what comes before it is not there, and DataFolderError."""
        if total > BODY_MAX_BYTES:
            raise TooLargeError(f"A body must have at most {BODY_MAX_BYTES} bytes.")
        if not piece or offset + len(piece) > total:
            raise InvalidValueError("A piece must have at least one byte, and end within `total`.")
        path = self._path(owner, body_id, total)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
            with os.fdopen(handle, "r+b") as file:
                if file.seek(0, os.SEEK_END) < offset:
                    raise IncompleteBodyError
                file.truncate(offset)
                file.seek(offset)
                file.write(piece)
            self._make_room(path)
        except OSError as error:
            raise DataFolderError(f"A body cannot be stored in {self.folder}: {error.strerror}.") from error
        return offset + len(piece)

    def take(self, owner: str, body_id: str, limit: int) -> bytes:
        """The whole body, which is gone then. Raises IncompleteBodyError, TooLargeError."""
        for path in self._own_folder(owner).glob(f"{_checked(body_id)}-*.part"):
            total = int(path.stem.rpartition("-")[2])
            if total > limit:
                path.unlink(missing_ok=True)
                raise TooLargeError(f"The request's body is larger than {limit} bytes.")
            with contextlib.suppress(OSError):
                data = path.read_bytes()
                if len(data) == total:
                    path.unlink(missing_ok=True)
                    return data
        raise IncompleteBodyError

    def sweep(self, now_s: float | None = None) -> None:
        """Remove what nobody came back for."""
        before = (time.time() if now_s is None else now_s) - KEPT_S
        for path in self.folder.glob("*/*.part"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < before:
                    path.unlink()
        for folder in self.folder.glob("*"):
            with contextlib.suppress(OSError):
                folder.rmdir()

    def _make_room(self, keep: Path) -> None:
        """Of one owner only so much lies here."""
        found = sorted(_stamped(keep.parent), reverse=True)
        size = 0
        for _, bytes_there, path in found:
            size += bytes_there
            if size > OWNER_MAX_BYTES and path != keep:
                path.unlink(missing_ok=True)

    def _path(self, owner: str, body_id: str, total: int) -> Path:
        return self._own_folder(owner) / f"{_checked(body_id)}-{total}.part"

    def _own_folder(self, owner: str) -> Path:
        return self.folder / hashlib.sha256(owner.encode()).hexdigest()[:32]


def _stamped(folder: Path) -> Iterator[tuple[float, int, Path]]:
    for path in folder.glob("*.part"):
        with contextlib.suppress(OSError):
            found = path.stat()
            yield found.st_mtime, found.st_size, path


def _checked(body_id: str) -> str:
    if not _ID.match(body_id):
        raise InvalidValueError("The id of a body is 32 hex digits.")
    return body_id
