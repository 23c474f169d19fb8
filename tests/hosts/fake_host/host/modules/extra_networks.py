"""``<lora:name:weight>`` in prompts."""

from __future__ import annotations

import re
import sys
from typing import Any

_NETWORK = re.compile(r"<(\w+):([^>]+)>")


def parse_prompt(prompt: str) -> tuple[str, list[list[str]]]:
    found = [match[2].split(":") for match in _NETWORK.finditer(prompt) if match[1] == "lora"]
    return _NETWORK.sub("", prompt), found


def activate(p: Any, items: list[list[str]]) -> None:
    networks = sys.modules.get("networks")
    if networks is None:
        return
    names = [item[0] for item in items]
    weights = [float(item[1]) if len(item) > 1 else 1.0 for item in items]
    networks.load_networks(names, weights, weights, [None for _ in names])
    hashes = {one.mentioned_name: one.network_on_disk.shorthash for one in networks.loaded_networks}
    if hashes:
        p.extra_generation_params["Lora hashes"] = ", ".join(f"{k}: {v}" for k, v in hashes.items())
