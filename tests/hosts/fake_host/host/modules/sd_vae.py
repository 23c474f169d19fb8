"""VAE files by their file name."""

from __future__ import annotations

import os

from modules import paths, sd_models, shared
from modules.util import walk_files

vae_path = os.path.abspath(os.path.join(paths.models_path, "VAE"))
vae_dict: dict[str, str] = {}
loaded_vae_file: str | None = None
checkpoints_loaded: dict[str, bytes] = {}


def refresh_vae_list() -> None:
    vae_dict.clear()
    for folder in (vae_path, shared.cmd_opts.vae_dir):
        for filename in walk_files(folder, [".ckpt", ".pt", ".safetensors"]) if folder else []:
            vae_dict[os.path.basename(filename)] = filename
    for folder in (sd_models.model_path, shared.cmd_opts.ckpt_dir):
        for filename in walk_files(folder) if folder else []:
            if filename.endswith((".vae.ckpt", ".vae.pt", ".vae.safetensors")):
                vae_dict[os.path.basename(filename)] = filename


def reload_vae_weights() -> None:
    global loaded_vae_file
    model = sd_models.model_data.sd_model
    if model is None:
        return
    found = vae_dict.get(shared.opts.sd_vae)
    if found != loaded_vae_file:
        loaded_vae_file = found
        model.module_contents = [sd_models.load_file(found)] if found else []
