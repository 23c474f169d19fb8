"""Styles that a job brings as their words, for the time of its generation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any


class _AlsoSent(dict[str, Any]):
    """The WebUI's styles, which its owner may change meanwhile. The sent ones are found, and nowhere listed:
    neither a dropdown nor styles.csv gets them."""

    sent: Mapping[str, Any]

    def get(self, name: str, default: Any = None) -> Any:
        return self.sent[name] if name in self.sent else super().get(name, default)


@contextlib.contextmanager
def sent_styles(values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """``values`` with names in the place of pairs (prompt, negative prompt); they hold within the block."""
    from modules import shared, styles

    names: list[str] = []
    sent: dict[str, Any] = {}
    for style in values.get("styles") or ():
        if isinstance(style, str):
            names.append(style)
            continue
        name = f"style {len(names) + 1} of a job"
        sent[name] = styles.PromptStyle(name, str(style[0]), str(style[1]), "do_not_save")
        names.append(name)
    if not sent:
        yield dict(values)
        return
    database: Any = shared.prompt_styles
    also = _AlsoSent(database.styles)
    also.sent = sent
    database.styles = also
    try:
        yield {**values, "styles": names}
    finally:
        if database.styles is also:
            database.styles = dict(also)
