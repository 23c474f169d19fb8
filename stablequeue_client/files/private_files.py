"""Files that their owner keeps private: neither in the index nor read nor told to a hub.

A pattern is

- an absolute path (``~`` counts): that file, or that folder with everything beneath;
- a pattern with ``/``: against the path below a model folder, as ``secret/*`` (``*`` takes ``/`` too);
- any other: against each single name on that path, as ``secret`` or ``*_private.safetensors``.

What fits a folder fits everything beneath it. Case does not count: rather one file too many is kept back.
"""

from __future__ import annotations

import fnmatch
import os
import re
import unicodedata
from collections.abc import Callable, Iterable

from stablequeue_client.files.model_folders import Root


class PrivateFiles:
    """The patterns of one server. ``realpath`` is asked once for each pattern that is a path."""

    def __init__(
        self, patterns: Iterable[str] = (), *, realpath: Callable[[str], str] = os.path.realpath
    ) -> None:
        cleaned = [os.path.expanduser(pattern.strip()) for pattern in patterns if pattern.strip()]
        places = [pattern for pattern in cleaned if os.path.isabs(pattern)]
        others = [_folded(pattern).strip("/") for pattern in cleaned if not os.path.isabs(pattern)]
        self._places = frozenset(
            _folded(form)
            for place in places
            for form in (os.path.abspath(place), realpath(os.path.abspath(place)))
        )
        self._paths = _matcher(pattern for pattern in others if "/" in pattern)
        self._names = _matcher(pattern for pattern in others if pattern and "/" not in pattern)

    def __bool__(self) -> bool:
        return bool(self._places or self._paths or self._names)

    def hides_root(self, root: Root) -> bool:
        """Return whether a whole model folder is private."""
        return any(self._is_in_place(folder) for folder in (root.path, root.real) if folder)

    def hides(self, root: Root, relative: str, *, link: bool = False) -> bool:
        """Return whether the file at ``relative`` (native, below the model folder) is private.

        ``link``: the name is a symbolic link, so what it leads to counts as well.
        """
        folders = {root.path, root.real or root.path}
        if self._fits(relative) or any(self._is_in_place(os.path.join(top, relative)) for top in folders):
            return True
        return link and self._hides_target(root, os.path.join(root.path, relative))

    def _hides_target(self, root: Root, native: str) -> bool:
        target = os.path.realpath(native)
        top = root.real or root.path
        inside = _is_beneath(_folded(target), _folded(top))
        return self._is_in_place(target) or self._fits(
            os.path.relpath(target, top) if inside else os.path.basename(target)
        )

    def _fits(self, relative: str) -> bool:
        """Return whether a pattern fits the path, a folder on it, or a single name of it."""
        parts = [part for part in _folded(relative).split("/") if part]
        if self._names is not None and any(self._names(part) for part in parts):
            return True
        above = ("/".join(parts[: count + 1]) for count in range(len(parts)))
        return self._paths is not None and any(self._paths(path) for path in above)

    def _is_in_place(self, native: str) -> bool:
        if not self._places:
            return False
        path = _folded(os.path.abspath(native))
        return any(_is_beneath(path, place) for place in self._places)


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", path.replace(os.sep, "/")).casefold()


def _is_beneath(path: str, place: str) -> bool:
    """Of two folded paths."""
    return path == place or path.startswith(place.rstrip("/") + "/")


def _matcher(patterns: Iterable[str]) -> Callable[[str], object] | None:
    found = [fnmatch.translate(pattern) for pattern in patterns]
    return re.compile("|".join(found)).match if found else None
