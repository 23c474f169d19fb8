"""Which file the model in memory was read from, and how that file looked then.

A host goes by the name: a file that was replaced under the same name stays in memory as it was. So it is
noted at each loading how the file looks, and a job trusts the memory only while it still looks like that.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Iterable
from typing import Any

OLD_S = 600.0
"""A file that changed shortly before it was seen may have changed while it was being read."""

FileState = tuple[int, int, int, int]
"""Size, mtime and ctime in nanoseconds, inode."""

_lock = threading.Lock()
_looks: dict[str, FileState] = {}
_last: list[Any] = []


def file_state(path: str) -> FileState | None:
    """Return how a file looks now; None when it cannot be looked at."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def note(model: Any, paths: Iterable[str]) -> None:
    """The host loaded ``model`` from ``paths`` just now. A second word about it counts nothing."""
    with _lock:
        if _last and _last[0]() is model:
            return
        _last[:] = [_reference(model)]
        for path in paths:
            seen = file_state(path)
            if seen is None or abs(time.time() - seen[2] / 1e9) < OLD_S:
                _looks.pop(_key(path), None)
            else:
                _looks[_key(path)] = seen


def confirm(path: str, seen: FileState) -> None:
    """Note that what is in memory of ``path`` was read while it looked like that."""
    with _lock:
        _looks[_key(path)] = seen


def is_fresh(path: str) -> bool:
    """Return whether whatever a host keeps in memory of ``path`` is what lies there now."""
    seen = file_state(path)
    with _lock:
        return seen is not None and _looks.get(_key(path)) == seen


def _key(path: str) -> str:
    return os.path.normcase(os.path.realpath(path))


def _reference(model: Any) -> Any:
    try:
        return weakref.ref(model)
    except TypeError:
        return lambda: model
