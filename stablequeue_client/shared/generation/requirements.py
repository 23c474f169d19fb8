"""What a generation names: checkpoints, VAEs, text encoders, LoRAs, embeddings. Pure; never raises.

A WebUI reads ``<name:arguments>`` out of a prompt before anything else looks at it (A1111 and Forge
``modules/extra_networks.py``): prompt editing, alternation and ``BREAK`` around it make no difference, and
comments are gone by then. What the LoRA code does with the arguments stands in ``extra_networks_lora.py``:
one that is no number ends the activation of all LoRAs.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal

from stablequeue_client.shared.generation.clip_words import clip_words
from stablequeue_client.shared.generation.script_arguments import PlaceKind, visited_scripts
from stablequeue_client.shared.model_files.model_file import Kind
from stablequeue_client.shared.model_files.roles import KINDS_OF, Role

Where = Literal[
    "prompt",
    "negative",
    "hires_prompt",
    "hires_negative",
    "style",
    "negative_style",
    "setting",
    "script",
    "axis",
]
"""``script``: an argument of a script that uses it besides the generation's own; ``axis``: of one that puts
it in their place, as X/Y/Z plot does."""

_REPLACED_MAX = 1 << 20
"""So many characters of the prompts that an axis makes of one are looked at."""
LORA_TAG = "lora"
_TAGS = frozenset({LORA_TAG, "lyco"})
_NETWORK = re.compile(r"<(\w+):([^>]+)>")
"""``re_extra_net`` of the hosts, to the letter."""
_COMMENT_LINE = re.compile("(^|\n)#[^\n]*(\n|$)")
_COMMENT_END = re.compile("#[^\n]*(\n|$)")
_HASH_AT_END = re.compile(r"\s\[([0-9a-fA-F]{8,64})\]\s*\Z")
_TEMPLATE = re.compile(r"\{.*\}|__.+__|\$\{", re.DOTALL)
_LONGEST_TEMPLATE = 1000
_NOTHING = frozenset({"", "None", "none", "Automatic", "Use same checkpoint", "Use same choices", "Built in"})
"""What the hosts' lists say for "no other one"."""


@dataclass(frozen=True)
class Requirement:
    """One model that is named. ``name`` is as written, ``hash`` what a title carries in brackets.

    ``weight``: of a LoRA's text encoder part, which is the whole LoRA's unless ``options`` say otherwise;
    None when it cannot be read. ``options``: a LoRA's arguments as written, the weight among them.
    ``tag``: the word that began it. ``mistake``: the argument at which a WebUI stumbles.
    """

    role: Role
    name: str
    hash: str | None = None
    weight: float | None = None
    where: Where = "prompt"
    options: tuple[str, ...] = ()
    tag: str = ""
    mistake: str = ""

    @property
    def kinds(self) -> tuple[Kind, ...]:
        return KINDS_OF[self.role]

    @property
    def is_filled_in(self) -> bool:
        """The name is a template (``{a|b}``, ``__file__``) that another extension replaces."""
        return bool(_TEMPLATE.search(self.name[:_LONGEST_TEMPLATE]))


class EmbeddingNames:
    """Embeddings are words of a prompt, in any case: only known names can be told from other words. The hosts
    compare tokens, so a name counts where its pieces stand in a row, whatever follows: ``easynegative2`` is
    ``easynegative`` and a 2, unless there is one of this name."""

    def __init__(self, names: Iterable[str]) -> None:
        self._by_word: dict[str, list[tuple[tuple[str, ...], str]]] = defaultdict(list)
        for name in names:
            pieces = tuple(piece for _, _, piece in clip_words(name.lower()))
            if pieces:
                self._by_word[pieces[0]].append((pieces, name))
        for found in self._by_word.values():
            found.sort(key=lambda entry: -len(entry[0]))
        self._longest = max((len(found[0][0]) for found in self._by_word.values()), default=0)

    def find(self, text: str) -> list[str]:
        """Return the names that stand in ``text``, each once, in order."""
        return list(dict.fromkeys(name for _, _, name in self.places(text.lower())))

    def places(self, folded: str) -> Iterator[tuple[int, int, str]]:
        """Yield start, end and name of each place in a lower-case text; of two at one place the longer."""
        words = clip_words(folded) if self._by_word else iter(())
        ahead: deque[tuple[int, int, str]] = deque()
        while True:
            ahead.extend(islice(words, self._longest - len(ahead)))
            if not ahead:
                return
            start, _, word = ahead[0]
            taken = 1
            for pieces, name in self._by_word.get(word, ()):
                here = list(islice(ahead, len(pieces)))
                if tuple(piece for _, _, piece in here) == pieces:
                    yield start, here[-1][1], name
                    taken = len(pieces)
                    break
            for _ in range(taken):
                ahead.popleft()


