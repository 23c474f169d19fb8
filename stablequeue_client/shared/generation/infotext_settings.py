"""What the last line of a generation text says as settings of the WebUI, and what nothing stands for. Pure.

Labels and options as both families have them (``OptionInfo(..., infotext=...)`` in
``modules/shared_options.py``). A WebUI that lacks one refuses the job by the setting's name.
"""

from __future__ import annotations

import json
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
    ("FP8 weight", "fp8_storage"),
    ("Hires refiner", "hires_fix_refiner_pass"),
    ("Noise Schedule", "sd_noise_schedule"),
    ("RNG", "randn_source"),
    ("UniPC skip type", "uni_pc_skip_type"),
    ("UniPC variant", "uni_pc_variant"),
    ("VAE Decoder", "sd_vae_decode_method"),
    ("VAE Encoder", "sd_vae_encode_method"),
)
_FLAGS: LabelledFields = (
    ("Cache FP16 weight for LoRA", "cache_fp16_weight"),
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
        "Civitai metadata",
    )
)
"""Hashes count where models are looked for; the others say nothing of how the picture is made."""
_RESOURCES = "Civitai resources"
_RESOURCES_MAX = 50
_NAME_SHOWN = 60
_MODULE = re.compile(r"(Hires )?Module [0-9]{1,3}\Z")


def option_settings(settings: Mapping[str, str]) -> dict[str, Any]:
    """Override settings for the WebUI's own options; a value that is none for its option is left out."""
    found: dict[str, Any] = {**numbers(settings, _INTEGERS, _NUMBERS)}
    found |= {name: settings[label] for label, name in _TEXTS if label in settings}
    flags = ((name, _BOOLEANS.get(settings.get(label, ""))) for label, name in _FLAGS)
    return found | {name: value for name, value in flags if value is not None}


def default_settings(prompt: str, settings: Mapping[str, str]) -> dict[str, Any]:
    """What a text that does not say so was made with, as the hosts fill it in when they paste one
    (``parse_generation_parameters``), and the options of old versions (``infotext_versions.backcompat``)."""
    return {**_NOT_WRITTEN, **_of_old_version(prompt, settings)}


_NOT_WRITTEN: dict[str, Any] = {
    "CLIP_stop_at_last_layers": 1,
    "randn_source": "GPU",
    "sigma_max": 0.0,
    "sigma_min": 0.0,
    "rho": 0.0,
    "sd_vae_encode_method": "Full",
    "sd_vae_decode_method": "Full",
    "fp8_storage": "Disable",
    "cache_fp16_weight": False,
    "emphasis": "Original",
    "refiner_switch_by_sample_steps": False,
}
_VERSION = re.compile(r"v?([0-9]{1,5})\.([0-9]{1,5})(?:\.([0-9]{1,5}))?(?:-([0-9]{1,6}))?")


def _of_old_version(prompt: str, settings: Mapping[str, str]) -> dict[str, bool]:
    version = _VERSION.match(settings.get("Version", ""))
    if version is None:  # of Forge's own numbers ("f2.0.1...") none is that old
        return {}
    number = tuple(int(part or 0) for part in version.groups())
    found: dict[str, bool] = {}
    if number < (1, 6):
        if "[" in prompt:
            found["use_old_scheduling"] = True
        if settings.get("Sampler") in ("DDIM", "PLMS"):
            found["pad_cond_uncond_v0"] = True
    if number < (1, 7, 0, 225):
        found["use_downcasted_alpha_bar"] = True
    if number < (1, 8) and settings.get("Refiner"):
        found["refiner_switch_by_sample_steps"] = True
    return found


def not_taken_over(settings: Mapping[str, str]) -> list[str]:
    """What a job made of it says nothing of: labels of scripts, extensions and other programs, and models
    that only Civitai's numbers name."""
    known = _IN_THE_PAYLOAD | _TELLS_NO_SETTING | _OPTIONS
    found: list[str] = []
    for label, value in settings.items():
        if label == _RESOURCES:
            found += _resources(value)
        elif label not in known and not _MODULE.match(label):
            found.append(label)
    return found


def _resources(value: str) -> list[str]:
    """The models of Civitai's own generator, each in words: no file is called so, and no hash is there."""
    try:
        listed = json.loads(value, parse_int=str, parse_float=str, parse_constant=str)
    except (ValueError, RecursionError):
        return [_RESOURCES]
    items = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    return [_resource(one) for one in items[:_RESOURCES_MAX]] or [_RESOURCES]


def _resource(one: Mapping[str, Any]) -> str:
    kind, name, version = (
        one[key] if isinstance(one.get(key), str) else "" for key in ("type", "modelName", "modelVersionId")
    )
    words = " ".join(word[:_NAME_SHOWN] for word in (kind, name) if word)
    return f"Civitai: {words}{f' (version {version[:20]})' if version else ''}"


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
