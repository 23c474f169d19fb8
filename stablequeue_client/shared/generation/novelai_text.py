"""What NovelAI writes into its pictures, as a generation text. Pure; never raises.

The chunks ``Software`` ("NovelAI"), ``Description`` (the prompt) and ``Comment`` (JSON). The names of
samplers and the two settings that hold for all of its pictures are those of the hosts (``modules/images.py
read_info_from_image``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

SOFTWARE = "NovelAI"
_SAMPLERS = {
    "ddim": "DDIM", "plms": "PLMS", "k_euler": "Euler", "k_lms": "LMS", "k_heun": "Heun",
    "k_dpm_2": "DPM2", "k_dpm_2_a": "DPM2 a", "k_dpm_fast": "DPM fast",
    "k_dpm_ad": "DPM adaptive", "k_dpmpp_2m": "DPM++ 2M", "k_dpmpp_sde": "DPM++ SDE",
    "k_dpmpp_2m_sde": "DPM++ 2M SDE", "k_dpmpp_2s_a": "DPM++ 2S a",
}  # fmt: skip
"""Of those that NovelAI has; another is "Euler a" to the hosts."""
_OTHER_SAMPLER = "Euler a"


def novelai_text(description: str, comment: str, size: tuple[int, int] | None) -> str | None:
    """Return it as a WebUI would write it; None for what has another form."""
    said = _object(comment)
    if said is None or not {"steps", "scale", "seed", "uc", "sampler"} <= said.keys():
        return None
    sampler = _SAMPLERS.get(str(said["sampler"]), _OTHER_SAMPLER)
    line = [
        f"Steps: {said['steps']}",
        f"Sampler: {sampler}",
        f"CFG scale: {said['scale']}",
        f"Seed: {said['seed']}",
    ]
    if size is not None:
        line.append(f"Size: {size[0]}x{size[1]}")
    line += ["Clip skip: 2", "ENSD: 31337"]
    return f"{description}\nNegative prompt: {said['uc']}\n{', '.join(line)}"


def novelai_text_of_json(text: str, size: tuple[int, int] | None) -> str | None:
    """Return the same of the JSON that it hides in the pixels; None for another text."""
    said = _object(text) if text.startswith("{") else None
    if said is None or said.get("Software") != SOFTWARE:
        return None
    return novelai_text(str(said.get("Description", "")), str(said.get("Comment", "")), size)


def _object(text: str) -> Mapping[str, Any] | None:
    try:
        # Digits stay text: turning millions of them into a number would take minutes.
        found = json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
