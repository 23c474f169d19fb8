"""Forge's own row of checkpoint and VAE / text encoder, and its list of modules."""

from __future__ import annotations

import os

import gradio as gr
from modules import paths, sd_models, shared
from modules.util import walk_files

ui_checkpoint: gr.Dropdown | None = None
ui_vae: gr.Dropdown | None = None
module_list: dict[str, str] = {}


def refresh_models() -> tuple[list[str], list[str]]:
    shared.refresh_checkpoints()
    module_list.clear()
    folders = [os.path.join(paths.models_path, name) for name in ("VAE", "text_encoder")]
    folders += [path for path in (shared.cmd_opts.vae_dir, shared.cmd_opts.text_encoder_dir) if path]
    for folder in folders:
        for filename in walk_files(folder, [".ckpt", ".pt", ".bin", ".safetensors", ".gguf"]):
            module_list[os.path.basename(filename)] = filename
    return sd_models.checkpoint_tiles(shared.opts.sd_checkpoint_dropdown_use_short), list(module_list)


def refresh_model_loading_parameters() -> None:
    sd_models.model_data.forge_loading_parameters = {
        "checkpoint_info": sd_models.select_checkpoint(),
        "additional_modules": list(shared.opts.forge_additional_modules),
    }


def checkpoint_change(ckpt_name: str, save: bool = True, refresh: bool = True) -> bool:
    shared.opts.set("sd_model_checkpoint", ckpt_name)
    if save:
        shared.opts.save(shared.config_filename)
    if refresh:
        refresh_model_loading_parameters()
    return True


def modules_change(module_values: list[str], save: bool = True, refresh: bool = True) -> bool:
    names = [os.path.basename(value) for value in module_values]
    found = [module_list[name] for name in names if name in module_list]
    shared.opts.set("forge_additional_modules", found)
    if save:
        shared.opts.save(shared.config_filename)
    if refresh:
        refresh_model_loading_parameters()
    return True


def make_checkpoint_manager_ui() -> None:
    global ui_checkpoint, ui_vae
    checkpoints, modules = refresh_models()
    if not shared.opts.sd_model_checkpoint and checkpoints:
        shared.opts.set("sd_model_checkpoint", checkpoints[0])
    gr.Radio(
        label="UI",
        value=lambda: shared.opts.forge_preset,
        choices=["sd", "xl", "flux", "all"],
        elem_id="forge_ui_preset",
    )
    ui_checkpoint = gr.Dropdown(
        value=lambda: shared.opts.sd_model_checkpoint,
        label="Checkpoint",
        elem_classes=["model_selection"],
        choices=checkpoints,
    )
    ui_vae = gr.Dropdown(
        value=lambda: [os.path.basename(x) for x in shared.opts.forge_additional_modules],
        multiselect=True,
        label="VAE / Text Encoder",
        choices=modules,
    )
    ui_checkpoint.change(
        lambda name: checkpoint_change(name) and None, inputs=[ui_checkpoint], show_progress=False
    )
    ui_vae.change(
        lambda names: modules_change(names) and None, inputs=[ui_vae], queue=False, show_progress=False
    )
