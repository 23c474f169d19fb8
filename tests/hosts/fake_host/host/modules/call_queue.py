"""Generations go one after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from typing import Any

from modules import shared

queue_lock = threading.Lock()


def wrap_gradio_gpu_call(func: Callable[..., Any], extra_outputs: Any = None) -> Callable[..., Any]:
    @wraps(func)
    def call(*args: Any, **kwargs: Any) -> Any:
        with queue_lock:
            shared.state.begin(job=str(args[0]) if args else "")
            try:
                return func(*args, **kwargs)
            finally:
                shared.state.end()

    return call
