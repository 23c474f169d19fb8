"""Whose fault an error of the host is, as its type, its number and the host's own modules in it say."""

from __future__ import annotations

import errno
import os
import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from stablequeue_client.shared.wire.runner import TRACEBACK_MAX, Fault

_SURROUNDINGS = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EACCES,
        errno.EPERM,
        errno.EIO,
        errno.ESTALE,
        errno.EMFILE,
    }
)
"""A disk or a folder: full, over its quota, read-only, forbidden, broken, gone; or too many open files."""
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_LOADERS = (
    "modules/sd_models.py",
    "modules/sd_vae.py",
    "modules_forge/forge_loader.py",
    "backend/loader.py",
)
"""Where the hosts read checkpoints, VAEs and text encoders (Forge, Classic, A1111)."""
_TEXT_MAX = 600


@dataclass(frozen=True)
class RunFault:
    """``text`` for people. ``paths``: files that the host had in hand where it failed, innermost first."""

    fault: Fault
    text: str
    traceback: str = ""
    paths: tuple[str, ...] = ()


def fault_of(error: Exception, *, prepared: bool, folders: Sequence[tuple[str, str]] = ()) -> RunFault:
    """``prepared``: the host had taken the whole job, and was at work on it. ``folders``: (path, name of its
    setting) of those that it saves pictures in."""
    text, trace = sentence(error), _traceback(error)
    disk = next((one for one in _chain(error) if _is_surroundings(one, folders)), None)
    if isinstance(disk, OSError):
        return RunFault("surroundings", disk_text(disk, folders), trace)
    frames = list(_frames(error))
    if not _is_out_of_memory(error) and any(_is_loader(frame) for frame in frames):
        return RunFault("file", text, trace, tuple(_paths(frames)))
    return RunFault("host" if prepared else "job", text, trace)


def sentence(error: BaseException) -> str:
    """Return what went wrong, without the values of the job: a form's complaint quotes them."""
    complaints = getattr(error, "errors", None)
    if callable(complaints):
        places = [".".join(map(str, one.get("loc", ()))) for one in complaints()]
        return f"The WebUI does not take these fields: {', '.join(places)}."[:_TEXT_MAX]
    detail = getattr(error, "detail", None) or str(error)
    return f"{type(error).__name__}: {detail}"[:_TEXT_MAX]


def disk_text(error: OSError, folders: Sequence[tuple[str, str]]) -> str:
    """Name the folder, its setting and what to do about it."""
    path = str(error.filename or "")
    folder = next((one for one in folders if path and _lies_in(path, one[0])), None)
    if folder is None and not path and folders:
        folder = folders[0]  # only a picture is written without its name in the error
    where = f"the folder of pictures {folder[0]} (setting {folder[1]})" if folder else path or "its disk"
    if error.errno in _FULL:
        return f"There is no room in {where}: {error.strerror}. Free some space there; the job waits."
    remedy = "Make it writable, or choose another folder in its settings; the job waits."
    return f"The WebUI cannot use {where}: {error.strerror or error}. {remedy}"


def _is_surroundings(error: BaseException, folders: Sequence[tuple[str, str]]) -> bool:
    """A model file that cannot be read is none of it, though the error is of the same kind."""
    if not isinstance(error, OSError):
        return False
    if error.filename:
        written = any(_lies_in(str(error.filename), folder) for folder, _ in folders)
        return written or error.errno in _FULL
    return error.errno in _SURROUNDINGS


def _lies_in(path: str, folder: str) -> bool:
    path, folder = os.path.abspath(path), os.path.abspath(folder)
    return (
        path == folder
        or path.startswith(os.path.join(folder, ""))
        or folder.startswith(os.path.join(path, ""))
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _frames(error: BaseException) -> Iterator[Any]:
    """The innermost first."""
    at: TracebackType | None = error.__traceback__
    frames = []
    while at is not None:
        frames.append(at.tb_frame)
        at = at.tb_next
    return reversed(frames)


def _is_loader(frame: Any) -> bool:
    return str(frame.f_code.co_filename).replace("\\", "/").endswith(_LOADERS)


def _is_out_of_memory(error: BaseException) -> bool:
    words = str(error).lower()
    return (
        isinstance(error, MemoryError)
        or "outofmemory" in type(error).__name__.lower()
        or "out of memory" in words
    )


def _paths(frames: Iterable[Any]) -> Iterator[str]:
    """Whole paths among what the frames hold: names of files, or objects that have one."""
    for frame in frames:
        for value in list(frame.f_locals.values()):
            path = value if isinstance(value, str) else getattr(value, "filename", None)
            if isinstance(path, str) and len(path) < 4096 and os.path.isabs(path):
                yield path


def _traceback(error: BaseException) -> str:
    """The host's own, without the values that a form's complaint quotes."""
    text = "".join(traceback.format_tb(error.__traceback__)) + sentence(error)
    return text[-TRACEBACK_MAX:].encode("utf-8", "replace").decode()
