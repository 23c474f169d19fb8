"""The generation text ("infotext") a WebUI writes under an image, read back. Pure; never raises.

As A1111 and Forge write it (``modules/processing.py create_infotext``)::

    a cat, <lora:fur:0.8>                                    the prompt, any number of lines
    Negative prompt: blurry                                  left out when there is none
    Steps: 20, Sampler: Euler a, Model hash: 31e35c80fc, Model: base, Lora hashes: "fur: 9a7f1cdb3ab4"

A value that holds a comma, a colon or a line break is a JSON string (``infotext_utils.quote``). Only the
Civitai extension and Civitai itself write bare JSON into that line (``Hashes: {...}``), which the hosts
themselves tear apart at its commas. Every step takes time in proportion to the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import dropwhile, islice
from typing import Any, Literal

from stablequeue_client.shared.generation.infotext_settings import (
    default_settings,
    not_taken_over,
    numbers,
    option_settings,
)
from stablequeue_client.shared.generation.requirements import Requirement, checkpoint_parts
from stablequeue_client.shared.model_files.model_file import (
    ENDINGS_OF_NAMES,
    SHA256_OF_NOTHING,
    Kind,
    name_digest,
    parse_hash,
    stem_key,
)
from stablequeue_client.shared.model_files.roles import KINDS_OF, Role
from stablequeue_client.shared.wire.jobs import DEFAULTS

Dialect = Literal["sha256", "autov2", "autov3_or_sha256", "autov1", "file_name"]
"""What the digits are. ``autov3_or_sha256``: 12 digits, of the whole file on Forge 2 and of the bytes after
the header elsewhere. ``file_name``: not of the file at all, see ``name_digest``."""

_DIALECTS: dict[int, Dialect] = {8: "autov1", 10: "autov2", 12: "autov3_or_sha256", 64: "sha256"}
_BY_TRUST: tuple[Dialect, ...] = ("sha256", "autov2", "autov3_or_sha256", "autov1")

LISTED_MAX = 1_000
"""So many hashes of one list are read: five times what any job may name."""
_FEWEST_SETTINGS = 3
"""A last line with fewer of them belongs to the prompt, as the hosts see it."""
_NEGATIVE = "Negative prompt:"
_NO_KEY_CHARACTER = re.compile(r"[^\w \-/]")
_QUOTED = re.compile(r'\s*("[^"\\]*(?:\\.[^"\\]*)*")(?:,|\Z)')
_END = re.compile(r"\s*(?:,|\Z)")
_SPACES = re.compile(r"\s*")
_QUOTE = re.compile(r'(?<!\\)"')
_FLUX_CLIP_SKIP = re.compile(r"Clip skip: [0-8], ")
# Digits stay text: turning millions of them into a number would take minutes.
_JSON = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)

_SIZE = re.compile(r"([0-9]{1,6})x([0-9]{1,6})\Z")
_MODULE = re.compile(r"(Hires )?Module ([0-9]{1,3})\Z")


@dataclass(frozen=True)
class Infotext:
    """``settings``: the line of settings, keys and values as written, without the quoting. ``trailing``: the
    lines behind it, which say nothing to a WebUI."""

    prompt: str
    negative_prompt: str
    settings: dict[str, str]
    trailing: tuple[str, ...] = ()


@dataclass(frozen=True)
class HashMention:
    """A hash the text gives for a model: lower-case hex without ``0x``, of 8, 10, 12 or 64 digits.

    ``name`` is as written, or the hash itself where the text gives a hash alone.
    """

    role: Role
    name: str
    hash: str
    dialect: Dialect


def parse_infotext(text: str) -> Infotext:
    """``text`` taken apart as ``infotext_utils.parse_generation_parameters`` does it.

    Besides, the line of settings is found where it is not the last, or where a line break in a value cuts it:
    the hosts then take all for the prompt.
    """
    lines, line, trailing = _split(text.strip().split("\n"))
    entries = list(_entries(_repaired(line)))
    prompts: tuple[list[str], list[str]] = ([], [])
    negative = False
    for line in map(str.strip, lines):
        if line.startswith(_NEGATIVE):
            negative = True
            line = line[len(_NEGATIVE) :].strip()
        prompts[negative].append(line)
    settings = {key: value for key, value in entries if value}
    return Infotext(_joined(prompts[False]), _joined(prompts[True]), settings, tuple(trailing))


def plain_text(text: str) -> str:
    """``text`` as somebody pasted or saved it, with line breaks of one kind."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "").strip()


def left_out(infotext: Infotext) -> list[str]:
    """Return what a job made of it says nothing of, for people: labels, models that only Civitai's numbers
    name, and lines behind the settings."""
    lines = (line.strip() for line in infotext.trailing)
    labels = (line.partition(":")[0].strip() for line in lines if line)
    told = [label for label in labels if label not in _TELLS_NOTHING]
    return [*not_taken_over(infotext.settings), *dict.fromkeys(told)]


