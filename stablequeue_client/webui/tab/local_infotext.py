"""The generation text of a picture that another server made, with this WebUI's names. Pure; never raises.

A host reads a text by names: a LoRA that is called otherwise here would be missing, and a sampler and its
schedule are one name in one family and two in the other. What is no name stays letter for letter.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from stablequeue_client.shared.generation.infotext import parse_infotext, quoted
from stablequeue_client.shared.generation.name_translation import Renaming, translated
from stablequeue_client.shared.generation.sampler_names import joined

_LISTS = (("Lora hashes", "lora"), ("TI hashes", "embedding"))
_PAIRS = (("Sampler", "Schedule type"), ("Hires sampler", "Hires schedule type"))


def local_text(text: str, renamings: Sequence[Renaming], samplers: Collection[str]) -> str:
    """``text`` as this WebUI reads it. ``renamings``: a model as the text has it, and its name here;
    ``samplers``: those of this WebUI."""
    settings = parse_infotext(text).settings
    if not settings:
        return text
    head, line_break, last = text.rstrip().rpartition("\n")
    prompt = {"prompt": head, "override_settings": {"enable_prompt_comments": False}}
    head = translated(prompt, renamings)[0]["prompt"]
    for one in renamings:
        if one.role == "checkpoint" and settings.get("Model") == one.written:
            last = _replaced(last, "Model", settings, one.name)
    for key, role in _LISTS:
        last = _replaced(last, key, settings, _list(settings.get(key, ""), role, renamings))
    for sampler, schedule in _PAIRS:
        name = joined(settings.get(sampler, ""), settings.get(schedule, ""), samplers)
        if name:
            last = _replaced(last, sampler, settings, name)
            last = last.replace(_entry(schedule, settings[schedule]), "", 1)
    return f"{head}{line_break}{last}"


def _list(value: str, role: str, renamings: Sequence[Renaming]) -> str:
    """``name: hash, name: hash`` with the names here."""
    names = {one.written: one.name for one in renamings if one.role == role}
    items = (re.split(r":\s*", item.strip(), maxsplit=1) for item in value.split(","))
    return ", ".join(": ".join([names.get(item[0], item[0]), *item[1:]]) for item in items)


def _replaced(line: str, key: str, settings: dict[str, str], value: str) -> str:
    """``line`` with another value of ``key``, where it stands there as the hosts write it."""
    old = settings.get(key, "")
    if not old or old == value:
        return line
    return re.sub(
        rf"(^|, ){re.escape(f'{key}: {quoted(old)}')}(?=, |\Z)",
        lambda match: f"{match[1]}{key}: {quoted(value)}",
        line,
        count=1,
    )


def _entry(key: str, value: str) -> str:
    return f", {key}: {quoted(value)}"