def prompt_requirements(
    prompt: str, where: Where = "prompt", embeddings: EmbeddingNames | None = None, *, comments: bool = True
) -> list[Requirement]:
    """Return what one prompt names, in order, each as often as it stands there. ``comments``: they are left
    out."""
    text = without_comments(prompt) if comments else prompt
    # Nothing after the last ">" can be one; looking there would cost minutes in a long text of many "<".
    end = text.rfind(">") + 1
    found = [
        _lora(match[1], match[2].split(":"), where)
        for match in _NETWORK.finditer(text, 0, end)
        if match[1].lower() in _TAGS
    ]
    if embeddings is not None:
        words = embeddings.find(_NETWORK.sub(" ", text[:end]) + text[end:])
        found += [Requirement("embedding", name, where=where) for name in words]
    return found


def generation_requirements(
    values: Mapping[str, Any], embeddings: EmbeddingNames | None = None
) -> list[Requirement]:
    """Return what a generation names. ``values`` are called as in the hosts' API; what is missing names
    nothing.

    ``prompt``, ``negative_prompt``, ``enable_hr``, ``hr_prompt``, ``hr_negative_prompt``,
    ``hr_checkpoint_name``, ``hr_additional_modules``, ``refiner_checkpoint``; of ``override_settings``:
    ``sd_model_checkpoint``, ``sd_vae``, ``forge_additional_modules``, ``sd_lora`` and
    ``enable_prompt_comments``. ``styles`` are pairs of prompt and negative prompt, not names. Of scripts the
    arguments that ``script_arguments`` knows.
    """
    settings = _mapping(values.get("override_settings"))
    found = _of_settings(values, settings)
    comments = settings.get("enable_prompt_comments", True) is not False
    for where, text in _prompts(values):
        found += prompt_requirements(text, where, embeddings, comments=comments)
    found += _of_scripts(values, embeddings)
    return list(dict.fromkeys(found))


def without_comments(prompt: str) -> str:
    """``prompt`` as the hosts see it: from ``#`` to the end of the line is a comment."""
    return _COMMENT_END.sub("\n", _COMMENT_LINE.sub("\n", prompt))


def can_be_written(name: str) -> bool:
    """Return whether a LoRA of this name can be named in a prompt at all."""
    return bool(name) and not set(name) & set(">:#") and len(name.split("=", 2)) != 2


def checkpoint_parts(title: str) -> tuple[str, str | None]:
    """Name and short hash of ``folder/name.safetensors [31e35c80fc]``; the hash is None without one.

    Civitai shows hashes in capitals; here they are lower-case."""
    match = _HASH_AT_END.search(title)
    return (title[: match.start()], match[1].lower()) if match else (title, None)


# --- parts ------------------------------------------------------------------------------------------------


def _lora(tag: str, items: Sequence[str], where: Where) -> Requirement:
    positional: list[str] = []
    named: dict[str, str] = {}
    for item in items:
        parts = item.split("=", 2)
        if len(parts) == 2:
            named[parts[0]] = parts[1]
        else:
            positional.append(item)
    name = positional[0] if positional else ""
    weight, mistake = _weight(positional, named)
    if not positional:
        mistake = ":".join(items)
    return Requirement(
        "lora", name, weight=weight, where=where, options=tuple(_rest(items, name)), tag=tag, mistake=mistake
    )


def _rest(items: Sequence[str], name: str) -> list[str]:
    rest = list(items)
    if name in rest:
        rest.remove(name)
    return rest


