"""What the last line of a generation text says as settings of the WebUI, and what nothing stands for. Pure.

Labels and options as both families have them (``OptionInfo(..., infotext=...)`` in
``modules/shared_options.py``). A WebUI that lacks one refuses the job by the setting's name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

_INTEGER = re.compile(r"[+-]?[0-9]{1,20}\Z")
_NUMBER = re.compile(r"[+-]?[0-9]{0,20}\.?[0-9]{0,20}(?:[eE][+-]?[0-9]{1,3})?\Z")

LabelledFields = tuple[tuple[str, str], ...]
"""(label in the text, name of the field or option)."""

_INTEGERS: LabelledFields = (
    ("Clip skip", "CLIP_stop_at_last_layers"),
    ("ENSD", "eta_noise_seed_delta"),
    ("UniPC order", "uni_pc_order"),
)
_NUMBERS: LabelledFields = (
    ("Conditional mask weight", "inpainting_mask_weight"),
    ("Eta", "eta_ancestral"),
    ("Eta DDIM", "eta_ddim"),
    ("Extra noise", "img2img_extra_noise"),
    ("NGMS", "s_min_uncond"),
    ("Noise multiplier", "initial_noise_multiplier"),
    ("Schedule max sigma", "sigma_max"),
    ("Schedule min sigma", "sigma_min"),
    ("Schedule rho", "rho"),
    ("Sigma churn", "s_churn"),
    ("Sigma noise", "s_noise"),
    ("Sigma tmax", "s_tmax"),
    ("Sigma tmin", "s_tmin"),
    ("Skip Early CFG", "skip_early_cond"),
    ("Token merging ratio", "token_merging_ratio"),
    ("Token merging ratio hr", "token_merging_ratio_hr"),
)
_TEXTS: LabelledFields = (
    ("Emphasis", "emphasis"),
    ("Hires refiner", "hires_fix_refiner_pass"),
    ("Noise Schedule", "sd_noise_schedule"),
    ("RNG", "randn_source"),
    ("UniPC skip type", "uni_pc_skip_type"),
    ("UniPC variant", "uni_pc_variant"),
    ("VAE Decoder", "sd_vae_decode_method"),
    ("VAE Encoder", "sd_vae_encode_method"),
)
_FLAGS: LabelledFields = (
    ("Discard penultimate sigma", "always_discard_next_to_last_sigma"),
    ("Downcast alphas_cumprod", "use_downcasted_alpha_bar"),
    ("NGMS all steps", "s_min_uncond_all"),
    ("Old prompt editing timelines", "use_old_scheduling"),
    ("Pad conds", "pad_cond_uncond"),
    ("Pad conds v0", "pad_cond_uncond_v0"),
    ("Refiner switch by sampling steps", "refiner_switch_by_sample_steps"),
    ("SGM noise multiplier", "sgm_noise_multiplier"),
    ("UniPC lower order final", "uni_pc_lower_order_final"),
)
_BOOLEANS = {"True": True, "False": False}
_OPTIONS = frozenset(label for table in (_INTEGERS, _NUMBERS, _TEXTS, _FLAGS) for label, _ in table)
OPTION_NAMES = frozenset(name for table in (_INTEGERS, _NUMBERS, _TEXTS, _FLAGS) for _, name in table)
"""Options of the WebUI that a text names."""

_IN_THE_PAYLOAD = frozenset(
    (
        "Steps", "Sampler", "Schedule type", "CFG scale", "Distilled CFG Scale", "Seed", "Size",
        "Variation seed", "Variation seed strength", "Seed resize from", "Denoising strength", "Tiling",
        "Face restoration", "Refiner", "Refiner switch at", "First pass size", "Model", "Model hash", "VAE",
        "Hires upscale", "Hires upscaler", "Hires resize", "Hires steps", "Hires sampler",
        "Hires schedule type", "Hires checkpoint", "Hires prompt", "Hires negative prompt",
        "Hires CFG Scale", "Hires Distilled CFG Scale",
    )
)  # fmt: skip
_TELLS_NO_SETTING = frozenset(
    (
        "VAE hash",
        "Lora hashes",
        "TI hashes",
        "Hashes",
        "Version",
        "User",
        "Created Date",
        "Batch size",
        "Batch pos",
    )
)
"""Hashes count where models are looked for; the others say nothing of how the picture is made."""
_MODULE = re.compile(r"(Hires )?Module [0-9]{1,3}\Z")


def option_settings(settings: Mapping[str, str]) -> dict[str, Any]:
    """Override settings for the WebUI's own options; a value that is none for its option is left out."""
    found: dict[str, Any] = {**numbers(settings, _INTEGERS, _NUMBERS)}
    found |= {name: settings[label] for label, name in _TEXTS if label in settings}
    flags = ((name, _BOOLEANS.get(settings.get(label, ""))) for label, name in _FLAGS)
    return found | {name: value for name, value in flags if value is not None}


def not_taken_over(settings: Mapping[str, str]) -> list[str]:
    """Labels of the text that a job made of it says nothing of: of scripts, extensions and other programs."""
    known = _IN_THE_PAYLOAD | _TELLS_NO_SETTING | _OPTIONS
    return [
        label
        for label in settings
        if label not in known and not _MODULE.match(label) and not label.startswith("Civitai ")
    ]


def numbers(
    settings: Mapping[str, str], integers: LabelledFields, decimals: LabelledFields
) -> dict[str, int | float]:
    """Those that are there and can be read."""
    found: dict[str, int | float] = {}
    for label, name in integers:
        if _INTEGER.match(settings.get(label, "")):
            found[name] = int(settings[label])
    for label, name in decimals:
        value = _number(settings.get(label, ""))
        if value is not None:
            found[name] = value
    return found


def _number(text: str) -> float | None:
    if not _NUMBER.match(text):
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