_TELLS_NOTHING = frozenset({"Time taken"})
"""Of the lines that stand under a picture on a WebUI's page."""


def quoted(value: str) -> str:
    """``value`` as the hosts write it into the last line (``infotext_utils.quote``)."""
    return json.dumps(value, ensure_ascii=False) if set(value) & set(",:\n") else value


def infotext_hashes(infotext: Infotext) -> list[HashMention]:
    """Every hash that the text gives for a model, each once; the hosts' own before the Civitai extension's.
    Of a list the first ``LISTED_MAX``.

    Forge's ``Module 1`` ... carry none. The hash of nothing (``e3b0c442``..., written for files that were
    too short or had no data) is no hash.
    """
    settings = infotext.settings
    found = [
        *_checkpoint_mentions(settings),
        *_mention("vae", settings.get("VAE", ""), settings.get("VAE hash", "")),
        *_listed("lora", settings.get("Lora hashes", "")),
        *_listed("embedding", settings.get("TI hashes", "")),
        *_civitai_mentions(settings),
    ]
    return list(dict.fromkeys(found))


def payload_from_infotext(infotext: Infotext) -> dict[str, Any]:
    """The body for ``/sdapi/v1/txt2img`` that makes the image again. What the text does not say is left out.

    A joined sampler name ("DPM++ 2M Karras", before schedulers had a field) stays joined: the newer hosts
    take it apart, the older ones know no other. Names of models are as written, which is without a
    folder and without an extension.
    """
    settings = infotext.settings
    payload: dict[str, Any] = {"prompt": infotext.prompt, "negative_prompt": infotext.negative_prompt}
    payload |= {name: settings[key] for key, name in _TEXTS if key in settings}
    payload |= numbers(settings, _INTEGERS, _NUMBERS)
    payload |= _size(settings, "Size", "width", "height")
    payload |= _size(settings, "Seed resize from", "seed_resize_from_w", "seed_resize_from_h")
    payload |= _hires(settings)
    payload |= _refiner(settings)
    if settings.get("Tiling") == "True":
        payload["tiling"] = True
    if "Face restoration" in settings:
        payload["restore_faces"] = True
    overrides = _override_settings(settings)
    if overrides:
        payload["override_settings"] = overrides
    defaults = default_settings(infotext.prompt, settings)
    if settings:
        payload[DEFAULTS] = {name: value for name, value in defaults.items() if name not in overrides}
    return payload


def requirements_with_hashes(
    requirements: Iterable[Requirement], mentions: Iterable[HashMention]
) -> list[Requirement]:
    """The requirements; one without a hash gets what is mentioned for a model of its kind and name.

    Of several the one that says most; the hash of a file's name says nothing. The text leaves out folders
    and extensions, and ``:`` and ``,`` in the name of a LoRA.
    """
    known: dict[tuple[Kind, str], str] = {}
    usable = [mention for mention in mentions if mention.dialect in _BY_TRUST]
    for mention in sorted(usable, key=lambda mention: _BY_TRUST.index(mention.dialect)):
        for kind in KINDS_OF[mention.role]:
            known.setdefault((kind, _name_key(mention.name)), mention.hash)
    return [_with_hash(requirement, known) for requirement in requirements]


# --- the line of settings ---------------------------------------------------------------------------------


def _split(lines: list[str]) -> tuple[list[str], str, list[str]]:
    """The prompts, the line of settings ("" for none), and the lines behind it."""
    *before, last = lines
    labels = [key for key, _ in _entries(last)]
    is_line = len(labels) >= _FEWEST_SETTINGS
    if is_line and "Steps" in labels:
        return before, last, []
    for place in range(len(before) - 1, -1, -1):
        line = before[place]
        if line.lstrip().startswith("Steps: ") and len(list(_entries(line))) >= _FEWEST_SETTINGS:
            end = _quote_closes(lines, place)
            return before[:place], "\n".join(lines[place:end]), lines[end:]
    return (before, last, []) if is_line else (lines, "", [])


def _quote_closes(lines: list[str], place: int) -> int:
    """Return the number of the line behind the settings that begin at ``place``: a quoted value may go on
    over several."""
    is_open = False
    for number in range(place, len(lines)):
        is_open ^= bool(len(_QUOTE.findall(lines[number])) % 2)
        if not is_open:
            return number + 1
    return place + 1


