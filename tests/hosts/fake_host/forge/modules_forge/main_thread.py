"""The main thread waits here; GPU work is brought to it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

last_exception: Exception | None = None


def run_and_wait_result(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The fake has no GPU work; the call is made at once. As in the host, None when it raised."""
    global last_exception
    try:
        last_exception = None
        return func(*args, **kwargs)
    except Exception as error:
        last_exception = error
        return None


def loop() -> None:
    while True:
        time.sleep(0.01)
