"""LoRAs by name and alias. As in the hosts, this module's name is a plain ``networks``."""

from __future__ import annotations

import json
import os

from modules import shared


class NetworkOnDisk:
    def __init__(self, name: str, filename: str) -> None:
        self.name = name
        self.filename = filename
        self.metadata = _metadata(filename)
        self.alias = self.metadata.get("ss_output_name", name)
        self.hash: str | None = None
        self.shorthash = ""

    def get_alias(self) -> str:
        return self.name if self.alias.lower() in forbidden_network_aliases else self.alias


def _metadata(filename: str) -> dict[str, str]:
    try:
        with open(filename, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            return dict(json.loads(file.read(min(length, 1 << 24))).get("__metadata__", {}))
    except (ValueError, AttributeError):
        return {}


def list_available_networks() -> None:
    for table in (available_networks, available_network_aliases, forbidden_network_aliases):
        table.clear()
    forbidden_network_aliases.update({"none": 1, "Addams": 1})
    os.makedirs(shared.cmd_opts.lora_dir, exist_ok=True)
    for filename in shared.walk_files(shared.cmd_opts.lora_dir, [".pt", ".ckpt", ".safetensors"]):
        name = os.path.splitext(os.path.basename(filename))[0]
        entry = NetworkOnDisk(name, filename)
        available_networks[name] = entry
        if entry.alias in available_network_aliases:
            forbidden_network_aliases[entry.alias.lower()] = 1
        available_network_aliases[name] = entry
        available_network_aliases[entry.alias] = entry


available_networks: dict[str, NetworkOnDisk] = {}
available_network_aliases: dict[str, NetworkOnDisk] = {}
forbidden_network_aliases: dict[str, int] = {}
list_available_networks()
