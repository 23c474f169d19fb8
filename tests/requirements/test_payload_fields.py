"""Values as the hosts' own API declares them, and unknown fields with the one that is meant."""

from __future__ import annotations

from typing import Any

import pytest

from stablequeue_client.shared.errors import InvalidValueError
from stablequeue_client.shared.generation.capability_needs import capability_needs
from stablequeue_client.shared.generation.payload_fields import (
    KNOWN_FIELDS,
    checked_payload,
    doubtful_settings,
    read_payload,
    unknown_fields,
)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", "many"),
        ("steps", 25.5),
        ("steps", 0),
        ("steps", True),
        ("prompt", ["a"]),
        ("prompt", 5),
        ("negative_prompt", {"a": 1}),
        ("width", -5),
        ("height", 0),
        ("width", "wide"),
        ("batch_size", 0),
        ("n_iter", -1),
        ("cfg_scale", float("nan")),
        ("cfg_scale", "high"),
        ("denoising_strength", 2),
        ("seed", ""),
        ("seed", 1.5),
        ("enable_hr", "perhaps"),
        ("enable_hr", []),
        ("override_settings", []),
        ("override_settings", {"sd_model_checkpoint": 5}),
        ("styles", "none"),
        ("alwayson_scripts", ["ADetailer"]),
        ("alwayson_scripts", {"ADetailer": [1]}),
        ("script_args", "1, 2"),
        ("init_images", "data"),
        ("hr_additional_modules", [5]),
        ("sampler_name", 5),
    ],
)
def test_a_value_that_no_webui_takes_is_refused_by_its_fields_name(field: str, value: Any) -> None:
    with pytest.raises(InvalidValueError) as refused:
        checked_payload({"prompt": "a cat", field: value})
    assert f"`{field}" in refused.value.message
    values, problems = read_payload({field: value, "steps" if field != "steps" else "width": "64"})
    assert (len(problems), values[field]) == (1, value) or field == "cfg_scale"


@pytest.mark.parametrize(
    ("field", "value", "read"),
    [
        ("steps", "25", 25),
        ("steps", 25.0, 25),
        ("width", "832", 832),
        ("seed", "12345", 12345),
        ("seed", 2**63 - 1, 2**63 - 1),
        ("seed", -1, -1),
        ("cfg_scale", "7.5", 7.5),
        ("cfg_scale", 7, 7),
        ("enable_hr", "true", True),
        ("enable_hr", 0, False),
        ("enable_hr", 1.0, True),
        ("prompt", None, None),
        ("override_settings", None, None),
        ("styles", [["a", "b"]], [["a", "b"]]),
        ("an_extension's", {"a": 1}, {"a": 1}),
    ],
)
def test_a_value_is_read_as_the_webuis_api_reads_it(field: str, value: Any, read: Any) -> None:
    found = checked_payload({field: value})[field]
    assert (found, type(found)) == (read, type(read))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("checkpoint", "override_settings.sd_model_checkpoint"),
        ("sd_model_checkpoint", "override_settings.sd_model_checkpoint"),
        ("vae", "override_settings.sd_vae"),
        ("promt", "prompt"),
        ("negative_promt", "negative_prompt"),
        ("samplername", "sampler_name"),
        ("stpes", "steps"),
        ("clip_skip", "override_settings.CLIP_stop_at_last_layers"),
        ("callback_url", ""),
        ("foo", ""),
    ],
)
def test_an_unknown_field_is_named_with_the_one_that_is_meant(name: str, meant: str) -> None:
    (found,) = unknown_fields({"prompt": "a cat", name: "alpha", "steps": 3})
    assert (found.name, found.meant) == (name, meant)
    assert name in found.text
    assert [(one.kind, one.name) for one in capability_needs({name: 1})] == [("field", name)]
    assert unknown_fields({name: None}) == []


def test_an_override_setting_that_is_misspelt_is_named_and_an_unknown_one_is_not() -> None:
    settings = {
        "sd_checkpoint": "a",
        "sd_model_checkpiont": "a",
        "CLIP_stop_at_last_layer": 2,
        "live_previews": 1,
    }
    found = [(one.name, one.meant) for one in doubtful_settings({"override_settings": settings})]
    assert found == [
        ("override_settings.sd_checkpoint", "override_settings.sd_model_checkpoint"),
        ("override_settings.sd_model_checkpiont", "override_settings.sd_model_checkpoint"),
        ("override_settings.CLIP_stop_at_last_layer", "override_settings.CLIP_stop_at_last_layers"),
    ]


FORGE = """prompt negative_prompt styles seed subseed subseed_strength seed_resize_from_h seed_resize_from_w
sampler_name scheduler batch_size n_iter steps cfg_scale distilled_cfg_scale width height restore_faces tiling
do_not_save_samples do_not_save_grid eta denoising_strength s_min_uncond s_churn s_tmax s_tmin s_noise
override_settings override_settings_restore_afterwards refiner_checkpoint refiner_switch_at
disable_extra_networks firstpass_image comments enable_hr firstphase_width firstphase_height hr_scale
hr_upscaler hr_second_pass_steps hr_resize_x hr_resize_y hr_checkpoint_name hr_additional_modules
hr_sampler_name hr_scheduler hr_prompt hr_negative_prompt hr_cfg hr_distilled_cfg force_task_id sampler_index
script_name script_args send_images save_images alwayson_scripts infotext init_images resize_mode
image_cfg_scale mask mask_blur_x mask_blur_y mask_blur mask_round inpainting_fill inpaint_full_res
inpaint_full_res_padding inpainting_mask_invert initial_noise_multiplier latent_mask include_init_images"""


def test_every_field_of_the_hosts_own_api_is_known() -> None:
    """The names that Forge's and Classic's forms for txt2img and img2img declare."""
    assert set(FORGE.split()) <= KNOWN_FIELDS
