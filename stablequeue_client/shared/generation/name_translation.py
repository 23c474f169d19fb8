"""A generation written with one server's model names, written with another server's. Pure; never raises.

The payload is the JSON of a WebUI's own ``txt2img`` and ``img2img``; what names a model in it, and where, is
for ``requirements`` to say. Every place is read once, so names that change places (a to b and b to a) do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stablequeue_client.shared.generation.clip_words import clip_words
from stablequeue_client.shared.generation.requirements import (
    EmbeddingNames,
    can_be_written,
    generation_requirements,
    prompt_requirements,
)
from stablequeue_client.shared.generation.script_arguments import PlaceKind, visited_scripts
from stablequeue_client.shared.model_files.roles import Role

_PROMPTS = ("prompt", "negative_prompt", "hr_prompt", "hr_negative_prompt")
_NETWORK = re.compile(r"<\w+:([^>]+)>")
_NEAR = 50
"""Letters beside a name that are looked at: no piece of a prompt is that long."""
_COMMENT = re.compile(r"#[^\n]*")
_SEPARATOR = re.compile(r"[\\/]")
_NOT_IN_A_WORD = frozenset("#<>\n")


@dataclass(frozen=True)
class Renaming:
    """The model ``written`` in a payload (``Requirement.name``) is ``name`` on the other server."""

    role: Role
    written: str
    name: str


def translated(
    payload: Mapping[str, Any], renamings: Sequence[Renaming]
) -> tuple[dict[str, Any], tuple[Renaming, ...]]:
    """``payload`` with the other server's names, and the renamings that changed something.

    Neither the payload nor anything in it is changed; the parts that stay the same are shared with it.
    Of two renamings of one name the first counts. One whose new name cannot be written in a prompt changes
    nothing there. An embedding that keeps its name belongs into ``renamings`` too: it keeps a shorter name
    from being replaced inside its own.
    """
    names = _Names(renamings)
    found: dict[str, Any] = {}
    settings = payload.get("override_settings")
    comments = True
    if isinstance(settings, Mapping):
        comments = settings.get("enable_prompt_comments", True) is not False
        found["override_settings"] = {**settings, **_settings(settings, names)}
    for key in _PROMPTS:
        found[key] = _prompt(payload.get(key), names, comments)
    found["styles"] = _styles(payload.get("styles"), names, comments)
    found["hr_checkpoint_name"] = _whole(payload.get("hr_checkpoint_name"), "hires_checkpoint", names)
    found["refiner_checkpoint"] = _whole(payload.get("refiner_checkpoint"), "refiner", names)
    found["hr_additional_modules"] = _files(payload.get("hr_additional_modules"), "module", names)
    found |= _scripts(payload, names)
    changed = {key: value for key, value in found.items() if key in payload and value != payload[key]}
    return {**payload, **changed}, names.used()


# --- parts ------------------------------------------------------------------------------------------------


def _scripts(payload: Mapping[str, Any], names: _Names) -> dict[str, Any]:
    def visit(kind: PlaceKind, value: str, _is_axis: bool) -> str:
        if kind in ("prompt", "negative"):
            return str(_prompt(value, names, True))
        if kind == "vae":
            return str(_file(value, "vae", names))
        return str(_whole(value, "refiner" if kind == "refiner" else "checkpoint", names))

    def search(words: list[str]) -> list[str]:
        """A word that is the whole name of a LoRA is one: what it replaces is renamed as well."""
        renamed = [names.new("lora", word, word, can_be_written) for word in words]
        return [
            new if new != word else str(_prompt(word, names, True))
            for word, new in zip(words, renamed, strict=True)
        ]

    return visited_scripts(payload, visit, search)


class _Names:
    """The renamings by role and name; remembers which were used."""

    def __init__(self, renamings: Sequence[Renaming]) -> None:
        self._renamings = renamings
        self._by_name: dict[tuple[Role, str], Renaming] = {}
        self._used: set[Renaming] = set()
        for renaming in renamings:
            self._by_name.setdefault((renaming.role, renaming.written), renaming)
        embeddings = [name for role, name in self._by_name if role == "embedding"]
        self.embeddings = EmbeddingNames(embeddings)

    def new(self, role: Role, name: str, now: str, fits: Callable[[str], bool] = bool) -> str:
        """Return what to write for the model ``name``, which stands there as ``now``."""
        renaming = self._by_name.get((role, name))
        if renaming is None or renaming.name in (name, now) or not fits(renaming.name):
            return now
        self._used.add(renaming)
        return renaming.name

    def used(self) -> tuple[Renaming, ...]:
        return tuple(dict.fromkeys(renaming for renaming in self._renamings if renaming in self._used))


def _places(names: EmbeddingNames, text: str) -> list[tuple[int, int, str]]:
    """Return start and end in ``text`` of each name that stands there, in order."""
    folded = text.lower()
    at = _origins(text, folded)
    return [
        (at[start], at[end], name)
        for start, end, name in names.places(folded)
        if _is_between_letters(at, start) and _is_between_letters(at, end)
    ]


def _origins(text: str, folded: str) -> Sequence[int]:
    """For each place in ``text.lower()`` the one in ``text``: a few letters become longer."""
    if len(text) == len(folded):
        return range(len(text) + 1)
    places = [at for at, letter in enumerate(text) for _ in letter.lower()]
    return [*places, len(text)]


def _is_between_letters(origins: Sequence[int], place: int) -> bool:
    return place == 0 or origins[place] != origins[place - 1]


def _settings(settings: Mapping[str, Any], names: _Names) -> dict[str, Any]:
    found = {
        "sd_model_checkpoint": _whole(settings.get("sd_model_checkpoint"), "checkpoint", names),
        "sd_lora": _whole(settings.get("sd_lora"), "lora", names),
        "sd_vae": _files(settings.get("sd_vae"), "vae", names),
        "forge_additional_modules": _files(settings.get("forge_additional_modules"), "module", names),
    }
    return {key: value for key, value in found.items() if key in settings}


def _whole(value: Any, role: Role, names: _Names) -> Any:
    if not isinstance(value, str) or _names_nothing(value):
        return value
    return names.new(role, value, value)


def _files(value: Any, role: Role, names: _Names) -> Any:
    """One or a list of names or paths. A path is replaced by a name: folders are one server's own."""
    if isinstance(value, list | tuple):
        return _like(value, [_file(one, role, names) for one in value])
    return _file(value, role, names)


