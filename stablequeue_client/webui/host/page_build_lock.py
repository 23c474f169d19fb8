"""Building the host's page and asking its scripts for their controls take turns.

A job has the host make the controls of all scripts anew, to know their values. Gradio puts what is made into
the page that is being built at that moment, whoever builds it in whatever thread: at "Reload UI" that broke
the page, and the WebUI did not come back.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

SCRIPTS_LIMIT_S = 10.0
"""Scripts that take longer to make their controls do not keep the page from being built."""
PAGE_LIMIT_S = 120.0

_free = threading.Condition()
_building = False
_asking = False


class PageIsBeingBuiltError(RuntimeError):
    """The page did not become ready in time."""


def begins() -> None:
    """The host executes its scripts, and builds its page next. Waits for a job that asks them."""
    global _building
    with _free:
        _building = True
        _free.wait_for(lambda: not _asking, SCRIPTS_LIMIT_S)


def done() -> None:
    """The page is built."""
    global _building
    with _free:
        _building = False
        _free.notify_all()


def building() -> bool:
    """Return whether the page is not ready yet."""
    return _building


@contextmanager
def asking_scripts() -> Iterator[None]:
    """While no page is built. Raises PageIsBeingBuiltError after two minutes."""
    global _asking
    with _free:
        if not _free.wait_for(lambda: not _building and not _asking, PAGE_LIMIT_S):
            raise PageIsBeingBuiltError("The WebUI is still building its page.")
        _asking = True
    try:
        yield
    finally:
        with _free:
            _asking = False
            _free.notify_all()
