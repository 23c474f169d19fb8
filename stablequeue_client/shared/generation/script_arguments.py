"""Where the arguments of a generation's scripts name models, where the script is known. Pure; never raises.

A walk that gives each such place to ``visit`` and puts its answer there::

    ADetailer                     a switch, then units: prompts, and a checkpoint and a VAE of their own
    X/Y/Z plot                    three axes: kind (a place in a list; its word stands in the payload's
                                  ``script_choices``), values as text, values as a list; the last argument:
                                  whether the text counts
    Prompts from file or textbox  prompts, a line each, in its last text
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from stablequeue_client.shared.model_files.model_file import ENDINGS_OF_NAMES
from stablequeue_client.shared.wire.jobs import CHOICES

PlaceKind = Literal["checkpoint", "refiner", "vae", "prompt", "negative"]
Visit = Callable[[PlaceKind, str, bool], str]
"""What stands there, and whether it is used in the place of the generation's own; the answer replaces it."""
VisitSearch = Callable[[list[str]], list[str]]
"""The words of an axis that replaces the first of them in the prompts by each."""

_ADETAILER, _XYZ, _PROMPTS = "adetailer", "x/y/z plot", "prompts from file or textbox"
_READ = frozenset({_ADETAILER, "controlnet"})
"""Always-on scripts of which it is known; the units of ControlNet are read in ``capability_needs``."""
_AXES: dict[str, PlaceKind] = {"Checkpoint name": "checkpoint", "Refiner checkpoint": "refiner", "VAE": "vae"}
_SEARCH = "Prompt S/R"
_AXIS_PLACES = (0, 3, 6)
_AXIS_END = 9
_VALUES_MAX = 1_000
_SPECIAL = frozenset(',"\r\n')
_UNIT_PLACES: tuple[tuple[str, str, PlaceKind], ...] = (
    ("ad_prompt", "", "prompt"),
    ("ad_negative_prompt", "", "negative"),
    ("ad_checkpoint", "ad_use_checkpoint", "checkpoint"),
    ("ad_vae", "ad_use_vae", "vae"),
)
"""Field, the switch that must be on for it, and what it names."""
_NETWORKS = ("<lora:", "<lyco:")
_WALKED_MAX = 10_000


def visited_scripts(payload: Mapping[str, Any], visit: Visit, search: VisitSearch) -> dict[str, Any]:
    """Return the payload's ``alwayson_scripts`` and ``script_args`` with what ``visit`` and ``search``
    answer; what they do not change is shared with the payload."""
    found: dict[str, Any] = {}
    scripts = payload.get("alwayson_scripts")
    if isinstance(scripts, Mapping):
        found["alwayson_scripts"] = {
            title: _visited_units(title, given, visit) for title, given in scripts.items()
        }
    title, args = str(payload.get("script_name") or "").lower(), payload.get("script_args")
    if isinstance(args, list | tuple):
        if title == _XYZ:
            found["script_args"] = _visited_axes(list(args), _words(payload), visit, search)
        elif title == _PROMPTS:
            found["script_args"] = _visited_prompts(list(args), visit)
    return found


def unread_scripts(payload: Mapping[str, Any]) -> list[str]:
    """Return the titles of scripts whose arguments seem to name models that nobody reads here."""
    found = []
    scripts = payload.get("alwayson_scripts")
    for title, given in scripts.items() if isinstance(scripts, Mapping) else ():
        args = given.get("args") if isinstance(given, Mapping) else None
        if str(title).lower() not in _READ and _seems_to_name_models(args):
            found.append(str(title))
    title, args = str(payload.get("script_name") or ""), payload.get("script_args")
    if title.lower() == _XYZ:
        unread = (
            isinstance(args, list | tuple) and not _words(payload) and any(map(_seems_to_name_models, args))
        )
    else:
        unread = title.lower() != _PROMPTS and _seems_to_name_models(args)
    return [*found, title] if title and unread else found


# --- ADetailer --------------------------------------------------------------------------------------------


