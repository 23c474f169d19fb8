"""The pieces into which CLIP's tokenizer takes a text apart before it makes tokens of each. Pure.

Tokens never reach over such a piece, and the last token of a piece says that it ends there. So two texts have
the same tokens exactly where they have the same pieces: a run of letters, a single digit, a run of other
signs. (OpenAI ``clip/simple_tokenizer.py``; the hosts' ``parse_prompt_attention`` runs before it.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_PIECES = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[^\W_]+|(?:[^\w\s]|_)+")
_EMPHASIS = re.compile(r"\\([()\[\]])|:\s*[+-]?[.\d]+\s*\)|[()\[\]]")
"""An escaped bracket, which is one; a weight with its bracket; a bracket that only sets a weight."""


def clip_words(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield start, end and piece of a text in lower case, without what only sets weights."""
    for match in _PIECES.finditer(_EMPHASIS.sub(_blanked, text)):
        if match[0].isalpha() or not match[0][0].isalnum():
            yield match.start(), match.end(), match[0]
        else:
            yield from _letters_and_digits(match.start(), match[0])


def _letters_and_digits(start: int, run: str) -> Iterator[tuple[int, int, str]]:
    begun = 0
    for place, character in enumerate(run):
        if character.isalpha():
            continue
        if place > begun:
            yield start + begun, start + place, run[begun:place]
        yield start + place, start + place + 1, character
        begun = place + 1
    if begun < len(run):
        yield start + begun, start + len(run), run[begun:]


def _blanked(match: re.Match[str]) -> str:
    """As long as before, so that places stay what they are."""
    return f" {match[1]}" if match[1] else " " * len(match[0])
