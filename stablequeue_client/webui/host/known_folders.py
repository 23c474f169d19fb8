"""The model folders that this WebUI uses, also while one of them is not there.

A WebUI leaves a folder out that does not exist now, and the agent forgets folders that it is not given any
more. So a folder that was used before and is away (an unplugged disk, a share that is not mounted) is
given on; one that is there but not used any more is not. ``folders.json``: ``[[kind, path], ...]``.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from stablequeue_client.shared.atomic_file import write_private
from stablequeue_client.shared.model_files.model_file import Kind

Folders = tuple[tuple[Kind, str], ...]
FILE_NAME = "folders.json"


class KnownFolders:
    """Asks the WebUI in a thread of its own, because a share that hangs would hold up who asks."""

    def __init__(self, ask: Callable[[], Folders], server_dir: Path) -> None:
        self._ask = ask
        self._file = server_dir / FILE_NAME
        self._asking: threading.Thread | None = None
        self._answer: Folders | None = None
        self._failure: Exception | None = None
        self._known: Folders | None = None

    def now(self, patience_s: float = 5.0) -> Folders:
        """The folders; those of the last answer while there is none. Raises what the WebUI raises."""
        if self._known is None:
            self._known = self._read()
        if self._asking is None:
            self._answer = self._failure = None
            self._asking = threading.Thread(target=self._run, name="stablequeue-folders", daemon=True)
            self._asking.start()
        self._asking.join(patience_s)
        if self._asking.is_alive():
            return self._known
        self._asking = None
        if self._answer is None:
            raise self._failure or RuntimeError("The WebUI names no folders.")
        if self._answer != self._known:
            self._known = self._answer
            with contextlib.suppress(OSError):  # a full disk; they are known as long as this process lives
                write_private(self._file, msgspec.json.encode(self._known))
        return self._known

    def _run(self) -> None:
        try:
            used = self._ask()
            away = tuple(item for item in self._known or () if item not in used and not _is_there(item[1]))
            self._answer = (*used, *away)
        except Exception as error:  # told to the thread that waits
            self._failure = error

    def _read(self) -> Folders:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=Folders)
        except (OSError, msgspec.DecodeError):
            return ()


def _is_there(path: str) -> bool:
    return os.path.isdir(path)
