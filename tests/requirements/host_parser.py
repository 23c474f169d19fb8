"""What the hosts do with ``<name:arguments>``, copied from them to compare with.

A1111 and Forge, ``modules/extra_networks.py`` (``re_extra_net``, ``parse_prompt``, ``ExtraNetworkParams``)
and ``extra_networks_lora.py`` (``activate``): the same lines in both.
"""

from __future__ import annotations

import re
from collections import defaultdict

re_extra_net = re.compile(r"<(\w+):([^>]+)>")


class ExtraNetworkParams:
    def __init__(self, items: list[str]) -> None:
        self.items = items
        self.positional: list[str] = []
        self.named: dict[str, str] = {}
        for item in self.items:
            parts = item.split("=", 2)
            if len(parts) == 2:
                self.named[parts[0]] = parts[1]
            else:
                self.positional.append(item)


def parse_prompt(prompt: str) -> tuple[str, dict[str, list[ExtraNetworkParams]]]:
    res: dict[str, list[ExtraNetworkParams]] = defaultdict(list)

    def found(m: re.Match[str]) -> str:
        res[m.group(1)].append(ExtraNetworkParams(items=m.group(2).split(":")))
        return ""

    return re.sub(re_extra_net, found, prompt), res


def activate(params: ExtraNetworkParams) -> tuple[str, float]:
    """Name and weight, or the exception that ends the activation of all LoRAs."""
    name = params.positional[0]
    te_multiplier = float(params.positional[1]) if len(params.positional) > 1 else 1.0
    te_multiplier = float(params.named.get("te", te_multiplier))
    unet_multiplier = float(params.positional[2]) if len(params.positional) > 2 else te_multiplier
    unet_multiplier = float(params.named.get("unet", unet_multiplier))
    dyn_dim = int(params.positional[3]) if len(params.positional) > 3 else None
    dyn_dim = int(params.named["dyn"]) if "dyn" in params.named else dyn_dim
    return name, te_multiplier
