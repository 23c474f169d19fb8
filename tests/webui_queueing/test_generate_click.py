"""Of all events on Generate the one that generates is the one whose inputs are taken."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from stablequeue_client.webui.host.capture import ClickEvent, generate_click


def txt2img(*_values: Any) -> None: ...


def diary(*_values: Any) -> None: ...


txt2img.__module__ = "modules.txt2img"


def wrapped_as_the_hosts_do(fn: Callable[..., None]) -> Callable[..., None]:
    """``call_queue.wrap_gradio_gpu_call`` around ``wrap_queued_call``: closures, and no ``__wrapped__``."""

    def locked(*values: Any) -> None:
        fn(*values)

    def call(*values: Any) -> None:
        locked(*values)

    return call


@pytest.mark.parametrize(
    "fn",
    [
        txt2img,
        wrapped_as_the_hosts_do(txt2img),
        functools.wraps(txt2img)(lambda *_: None),
        functools.partial(txt2img),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_larger_click_of_another_extension_is_not_taken_for_it(fn: Any, first: bool) -> None:
    mine = ClickEvent(fn, list(range(139)), [])
    others = [ClickEvent(wrapped_as_the_hosts_do(print), list(range(400)), []), ClickEvent(None, [1], [])]
    events = [mine, *others] if first else [*others, mine]
    assert generate_click(events, "txt2img") is mine


def test_where_nobody_is_the_hosts_the_largest_counts() -> None:
    small, large = ClickEvent(diary, [1], []), ClickEvent(diary, [1, 2], [])
    assert generate_click([small, large], "txt2img") is large
    assert generate_click([], "txt2img") is None
