"""LoRAs by name and alias. As in the hosts, this module's name is a plain ``networks``."""

from __future__ import annotations

import functools
import json
import os

from modules import sd_models, shared


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


class Network:
    def __init__(self, name: str, network_on_disk: NetworkOnDisk) -> None:
        self.name = self.mentioned_name = name
        self.network_on_disk = network_on_disk


@functools.lru_cache(maxsize=5)
def load_lora_state_dict(filename: str) -> str:
    """By the name alone, as in the hosts: a file that was replaced stays as it was."""
    return sd_models.load_file(filename)


def load_networks(
    names: list[str], te_multipliers: list[float], unet_multipliers: list[float], dyn_dims: list[int | None]
) -> None:
    """One that is missing ends the activation of all."""
    model = sd_models.model_data.sd_model
    loaded_networks.clear()
    on_disk = [_find(name) for name in names]
    if None in on_disk:
        list_available_networks()
        on_disk = [_find(name) for name in names]
    for name, entry in zip(names, on_disk, strict=True):
        if entry is not None:
            loaded_networks.append(Network(name, entry))
    targets = [(entry.filename, weight) for entry, weight in zip(on_disk, te_multipliers, strict=True)]  # type: ignore[union-attr]
    if model.current_lora_hash == str(targets):
        return
    model.current_lora_hash = str(targets)
    model.patches = {}
    for filename, weight in targets:
        lora = load_lora_state_dict(filename)
        unet, _ = load_lora_for_models(model, None, lora, weight, weight, filename=filename)
        if unet is not model:
            model.patches[filename, weight] = f"{lora}:{weight}"


def load_lora_for_models(
    model: object, clip: object, lora: str, strength_model: float, strength_clip: float, filename: str = ""
) -> tuple[object, object]:
    """One of which no layer fits leaves both as they are."""
    with open(filename, "rb") as file:
        fits = b"UNFIT" not in file.read()
    return (object() if fits else model), clip


def _find(name: str) -> NetworkOnDisk | None:
    if name.lower() in forbidden_network_aliases:
        return available_networks.get(name)
    return available_network_aliases.get(name)


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
loaded_networks: list[Network] = []
networks_in_memory: dict[str, Network] = {}
list_available_networks()
