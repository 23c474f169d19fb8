"""The names most like a mistyped one, among ten thousand, in milliseconds. Pure.

Each name becomes a number whose bits stand for its pairs of neighbouring characters. How many bits two names
share costs one ``&`` and a count; only the best few are then compared letter by letter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import SequenceMatcher

_BITS = 512
_COMPARED = 24
"""How many names are compared letter by letter."""
ALIKE = 0.62
"""From this ratio on a name counts as meant."""
PIECE = 500
LONGEST = 300


class NearestNames:
    """A set of names to look among. ``pause`` is called after each ``PIECE`` names of new ones."""

    def __init__(self, names: Iterable[str], pause: Callable[[], object] = lambda: None) -> None:
        self._entries: list[tuple[int, int, str, str]] = []
        for number, name in enumerate(names, 1):
            key = fold(name)
            mask = _pairs(key)
            self._entries.append((mask, mask.bit_count(), key, name))
            if number % PIECE == 0:
                pause()

    def nearest(self, name: str, limit: int = 3) -> tuple[str, ...]:
        """At most ``limit`` names that ``name`` may be a mistyping of, the likeliest first."""
        key = fold(name)
        mask = _pairs(key)
        if not mask:
            return ()
        bits = mask.bit_count()
        scored = [
            (2 * (mask & other).bit_count() / (bits + count), number)
            for number, (other, count, _, _) in enumerate(self._entries)
            if mask & other
        ]
        scored.sort(reverse=True)
        likely = [self._entries[number] for _, number in scored[:_COMPARED]]
        ranked = sorted(((_alike(key, other), written) for _, _, other, written in likely), reverse=True)
        return tuple(written for ratio, written in ranked if ratio >= ALIKE and written != name)[:limit]


def fold(name: str) -> str:
    """Return the form in which names are compared: without case and what people write between words."""
    return "".join(" " if char in "_-. " else char for char in name[:LONGEST].lower()).strip()


def _pairs(key: str) -> int:
    mask = 0
    for first, second in zip(" " + key, key, strict=False):
        mask |= 1 << ((ord(first) * 31 + ord(second)) % _BITS)
    return mask


def _alike(key: str, other: str) -> float:
    ratio = SequenceMatcher(None, key, other, autojunk=False).ratio()
    # "detail" for "detail tweaker xl": what is written is the beginning, and the rest was forgotten.
    shorter, longer = sorted((key, other), key=len)
    return max(ratio, 0.9) if len(shorter) >= 4 and longer.startswith(shorter) else ratio
