"""What a job generates, as a form and the page of a job show it."""

from __future__ import annotations

from typing import Any

import pytest

from stablequeue_client.shared.views.job_form import fields_of_payload

UNTOUCHED: dict[str, Any] = {
    "prompt": "a boat", "steps": 3, "sampler_name": "Euler a", "scheduler": "Automatic", "seed": 5,
    "enable_hr": False, "hr_scale": 2.0, "hr_prompt": "", "denoising_strength": 0.7, "n_iter": 1,
    "batch_size": 1, "styles": [], "refiner_checkpoint": None, "refiner_switch_at": 0.8,
    "distilled_cfg_scale": 3.5, "hr_additional_modules": ["Use same choices"],
    "override_settings": {
        "sd_model_checkpoint": "one", "CLIP_stop_at_last_layers": 1, "forge_additional_modules": [],
    },
}  # fmt: skip


def others(**changed: Any) -> tuple[str, ...]:
    found: tuple[str, ...] = fields_of_payload({**UNTOUCHED, **changed})["others"]
    return found


def test_what_nobody_touched_is_not_named_among_the_further_values() -> None:
    assert others() == ()


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"batch_size": 2}, ("batch_size",)),
        ({"styles": ["oil"]}, ("styles",)),
        ({"init_images": ["aa"]}, ("denoising_strength", "init_images")),
        ({"refiner_checkpoint": "two"}, ("refiner_checkpoint", "refiner_switch_at")),
        (
            {"enable_hr": True},
            ("denoising_strength", "enable_hr", "hr_additional_modules", "hr_scale"),
        ),
        ({"override_settings": {"CLIP_stop_at_last_layers": 2}}, ("CLIP_stop_at_last_layers",)),
        ({"override_settings": {"eta_noise_seed_delta": 31337}}, ("eta_noise_seed_delta",)),
    ],
)
def test_what_changes_the_picture_is_named(changed: dict[str, Any], named: tuple[str, ...]) -> None:
    assert others(**changed) == named