def _repaired(line: str) -> str:
    """``line`` as Forge mends what Civitai writes under pictures of Flux (``infotext_utils``: "Forge Fix to
    broken Civitai Flux Meta"): a clip skip that Flux has not, no sampler, the distilled CFG as the CFG."""
    if "Civitai" not in line or "FLUX" not in line:
        return line
    line = _FLUX_CLIP_SKIP.sub("", line)
    line = line.replace("Sampler: Undefined, ", "Sampler: Euler, Schedule type: Simple, ")
    return line.replace("CFG scale: ", "CFG scale: 1, Distilled CFG Scale: ")


def _entries(line: str) -> Iterator[tuple[str, str]]:
    """Keys and values, empty ones too. A key has two characters or more, as in the hosts' ``re_param``."""
    at, reads_json = 0, True
    while delimiter := _NO_KEY_CHARACTER.search(line, at):
        key = line[at : delimiter.start()].lstrip(" -/")
        at = delimiter.end()
        if delimiter[0] != ":" or len(key) < 2:
            continue
        if reads_json and (key == "Hashes" or key.startswith("Civitai ")):
            end = _json_end(line, at)
            if end is not None:
                yield key, line[at : end[0]].strip()
                at = end[1]
                continue
            reads_json = False  # once is enough: looking to the end for each key would take for ever
        value, at = _value(line, at)
        yield key, value


def _value(line: str, at: int) -> tuple[str, int]:
    """The value that begins at ``at``, and where the next key does."""
    match = _QUOTED.match(line, at)
    if match:
        return _unquoted(match[1]), match.end()
    comma = line.find(",", at)
    end = len(line) if comma < 0 else comma
    return line[at:end].strip(), end + 1


def _unquoted(value: str) -> str:
    try:
        return str(json.loads(value, strict=False))
    except ValueError:
        return value


def _json_end(line: str, at: int) -> tuple[int, int] | None:
    """Return where the object or list at ``at`` ends, and where the next key begins; None when there is
    none."""
    spaces = _SPACES.match(line, at)
    start = spaces.end() if spaces else at
    if line[start : start + 1] not in ("{", "["):
        return None
    try:
        _, end = _JSON.raw_decode(line, start)
    except (ValueError, RecursionError):
        return None
    after = _END.match(line, end)
    return (end, after.end()) if after else None


def _joined(lines: list[str]) -> str:
    return "\n".join(dropwhile(lambda line: not line, lines))


# --- hashes -----------------------------------------------------------------------------------------------


def _mention(role: Role, name: str, written: str) -> list[HashMention]:
    """One or none: ``written`` may be anything."""
    query = parse_hash(written)
    if query is None or SHA256_OF_NOTHING.startswith(query.value):
        return []
    dialect = "file_name" if _is_name_hash(name, query.value) else _DIALECTS[len(query.value)]
    return [HashMention(role, name or query.value, query.value, dialect)]


def _is_name_hash(name: str, value: str) -> bool:
    """Return whether ``value`` was made of the name, which stands in the text without its extension."""
    base = name.replace("\\", "/").rsplit("/", 1)[-1]
    return any(name_digest(base + extension).startswith(value) for extension in ("", *ENDINGS_OF_NAMES))


def _checkpoint_mentions(settings: dict[str, str]) -> list[HashMention]:
    found = _mention("checkpoint", settings.get("Model", ""), settings.get("Model hash", ""))
    hires, hires_hash = checkpoint_parts(settings.get("Hires checkpoint", ""))
    found += _mention("hires_checkpoint", hires, hires_hash or "")
    refiner, refiner_hash = checkpoint_parts(settings.get("Refiner", ""))
    return found + _mention("refiner", refiner, refiner_hash or settings.get("Refiner hash", ""))


def _listed(role: Role, text: str) -> list[HashMention]:
    """``name: hash, name: hash``, as the LoRA extension and the embeddings write it."""
    # A text that was cut inside the list has its first quote only.
    items = text.lstrip('"').split(",", LISTED_MAX)[:LISTED_MAX]
    parts = (item.rpartition(":") for item in items)
    return [found for name, _, value in parts for found in _mention(role, name.strip(), value)]


def _civitai_mentions(settings: dict[str, str]) -> list[HashMention]:
    """Of ``Hashes: {"model": ..., "vae": ..., "lora:name": ..., "embed:name": ...}``."""
    try:
        hashes = _JSON.decode(settings.get("Hashes", ""))
    except (ValueError, RecursionError):
        return []
    found: list[HashMention] = []
    for key, value in islice(hashes.items(), LISTED_MAX) if isinstance(hashes, dict) else ():
        kind, _, name = key.partition(":")
        role = _CIVITAI_ROLES.get(kind.lower())
        if role and isinstance(value, str):
            alone = {"checkpoint": "Model", "vae": "VAE"}.get(role, "")
            found += _mention(role, name or settings.get(alone, ""), value)
    return found


_CIVITAI_ROLES: dict[str, Role] = {
    "model": "checkpoint",
    "vae": "vae",
    "lora": "lora",
    "embed": "embedding",
}


