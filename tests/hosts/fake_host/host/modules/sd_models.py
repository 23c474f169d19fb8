"""Checkpoints and every name under which the host accepts one."""

from __future__ import annotations

import hashlib
import os
from types import SimpleNamespace
from typing import Any

from fake_family import FORGE
from modules import hashes, paths, script_callbacks, shared
from modules.util import walk_files

model_dir = "Stable-diffusion"
model_path = os.path.abspath(os.path.join(paths.models_path, model_dir))
checkpoints_list: dict[str, CheckpointInfo] = {}
checkpoint_aliases: dict[str, CheckpointInfo] = {}
checkpoints_loaded: dict[str, bytes] = {}
_SUFFIXES = [".ckpt", ".safetensors"] + ([".gguf"] if FORGE else [])


class CheckpointInfo:
    def __init__(self, filename: str) -> None:
        self.filename = filename
        absolute = os.path.abspath(filename)
        name = os.path.basename(filename)
        for folder in (shared.cmd_opts.ckpt_dir, model_path):
            if folder and absolute.startswith(os.path.abspath(folder)):
                name = absolute.replace(os.path.abspath(folder), "").lstrip("\\/")
                break
        self.name = name
        self.name_for_extra = os.path.splitext(os.path.basename(filename))[0]
        self.model_name = os.path.splitext(name.replace("/", "_").replace("\\", "_"))[0]
        self.metadata: dict[str, str] = {}
        self.hash = model_hash(filename)
        self.sha256 = hashes.sha256_from_cache(filename, f"checkpoint/{name}")
        self.shorthash = self.sha256[:10] if self.sha256 else None
        self.title = f"{name} [{self.shorthash}]" if self.shorthash else name
        self.short_title = (
            f"{self.name_for_extra} [{self.shorthash}]" if self.shorthash else self.name_for_extra
        )
        self.ids = [
            self.hash,
            self.model_name,
            self.title,
            name,
            self.name_for_extra,
            f"{name} [{self.hash}]",
        ]
        if self.shorthash and self.sha256:
            self.ids += [self.shorthash, self.sha256, f"{self.name_for_extra} [{self.shorthash}]"]

    def register(self) -> None:
        checkpoints_list[self.title] = self
        for alias in self.ids:
            checkpoint_aliases[alias] = self


def model_hash(filename: str) -> str:
    with open(filename, "rb") as file:
        file.seek(0x100000)
        return hashlib.sha256(file.read(0x10000)).hexdigest()[:8]


def list_models() -> None:
    checkpoints_list.clear()
    checkpoint_aliases.clear()
    for folder in (model_path, shared.cmd_opts.ckpt_dir):
        for filename in walk_files(folder, _SUFFIXES) if folder else []:
            if not filename.lower().endswith((".vae.ckpt", ".vae.safetensors")):
                CheckpointInfo(filename).register()


def checkpoint_tiles(use_short: bool = False) -> list[str]:
    return [item.short_title if use_short else item.title for item in checkpoints_list.values()]


def get_closet_checkpoint_match(search_string: str) -> CheckpointInfo | None:
    if not search_string:
        return None
    if search_string in checkpoint_aliases:
        return checkpoint_aliases[search_string]
    found = sorted(
        (info for info in checkpoints_list.values() if search_string in info.title),
        key=lambda x: len(x.title),
    )
    return found[0] if found else None


# --- the model in memory: what was read from the files, at the time it was read ----------------------------


class LoraLoader:
    """Forge merges LoRAs into the weights, and again only when their files' names or weights are others."""

    def __init__(self) -> None:
        self.loaded_hash = str([])
        self.merged: list[str] = []

    def refresh(self, patches: dict[tuple[str, float], str]) -> None:
        hashes = str(list(patches))
        if hashes != self.loaded_hash:
            self.loaded_hash, self.merged = hashes, list(patches.values())


class SdModel:
    """``patches``: (file, weight) -> content of the LoRAs that are applied to it."""

    def __init__(self, info: CheckpointInfo, modules: list[str]) -> None:
        self.content = _read(info.filename)
        self.module_contents = [_read(path) for path in modules]
        self.sd_checkpoint_info = info
        self.filename = info.filename
        self.current_lora_hash = str([])
        self.patches: dict[tuple[str, float], str] = {}
        if FORGE:
            from modules.ui_extra_networks_textual_inversion import embedding_db

            self.forge_objects_original = SimpleNamespace(
                unet=SimpleNamespace(lora_loader=LoraLoader()),
                clip=SimpleNamespace(patcher=SimpleNamespace(lora_loader=LoraLoader())),
            )
            self.text_processing_engine = SimpleNamespace(embeddings=embedding_db)

    def in_use(self) -> list[str]:
        """Contents of the LoRAs that change the picture."""
        if not FORGE:
            return list(self.patches.values())
        loader = self.forge_objects_original.unet.lora_loader
        loader.refresh(self.patches)
        return loader.merged


class SdModelData:
    def __init__(self) -> None:
        self.sd_model: SdModel | None = None
        if FORGE:
            self.forge_loading_parameters: dict[str, Any] = {}
            self.forge_hash = ""


model_data = SdModelData()


def load_file(path: str) -> str:
    """As both hosts: a file that cannot be loaded is renamed, and the failure raised."""
    with open(path, "rb") as file:
        content = file.read()
    if b"BROKEN" in content:
        os.replace(path, path + ".corrupted")
        raise ValueError(f"File corrupted: {path}")
    return hashlib.sha256(content).hexdigest()


_read = load_file


def select_checkpoint() -> CheckpointInfo | None:
    info = checkpoint_aliases.get(shared.opts.sd_model_checkpoint)
    return info or next(iter(checkpoints_list.values()), None)


def load_chosen() -> SdModel:
    """``forge_model_reload`` of Forge, ``reload_model_weights`` of the others."""
    if FORGE:
        return _forge_model_reload()
    info = select_checkpoint()
    assert info is not None
    from modules import sd_vae

    if model_data.sd_model is not None and model_data.sd_model.filename == info.filename:
        return model_data.sd_model
    model_data.sd_model = shared.sd_model = None
    vae = sd_vae.vae_dict.get(shared.opts.sd_vae)
    model = SdModel(info, [vae] if vae else [])
    sd_vae.loaded_vae_file = vae
    model_data.sd_model = shared.sd_model = model
    script_callbacks.model_loaded_callback(model)
    return model


def _forge_model_reload() -> SdModel:
    from modules_forge import main_entry

    if not model_data.forge_loading_parameters:
        main_entry.refresh_model_loading_parameters()
    parameters = model_data.forge_loading_parameters
    wanted = str({**parameters, "checkpoint_info": parameters["checkpoint_info"].filename})
    if model_data.forge_hash == wanted:
        if model_data.sd_model is None:  # as after a load that failed: Forge goes on, and fails
            raise AttributeError("'NoneType' object has no attribute 'sd_checkpoint_info'")
        return model_data.sd_model
    model_data.sd_model = shared.sd_model = None
    model = SdModel(parameters["checkpoint_info"], parameters["additional_modules"])
    model_data.sd_model = shared.sd_model = model
    script_callbacks.model_loaded_callback(model)
    model_data.forge_hash = wanted
    return model
