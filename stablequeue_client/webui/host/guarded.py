"""Functions that the host calls: what goes wrong in them is logged, never raised into the host."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable
from typing import Any

log = logging.getLogger("stablequeue")


def guarded(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator for callbacks, plain or async: an exception is logged under ``name`` and None returned.

    The same failure again and again is logged once.
    """

    def decorate(call: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(call):

            @functools.wraps(call)
            async def safe_async(*args: Any, **kwargs: Any) -> Any:
                try:
                    return await call(*args, **kwargs)
                except Exception as error:
                    _tell(name, error)
                    return None

            return safe_async

        @functools.wraps(call)
        def safe(*args: Any, **kwargs: Any) -> Any:
            try:
                return call(*args, **kwargs)
            except Exception as error:
                _tell(name, error)
                return None

        return safe

    return decorate


_told: dict[str, str] = {}
"""The last failure under each name: the host calls some of us a thousand times for one page."""


def _tell(name: str, error: Exception) -> None:
    what = f"{type(error).__name__}: {error}"
    if _told.get(name) == what:
        return
    _told[name] = what
    log.exception("StableQueue: %s failed; the WebUI continues without it.", name)
