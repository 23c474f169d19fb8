"""The line under the Generate buttons, as HTML and as plain sentences. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup, escape

from stablequeue_client.shared.views import labels, views

Tone = Literal["good", "note", "warn", "bad"]
SHOWN = 1
"""How many sentences stand there at once, because what is below moves; the others can be opened."""

SIGNS: dict[Tone, str] = {"good": "✓", "note": "i", "warn": "!", "bad": "✗"}
"""The shape of each tone: never by colour alone."""


@dataclass(frozen=True)
class PromptLineItem:
    """One thing to say: ``text`` with a ``{}`` for each of ``names``.

    ``others``: servers that have it. ``written`` and ``meant``: a LoRA's name in the prompt and the one to
    put in its place; empty when nothing can be put there.
    """

    tone: Tone
    text: str
    names: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    written: str = ""
    meant: str = ""


@dataclass(frozen=True)
class PromptLineTarget:
    """Where the generation would run if it was queued, and why not elsewhere."""

    tone: Tone
    text: str
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class PromptLine:
    """What is to be said of one generation, the worst first. ``named``: how many models it names.

    ``unread``: how many of those are here and have not been read yet. ``asking``: others are being asked.
    ``target`` None: nothing is known, or there is nothing to choose from.
    """

    items: tuple[PromptLineItem, ...] = ()
    named: int = 0
    unread: int = 0
    asking: bool = False
    target: PromptLineTarget | None = None


def prompt_line(line: PromptLine) -> Markup:
    """The line; empty when the generation names nothing."""
    if not line.named:
        return Markup("")
    first, rest = line.items[:SHOWN], line.items[SHOWN:]
    return views.render(
        "prompt_line.html",
        line=line,
        first=first,
        rest=rest,
        signs=SIGNS,
        sentence=_sentence,
        who_has=who_has,
    )


def plain_sentence(item: PromptLineItem) -> str:
    """For the dialog, which writes it as text; invisible characters are shown."""
    text = item.text.format(*(f"“{labels.visible(name)}”" for name in item.names))
    return f"{text} {who_has(item.others)}" if item.others else text


def _sentence(item: PromptLineItem) -> Markup:
    shown = Markup('<bdi dir="ltr" class="sq-gate-name">{}</bdi>')
    names = [shown.format(labels.visible(name)) for name in item.names]
    return escape(item.text).format(*names)


def who_has(others: Sequence[str]) -> str:
    """Return who else has it: "forge-b and attic have it." Plain text."""
    shown = [labels.visible(name) for name in others[:3]]
    if len(others) > len(shown):
        return f"{', '.join(shown)} and {len(others) - len(shown)} more have it."
    if len(shown) == 1:
        return f"{shown[0]} has it."
    return f"{', '.join(shown[:-1])} and {shown[-1]} have it."
