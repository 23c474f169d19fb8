"""Generations without torch: a picture is made of the *contents* that are in memory, as they were loaded.

The silent failures are those of the hosts: an unknown checkpoint is left out, LoRAs that cannot be activated
are all left out, an option without a value stays as a job had it.
"""

from __future__ import annotations

import hashlib
import os
import time
from typing import Any, ClassVar

from fake_family import FORGE
from modules import errors, extra_networks, sd_models, sd_samplers, sd_vae, shared
from modules.script_callbacks import CFGDenoiserParams, cfg_denoiser_callback
from modules.shared import opts, state
from PIL import Image

STEP_S = 0.01


class StableDiffusionProcessing:
    cached_c: ClassVar[list[Any]] = [None, None]
    cached_uc: ClassVar[list[Any]] = [None, None]

    def __init__(self, sd_model: Any = None, **fields: Any) -> None:
        self.sd_model = sd_model
        self.is_api = False
        self.is_hr_pass = False
        self.scripts: Any = None
        self.script_args: Any = ()
        self.outpath_samples = self.outpath_grids = ""
        self.extra_generation_params: dict[str, Any] = {}
        for name, value in fields.items():
            setattr(self, name, value)
        self.override_settings = dict(fields.get("override_settings") or {})

    def close(self) -> None:
        pass


class StableDiffusionProcessingTxt2Img(StableDiffusionProcessing):
    cached_hr_c: ClassVar[list[Any]] = [None, None]
    cached_hr_uc: ClassVar[list[Any]] = [None, None]
    init_images: Any = None


class StableDiffusionProcessingImg2Img(StableDiffusionProcessing):
    pass


class Processed:
    def __init__(self, images: list[Any], infotexts: list[str]) -> None:
        self.images = images
        self.infotexts = infotexts


def process_images(p: StableDiffusionProcessing) -> Processed:
    stored = {k: opts.data[k] for k in p.override_settings if k in opts.data}
    try:
        if sd_models.checkpoint_aliases.get(p.override_settings.get("sd_model_checkpoint")) is None:
            p.override_settings.pop("sd_model_checkpoint", None)
        _set(p.override_settings)
        sd_models.load_chosen()
        if FORGE:
            p.sampler_name, p.scheduler = sd_samplers.get_sampler_and_scheduler(p.sampler_name, p.scheduler)
        return _inner(p)
    finally:
        if p.override_settings_restore_afterwards:
            _set(stored)


def _set(settings: dict[str, Any]) -> None:
    if FORGE:
        from modules_forge import main_entry

        for key, value in settings.items():
            if key == "forge_additional_modules":
                main_entry.modules_change(value, save=False)
            else:
                opts.set(key, value)
        main_entry.refresh_model_loading_parameters()
    else:
        for key, value in settings.items():
            opts.set(key, value)
        if "sd_vae" in settings:
            sd_vae.reload_vae_weights()


def _inner(p: StableDiffusionProcessing) -> Processed:
    model = shared.sd_model
    styles = shared.prompt_styles.get_style_prompts(p.styles or [])
    prompt, networks = extra_networks.parse_prompt(", ".join([p.prompt, *filter(None, styles)]))
    try:
        extra_networks.activate(p, networks)
    except Exception as error:
        errors.display(error, "activating extra network lora")
    state.job_count, state.sampling_steps = p.n_iter, p.steps
    for step in range(p.steps):
        if state.interrupted:
            break
        state.sampling_step = step
        cfg_denoiser_callback(CFGDenoiserParams(_Denoiser(p)))
        time.sleep(STEP_S)
    used = [model.content, *model.module_contents, *model.in_use(), repr((prompt, p.negative_prompt, styles))]
    used += [repr((p.seed, p.steps, p.sampler_name, getattr(p, "scheduler", None), p.width, p.height))]
    used += [repr(opts.CLIP_stop_at_last_layers), repr(p.script_args)]
    used += [one.tobytes().hex() for one in getattr(p, "init_images", None) or []]
    colour = hashlib.sha256("|".join(used).encode()).digest()
    image = Image.frombytes("RGB", (8, 8), (colour * 6)[:192])
    text = _infotext(p, model)
    image.info["parameters"] = text
    if not p.do_not_save_samples:
        os.makedirs(p.outpath_samples, exist_ok=True)
        image.save(os.path.join(p.outpath_samples, f"{time.time_ns()}.png"))
    return Processed([image], [text])


class _Denoiser:
    def __init__(self, p: StableDiffusionProcessing) -> None:
        self.p = p


def _infotext(p: StableDiffusionProcessing, model: Any) -> str:
    info = model.sd_checkpoint_info
    parts = {"Steps": p.steps, "Sampler": p.sampler_name, "Seed": p.seed, "Size": f"{p.width}x{p.height}"}
    parts |= {"Model": info.name_for_extra, **p.extra_generation_params}
    line = ", ".join(f"{key}: {value}" for key, value in parts.items())
    return f"{p.prompt}\nNegative prompt: {p.negative_prompt}\n{line}"
