"""Whether the extension's files are others than this process has loaded.

"Reload UI" executes the WebUI's scripts again, while packages stay as they were loaded. After an update the
code of one version would work with the templates and scripts of another, so then nothing is started again.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

from stablequeue_client.webui.host import sentence_tab

SENTENCE = "StableQueue was updated while this WebUI ran."
REMEDY = 'Close the WebUI and start it again; "Reload UI" is not enough for that.'
_PACKAGE = Path(__file__).resolve().parents[2]
_SUFFIXES = (".py", ".html")
State = frozenset[tuple[str, int, int]]
_loaded: list[State] = []
log = logging.getLogger("stablequeue")


def note() -> None:
    """Remember the files as they are loaded now; once per process."""
    if not _loaded:
        _loaded.append(_state())


def changed() -> bool:
    """Whether they are others since. Looks at some hundred files, which takes a few milliseconds."""
    return bool(_loaded) and _loaded[0] != _state()


def show() -> None:
    """Have the host show that in our tab. Never raises."""
    sentence_tab.show(sentences)


def sentences() -> str:
    """What is the matter and what helps, as HTML."""
    log.warning("%s %s", SENTENCE, REMEDY)
    return sentence_tab.paragraphs(SENTENCE, REMEDY)


def _state() -> State:
    return frozenset(_files(str(_PACKAGE)))


def _files(folder: str) -> Iterator[tuple[str, int, int]]:
    """(path, size, time of the last change) of each source; what is being replaced right now is left out."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(_SUFFIXES):
                    about = entry.stat()
                    yield entry.path, about.st_size, about.st_mtime_ns
                elif entry.name != "__pycache__" and entry.is_dir():
                    yield from _files(entry.path)
    except OSError:
        return
