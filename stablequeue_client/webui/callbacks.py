"""Functions that the host calls: what goes wrong in them is logged, never raised into the host."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable
from typing import Any

log = logging.getLogger("stablequeue")


def guarded(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator for callbacks, plain or async: an exception is logged under ``name`` and None returned."""

    def decorate(call: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(call):

            @functools.wraps(call)
            async def safe_async(*args: Any, **kwargs: Any) -> Any:
                try:
                    return await call(*args, **kwargs)
                except Exception:
                    _tell(name)
                    return None

            return safe_async

        @functools.wraps(call)
        def safe(*args: Any, **kwargs: Any) -> Any:
            try:
                return call(*args, **kwargs)
            except Exception:
                _tell(name)
                return None

        return safe

    return decorate


def _tell(name: str) -> None:
    log.exception("StableQueue: %s failed; the WebUI goes on without it.", name)