def _file(value: Any, role: Role, names: _Names) -> Any:
    if not isinstance(value, str):
        return value
    base_name = _SEPARATOR.split(value)[-1]
    return value if _names_nothing(base_name) else names.new(role, base_name, value)


def _names_nothing(value: str) -> bool:
    """Return whether it is one of the hosts' words for "no other one": ``None``, ``Automatic``, ..."""
    return not generation_requirements({"override_settings": {"sd_lora": value}})


def _styles(value: Any, names: _Names, comments: bool) -> Any:
    if not isinstance(value, list | tuple):
        return value
    return _like(value, [_style(style, names, comments) for style in value])


def _style(style: Any, names: _Names, comments: bool) -> Any:
    """A pair of prompts; the name of a style stays as it is."""
    if not isinstance(style, list | tuple) or len(style) != 2:
        return style
    return _like(style, [_prompt(text, names, comments) for text in style])


def _like(value: Any, items: list[Any]) -> list[Any] | tuple[Any, ...]:
    return items if isinstance(value, list) else tuple(items)


def _prompt(prompt: Any, names: _Names, comments: bool) -> Any:
    if not isinstance(prompt, str):
        return prompt
    # As the hosts see it, but with every letter at its place: of a comment they leave a line break.
    seen = _COMMENT.sub(lambda comment: "\n" * len(comment[0]), prompt) if comments else prompt
    words: list[str] = []
    found: list[tuple[int, int, Role, str]] = []
    end, last = 0, seen.rfind(">") + 1
    for network in _NETWORK.finditer(seen, 0, last):
        words += [seen[end : network.start()], " " * len(network[0])]
        end = network.end()
        found += _lora(network)
    words.append(seen[end:])
    found += [(at, to, "embedding", name) for at, to, name in _places(names.embeddings, "".join(words))]
    pieces, end = [], 0
    for start, stop, role, name in sorted(found):
        now = prompt[start:stop]
        if now == seen[start:stop]:  # else a comment stands in the name, and it is another one
            new = names.new(role, name, now, _FITS[role])
            if role == "embedding" and new != now:
                new = _standing_alone(prompt[max(0, start - _NEAR) : start], new, prompt[stop : stop + _NEAR])
            pieces += [prompt[end:start], new]
            end = stop
    return "".join([*pieces, prompt[end:]])


def _standing_alone(before: str, word: str, after: str) -> str:
    """With a blank where the word would become one with what stands beside it."""
    own = [piece for _, _, piece in clip_words(word.lower())]
    with_before = [piece for _, _, piece in clip_words((before + word).lower())]
    with_after = [piece for _, _, piece in clip_words((word + after).lower())]
    front = "" if with_before[-len(own) :] == own else " "
    return front + word + ("" if with_after[: len(own)] == own else " ")


def _lora(network: re.Match[str]) -> list[tuple[int, int, Role, str]]:
    """Return where the name of the LoRA stands that one ``<lora:...>`` is for."""
    named = prompt_requirements(network[0], comments=False)
    items = network[1].split(":")
    if not named or named[0].name not in items:
        return []
    name = named[0].name
    start = network.start(1) + sum(len(item) + 1 for item in items[: items.index(name)])
    return [(start, start + len(name), "lora", name)]


def _is_a_word(name: str) -> bool:
    return bool(name) and not set(name) & _NOT_IN_A_WORD


_FITS: dict[Role, Callable[[str], bool]] = {"lora": can_be_written, "embedding": _is_a_word}
"""Whether a name can be written in a prompt."""
