"""The names that everything in a host shares."""

from __future__ import annotations

import os
from typing import Any

import gradio as gr
from fake_family import FORGE
from modules import options, shared_cmd_options, shared_state, styles, util
from modules.paths_internal import data_path, models_path, script_path

__all__ = ["data_path", "models_path", "script_path"]

cmd_opts = shared_cmd_options.cmd_opts
parser = shared_cmd_options.parser
config_filename = cmd_opts.ui_settings_file
styles_filename = cmd_opts.styles_file or [os.path.join(data_path, "styles.csv")]
hide_dirs = {"visible": True}

demo: gr.Blocks | None = None
device = "cpu"
state = shared_state.State()
sd_model: Any = None
tab_names: list[str] = []
settings_components: dict[str, Any] = {}
face_restorers: list[Any] = []
latent_upscale_default_mode = "Latent"
latent_upscale_modes = {"Latent": {}, "Latent (antialiased)": {}}


class TotalTQDM:
    def clear(self) -> None:
        pass


total_tqdm = TotalTQDM()


class UpscalerData:
    def __init__(self, name: str) -> None:
        self.name = name


sd_upscalers = [UpscalerData(name) for name in ("None", "Lanczos", "Nearest", "ESRGAN_4x")]

OptionInfo = options.OptionInfo
OptionHTML = options.OptionHTML
options_section = options.options_section
walk_files = util.walk_files

options_templates: dict[str, options.OptionInfo] = {}
options_templates.update(
    options_section(
        ("sd", "Stable Diffusion", "sd"),
        {
            "sd_model_checkpoint": OptionInfo(
                None,
                "Stable Diffusion checkpoint",
                gr.Dropdown,
                lambda: {"choices": []},
                infotext="Model hash",
            ),
            "sd_checkpoint_dropdown_use_short": OptionInfo(False, "Short names of checkpoints"),
            "CLIP_stop_at_last_layers": OptionInfo(
                1, "Clip skip", gr.Number, {"precision": 0}, infotext="Clip skip"
            ),
            "sd_vae": OptionInfo("Automatic", "SD VAE", gr.Textbox, {}, infotext="VAE"),
            "eta_noise_seed_delta": OptionInfo(0, "ENSD", gr.Number, {"precision": 0}, infotext="ENSD"),
        },
    )
)
options_templates.update(
    options_section(
        ("saving-paths", "Paths for saving", "saving"),
        {
            "outdir_samples": OptionInfo("", "Output directory for images"),
            "outdir_grids": OptionInfo("", "Output directory for grids"),
            **{
                f"outdir_{kind}": OptionInfo(os.path.join(data_path, "outputs", kind), kind)
                for kind in ("txt2img_samples", "img2img_samples", "txt2img_grids", "img2img_grids")
            },
        },
    )
)
options_templates.update(
    options_section(
        ("ui", "User interface", "ui"),
        {
            "compact_prompt_box": OptionInfo(False, "Compact prompt layout"),
            "hires_fix_show_sampler": OptionInfo(FORGE, "Hires fix: show checkpoint and sampler selection"),
            "hires_fix_show_prompts": OptionInfo(False, "Hires fix: show prompts"),
            "quick_setting_list": OptionInfo(
                [], "Quicksettings list", gr.Dropdown, {"multiselect": True, "choices": []}
            ),
            "extra_networks_default_multiplier": OptionInfo(1.0, "Default multiplier", gr.Number, {}),
            "extra_networks_add_text_separator": OptionInfo(" ", "Text separator"),
            "enable_reloading_ui_scripts": OptionInfo(False, "Reload UI scripts when Reload UI is used"),
        },
    )
)
options_templates.update(
    options_section(
        ("extensions", "Extensions", "system"),
        {
            "disabled_extensions": OptionInfo(
                [], "Disabled extensions", gr.Dropdown, {"multiselect": True, "choices": []}
            ),
            "disable_all_extensions": OptionInfo(
                "none", "Disable all extensions", gr.Radio, {"choices": ["none", "extra", "all"]}
            ),
        },
    )
)
if FORGE:
    options_templates.update(
        options_section(
            (None, "Forge Hidden options"),
            {"forge_additional_modules": OptionInfo([]), "forge_preset": OptionInfo("sd")},
        )
    )

restricted_opts: set[str] = set()
opts = options.Options(options_templates, restricted_opts)
opts.load(config_filename)
for _key, _info in options_templates.items():
    opts.data.setdefault(_key, _info.default)
prompt_styles = styles.StyleDatabase(styles_filename)


def refresh_checkpoints() -> None:
    from modules import sd_models

    sd_models.list_models()


def reload_options() -> None:
    """After an extension added to ``options_templates`` while scripts were loaded."""
    for key, info in options_templates.items():
        opts.data_labels.setdefault(key, info)
        opts.data.setdefault(key, info.default)