def _visited_units(title: Any, given: Any, visit: Visit) -> Any:
    if str(title).lower() != _ADETAILER or not isinstance(given, Mapping):
        return given
    args = given.get("args") or ()
    units = _units(args)
    if not units:
        return given
    return {**given, "args": [_unit(one, visit) if _is_one_of(one, units) else one for one in args]}


def _is_one_of(value: Any, units: Sequence[Mapping[str, Any]]) -> bool:
    return any(value is unit for unit in units)


def _units(args: Any) -> list[Mapping[str, Any]]:
    """Those that are on: none where the first argument switches all off."""
    if not isinstance(args, list | tuple) or (args and args[0] is False):
        return []
    return [
        one
        for one in args
        if isinstance(one, Mapping)
        and one.get("ad_tab_enable", True) is not False
        and one.get("ad_model", "None") not in ("None", "", None)
    ]


def _unit(unit: Mapping[str, Any], visit: Visit) -> dict[str, Any]:
    found = dict(unit)
    for name, switch, kind in _UNIT_PLACES:
        value = unit.get(name)
        is_on = not switch or unit.get(switch) is True
        if is_on and isinstance(value, str) and not value.startswith("Use same"):
            found[name] = visit(kind, value, False)
    return found


# --- selectable scripts -----------------------------------------------------------------------------------


def _words(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is chosen in the lists of the selected script."""
    choices = payload.get(CHOICES)
    found = choices.get(payload.get("script_name")) if isinstance(choices, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _visited_axes(args: list[Any], words: Mapping[str, Any], visit: Visit, search: VisitSearch) -> list[Any]:
    if len(args) < _AXIS_END:
        return args
    as_text = args[-1] is True and len(args) > _AXIS_END
    for place in _AXIS_PLACES:
        label = words.get(str(place))
        text, listed = args[place + 1], args[place + 2]
        kind = _AXES.get(label) if isinstance(label, str) else None
        if kind is not None and not as_text and isinstance(listed, list | tuple):
            args[place + 2] = [visit(kind, one, True) if isinstance(one, str) else one for one in listed]
        elif kind is not None and isinstance(text, str):
            args[place + 1] = _line([visit(kind, one, True) for one in _values(text)], text)
        elif label == _SEARCH and isinstance(text, str):
            args[place + 1] = _line(search(_values(text)), text)
    return args


def _values(text: str) -> list[str]:
    """As the script reads them (``csv_string_to_list_strip``)."""
    try:
        rows = list(csv.reader([f"{line}\n" for line in text.split("\n")], skipinitialspace=True))
    except csv.Error:
        return []
    return [value.strip() for row in rows for value in row][:_VALUES_MAX]


def _line(values: list[str], before: str) -> str:
    """``before`` where they are the same: its spaces stay."""
    if values == _values(before):
        return before
    return ",".join(map(_field, values))


def _field(value: str) -> str:
    return '"{}"'.format(value.replace('"', '""')) if set(value) & _SPECIAL else value


def _visited_prompts(args: list[Any], visit: Visit) -> list[Any]:
    places = [place for place, value in enumerate(args) if isinstance(value, str)]
    if places:
        args[places[-1]] = visit("prompt", args[places[-1]], True)
    return args


# --- unknown ones -----------------------------------------------------------------------------------------


def _seems_to_name_models(args: Any) -> bool:
    return any(
        text.lower().endswith(ENDINGS_OF_NAMES) or any(tag in text.lower() for tag in _NETWORKS)
        for text in _texts(args)
    )


def _texts(value: Any) -> Iterator[str]:
    """Every text in arguments, up to a number of them."""
    waiting = [value]
    for _ in range(_WALKED_MAX):
        if not waiting:
            return
        one = waiting.pop()
        if isinstance(one, str):
            yield one.strip().partition(" [")[0] if len(one) < 500 else one
        elif isinstance(one, Mapping):
            waiting += one.values()
        elif isinstance(one, list | tuple):
            waiting += one
