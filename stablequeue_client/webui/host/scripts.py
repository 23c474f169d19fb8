"""A choice that a script takes by its place in a list, where the list is another.

X/Y/Z plot takes the kind of its axes so, upscaling scripts their upscaler. The lists differ between families
and with the installed extensions, so the same number means something else without a word.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from stablequeue_client.webui.host.capture import input_of

_SHOWN = 80


def translate_choices(values: Mapping[str, Any], words: Any, runner: Any) -> dict[str, Any] | str:
    """``values`` with this host's places for the ``words`` of its scripts ({title: {argument: word}}), or a
    sentence why not. ``runner``: the scripts of the kind of page that ``values`` are for."""
    found = copy.deepcopy(dict(values))
    alwayson = found.get("alwayson_scripts") or {}
    for title, chosen in words.items() if isinstance(words, Mapping) else ():
        given = found.get("script_args") if title == found.get("script_name") else None
        given = given if given is not None else (alwayson.get(title) or {}).get("args")
        script = next((one for one in runner.scripts if one.title().lower() == title.lower()), None)
        if given is None or script is None:
            continue  # whether a script is here is asked elsewhere
        components = runner.inputs[script.args_from or 0 : script.args_to or 0]
        if len(components) != len(given):
            return f"The script “{title[:_SHOWN]}” of this WebUI takes other values."
        for number, word in chosen.items():
            choices = input_of(components[int(number)], None).choices
            if word not in choices:
                return f"The script “{title[:_SHOWN]}” of this WebUI does not offer “{str(word)[:_SHOWN]}”."
            given[int(number)] = choices.index(word)
    return found