def _weight(positional: Sequence[str], named: Mapping[str, str]) -> tuple[float | None, str]:
    """The weight, and the first argument that the hosts cannot read: its colon where nothing is behind it."""
    weight: float | None = 1.0
    for place, key, form in ((1, "te", float), (2, "unet", float), (3, "dyn", int)):
        given = [positional[place]] if len(positional) > place else []
        given += [named[key]] if key in named else []
        for text in given:
            value = _number(text, form)
            if value is None:
                return None, text or ":"
            if key == "te":
                weight = value
    return weight, ""


def _number(text: str, form: Callable[[str], float]) -> float | None:
    try:
        return form(text)
    except (ValueError, OverflowError):
        return None


def _of_settings(values: Mapping[str, Any], settings: Mapping[str, Any]) -> list[Requirement]:
    found = _checkpoint("checkpoint", settings.get("sd_model_checkpoint"))
    found += _modules("vae", settings.get("sd_vae"))
    found += _modules("module", settings.get("forge_additional_modules"))
    if values.get("enable_hr") is True:
        found += _checkpoint("hires_checkpoint", values.get("hr_checkpoint_name"))
        found += _modules("module", values.get("hr_additional_modules"))
    found += _checkpoint("refiner", values.get("refiner_checkpoint"))
    lora = _text(settings.get("sd_lora"))
    if lora not in _NOTHING:
        found.append(Requirement("lora", lora, where="setting", weight=1.0, tag=LORA_TAG))
    return found


def _of_scripts(values: Mapping[str, Any], embeddings: EmbeddingNames | None) -> list[Requirement]:
    found: list[Requirement] = []

    def visit(kind: PlaceKind, value: str, is_axis: bool) -> str:
        where: Where = "axis" if is_axis else "script"
        if kind in ("prompt", "negative"):
            prompt_where: Where = "negative" if kind == "negative" else "script"
            found.extend(prompt_requirements(value, prompt_where, embeddings))
        elif kind == "vae":
            found.extend(replace(one, where=where) for one in _modules("vae", value))
        else:
            role: Role = "refiner" if kind == "refiner" else "checkpoint"
            found.extend(replace(one, where=where) for one in _checkpoint(role, value))
        return value

    def search(words: list[str]) -> list[str]:
        for text in _replaced(_text(values.get("prompt")), words):
            found.extend(prompt_requirements(text, "script", embeddings))
        return words

    visited_scripts(values, visit, search)
    return found


def _replaced(prompt: str, words: Sequence[str]) -> Iterator[str]:
    """The prompts of an axis that replaces its first word by each; as many as an honest one has."""
    left = _REPLACED_MAX
    first = words[0] if words else ""
    count = prompt.count(first) if first else 0
    for word in words[1:] if count else ():
        left -= len(prompt) + count * (len(word) - len(first))
        if left < 0:
            return
        yield prompt.replace(first, word)


def _checkpoint(role: Role, value: Any) -> list[Requirement]:
    title = _text(value)
    if title.strip() in _NOTHING:
        return []
    return [Requirement(role, title, hash=checkpoint_parts(title)[1], where="setting")]


def _modules(role: Role, value: Any) -> list[Requirement]:
    names = [value] if isinstance(value, str) else value if isinstance(value, list | tuple) else []
    base_names = [re.split(r"[\\/]", name)[-1] for name in names if isinstance(name, str)]
    return [Requirement(role, name, where="setting") for name in base_names if name not in _NOTHING]


def _prompts(values: Mapping[str, Any]) -> list[tuple[Where, str]]:
    prompts: list[tuple[Where, str]] = [
        ("prompt", _text(values.get("prompt"))),
        ("negative", _text(values.get("negative_prompt"))),
    ]
    styles = values.get("styles")
    for style in styles if isinstance(styles, list | tuple) else ():
        if isinstance(style, list | tuple) and len(style) == 2:
            prompts += [("style", _text(style[0])), ("negative_style", _text(style[1]))]
    if values.get("enable_hr") is True:
        prompts.append(("hires_prompt", _text(values.get("hr_prompt"))))
        prompts.append(("hires_negative", _text(values.get("hr_negative_prompt"))))
    return prompts


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
