"""What a payload's numbers may be, and the fields in it that are ours and no WebUI's. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from stablequeue_client.shared.errors import InvalidValueError

OLD_PARAMETERS = "old_parameters"
"""What an old client sent that no WebUI knows; nobody reads it but that client."""
OURS = frozenset({"default_settings", "script_choices", OLD_PARAMETERS})
"""What the Queue button adds, and the old contract."""
_SEED_MAX = 2**63 - 1
INTEGERS: Mapping[str, tuple[int, int]] = {
    "steps": (1, 10_000), "width": (1, 65_536), "height": (1, 65_536), "batch_size": (1, 10_000),
    "n_iter": (1, 10_000), "seed": (-1, _SEED_MAX), "subseed": (-1, _SEED_MAX),
    "seed_resize_from_h": (-1, 65_536), "seed_resize_from_w": (-1, 65_536),
    "firstphase_width": (0, 65_536), "firstphase_height": (0, 65_536), "hr_resize_x": (0, 65_536),
    "hr_resize_y": (0, 65_536), "hr_second_pass_steps": (0, 10_000), "resize_mode": (0, 100),
    "mask_blur_x": (0, 65_536), "mask_blur_y": (0, 65_536), "mask_blur": (0, 65_536),
    "inpainting_fill": (0, 100), "inpaint_full_res_padding": (0, 65_536), "inpainting_mask_invert": (0, 1),
}  # fmt: skip
"""Lowest and highest value."""
NUMBERS: Mapping[str, tuple[float, float]] = {
    "cfg_scale": (0, 1_000), "hr_cfg": (0, 1_000), "distilled_cfg_scale": (0, 1_000),
    "hr_distilled_cfg": (0, 1_000), "image_cfg_scale": (0, 1_000), "denoising_strength": (0, 1),
    "refiner_switch_at": (0, 1), "hr_scale": (0, 1_000), "subseed_strength": (-1_000, 1_000),
    "eta": (-1_000, 1_000), "s_min_uncond": (-1_000, 1_000), "s_churn": (-1e9, 1e9), "s_tmax": (-1e9, 1e9),
    "s_tmin": (-1e9, 1e9), "s_noise": (-1e9, 1e9), "initial_noise_multiplier": (-1_000, 1_000),
    "token_merging_ratio": (0, 1), "token_merging_ratio_hr": (0, 1),
}  # fmt: skip


def check_number(name: str, value: float) -> None:
    """Raises InvalidValueError for a number that no generation takes in this field, and for NaN."""
    if name in INTEGERS:
        low, high = INTEGERS[name]
        if not (low <= value <= high and float(value).is_integer()):
            raise InvalidValueError(f"`{name}` must be an integer from {low:,} to {high:,}.")
    elif name in NUMBERS:
        least, most = NUMBERS[name]
        if not least <= value <= most:
            raise InvalidValueError(f"`{name}` must be a number from {least:,g} to {most:,g}.")