def _with_hash(requirement: Requirement, known: dict[tuple[Kind, str], str]) -> Requirement:
    if requirement.hash is not None:
        return requirement
    key = _name_key(checkpoint_parts(requirement.name)[0])
    found = [known[kind, key] for kind in requirement.kinds if (kind, key) in known]
    return replace(requirement, hash=found[0]) if found else requirement


def _name_key(name: str) -> str:
    base = name.replace("\\", "/").rsplit("/", 1)[-1]
    return stem_key(base.translate(_LEFT_OUT).strip())


_LEFT_OUT = {ord(":"): None, ord(","): None}


# --- the payload ------------------------------------------------------------------------------------------

_TEXTS = (("Sampler", "sampler_name"), ("Schedule type", "scheduler"))
_INTEGERS = (("Steps", "steps"), ("Seed", "seed"), ("Variation seed", "subseed"))
_NUMBERS = (
    ("CFG scale", "cfg_scale"),
    ("Distilled CFG Scale", "distilled_cfg_scale"),
    ("Variation seed strength", "subseed_strength"),
    ("Denoising strength", "denoising_strength"),
)
_HIRES_MARKS = ("Hires upscale", "Hires upscaler", "Hires resize", "First pass size")
_HIRES_TEXTS = (
    ("Hires upscaler", "hr_upscaler"),
    ("Hires sampler", "hr_sampler_name"),
    ("Hires schedule type", "hr_scheduler"),
    ("Hires checkpoint", "hr_checkpoint_name"),
    ("Hires prompt", "hr_prompt"),
    ("Hires negative prompt", "hr_negative_prompt"),
)
_HIRES_INTEGERS = (("Hires steps", "hr_second_pass_steps"),)
_HIRES_NUMBERS = (
    ("Hires upscale", "hr_scale"),
    ("Hires CFG Scale", "hr_cfg"),
    ("Hires Distilled CFG Scale", "hr_distilled_cfg"),
)
_SAME_MODULES = "Use same choices"
_NO_MODULES = "Built-in"


def _size(settings: dict[str, str], key: str, width: str, height: str) -> dict[str, int]:
    match = _SIZE.match(settings.get(key, ""))
    return {width: int(match[1]), height: int(match[2])} if match else {}


def _hires(settings: dict[str, str]) -> dict[str, Any]:
    """Hires fix, also the form of 2022: ``Size`` was the final size, ``First pass size`` the first."""
    if not any(mark in settings for mark in _HIRES_MARKS):
        return {}
    found: dict[str, Any] = {"enable_hr": True}
    found |= {name: settings[key] for key, name in _HIRES_TEXTS if key in settings}
    found |= numbers(settings, _HIRES_INTEGERS, _HIRES_NUMBERS)
    found |= _size(settings, "Hires resize", "hr_resize_x", "hr_resize_y")
    first = _size(settings, "First pass size", "width", "height")
    if all(first.values()) and first:
        found |= first | _size(settings, "Size", "hr_resize_x", "hr_resize_y")
    modules = _modules(settings, "Hires ")
    # Forge fails on a hires fix that says nothing of them; the others do not look.
    found["hr_additional_modules"] = [] if modules == [_NO_MODULES] else modules or [_SAME_MODULES]
    return found


def _refiner(settings: dict[str, str]) -> dict[str, Any]:
    if "Refiner" not in settings:
        return {}
    mentioned = [mention for mention in _checkpoint_mentions(settings) if mention.role == "refiner"]
    return {"refiner_checkpoint": _title(checkpoint_parts(settings["Refiner"])[0], mentioned)} | numbers(
        settings, (), (("Refiner switch at", "refiner_switch_at"),)
    )


def _override_settings(settings: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    mentioned = infotext_hashes(Infotext("", "", settings))
    title = _title(settings.get("Model", ""), [said for said in mentioned if said.role == "checkpoint"])
    if title:
        found["sd_model_checkpoint"] = title
    if "VAE" in settings:
        found["sd_vae"] = settings["VAE"]
    found |= option_settings(settings)
    modules = _modules(settings, "")
    return found | ({"forge_additional_modules": modules} if modules else {})


def _title(name: str, mentioned: list[HashMention]) -> str:
    """``name [hash]``, the name alone, or the hash alone, which the hosts know a checkpoint by as well."""
    hashes = [mention.hash for mention in mentioned if mention.dialect != "file_name"]
    if not hashes:
        return name
    return f"{name} [{hashes[0]}]" if name else hashes[0]


def _modules(settings: dict[str, str], before: str) -> list[str]:
    numbered = [(match, value) for key, value in settings.items() if (match := _MODULE.match(key))]
    mine = [(int(match[2]), value) for match, value in numbered if (match[1] or "") == before]
    return [value for _, value in sorted(mine)]
