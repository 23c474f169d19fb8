"""Give a file its name back that the host renamed because it could not load it.

Forge does so after any failure of a load, also when memory was short.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from stablequeue_client.files.file_io import OS_IO
from stablequeue_client.files.scanner import SET_ASIDE_SUFFIX
from stablequeue_client.webui.runner.file_check import ConfirmedFile, Stat


def put_back(
    files: Iterable[ConfirmedFile],
    *,
    stat: Stat = OS_IO.stat,
    link: Callable[[str, str], None] = os.link,
) -> list[str]:
    """The files that have their names again: only those whose size, mtime and inode are as before the run.

    A name that is taken meanwhile stays as it is.
    """
    returned = []
    for one in files:
        aside = one.path + SET_ASIDE_SUFFIX
        try:
            found = stat(aside)
        except OSError:
            continue
        same = (found.st_size, found.st_mtime_ns) == (one.stat.size, one.stat.mtime_ns)
        if one.stat.inode and found.st_ino != one.stat.inode:
            same = False
        if same and not os.path.lexists(one.path) and _rename(aside, one.path, link):
            returned.append(one.path)
    return returned


def _rename(source: str, target: str, link: Callable[[str, str], None]) -> bool:
    """Never over another file: a hard link fails where the name is taken."""
    try:
        if os.path.islink(source):
            os.rename(source, target)
            return True
        try:
            link(source, target)
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            os.rename(source, target)
            return True
        os.unlink(source)
        return True
    except OSError:
        return False
