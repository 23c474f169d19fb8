"""A job's JSON as a WebUI takes it."""

from __future__ import annotations

from typing import Any

import pytest

from stablequeue_client.shared.wire.inventory import ServerCapabilities
from stablequeue_client.webui.runner.payload_adaptation import SupportedPayload, adapted
from stablequeue_client.webui.runner.refusal import Refusal

FIELDS = {
    "prompt",
    "sampler_name",
    "steps",
    "override_settings",
    "enable_hr",
    "styles",
    "script_name",
    "init_images",
}
FORGE = SupportedPayload(
    ServerCapabilities(
        webui="forge", samplers=["Euler", "DPM++ 2M"], schedulers=["Karras"], scripts=["Prompt matrix"]
    ),
    frozenset(FIELDS | {"scheduler", "hr_additional_modules", "hr_cfg"}),
    {
        "sd_model_checkpoint": "sd",
        "forge_additional_modules": "",
        "sd_vae": "vae",
        "outdir_samples": "saving-paths",
    },
    frozenset({"known"}),
)
CLASSIC = SupportedPayload(
    ServerCapabilities(webui="classic", samplers=["Euler", "DPM++ 2M Karras"], scripts=["Prompt matrix"]),
    frozenset(FIELDS),
    {"sd_model_checkpoint": "sd", "sd_vae": "vae", "CLIP_stop_at_last_layers": "sd"},
    frozenset({"known"}),
)


def fit(dialect: SupportedPayload, **payload: Any) -> dict[str, Any]:
    found = adapted(payload, dialect)
    assert isinstance(found, dict), found
    return found


def refused(dialect: SupportedPayload, **payload: Any) -> str:
    found = adapted(payload, dialect)
    assert isinstance(found, Refusal), found
    assert found.code == "not_supported"
    return found.text


@pytest.mark.parametrize("dialect", [FORGE, CLASSIC])
@pytest.mark.parametrize(
    ("payload", "named"),
    [
        ({"sampler_name": "Nobody"}, "Nobody"),
        ({"script_name": "Nobody's plot"}, "Nobody's plot"),
        ({"alwayson_scripts": {"Nobody": {"args": []}}}, "Nobody"),
        ({"styles": ["known", "unknown"]}, "unknown"),
        ({"override_settings": {"nobody": 3}}, "nobody"),
        ({"init_images": ["https://example.org/x.png"]}, "address"),
        ({"mask": "HTTP://example.org/x.png", "init_images": ["aa"]}, "address"),
    ],
)
def test_what_a_webui_would_leave_out_or_replace_is_refused_by_its_name(
    dialect: SupportedPayload, payload: dict[str, Any], named: str
) -> None:
    if "alwayson_scripts" in payload:
        dialect = SupportedPayload(
            ServerCapabilities(webui=dialect.capabilities.webui, alwayson_scripts=["Other"]),
            dialect.fields,
            dialect.options,
            dialect.styles,
        )
    assert named in refused(dialect, **payload)


def test_sampler_and_schedule_are_one_name_where_a_webui_has_them_so() -> None:
    found = fit(CLASSIC, sampler_name="DPM++ 2M", scheduler="Karras")
    assert found == {"sampler_name": "DPM++ 2M Karras", "override_settings": {}}
    assert fit(FORGE, sampler_name="DPM++ 2M", scheduler="Karras")["scheduler"] == "Karras"


def test_vae_and_modules_are_written_as_the_webui_has_them() -> None:
    modules = {"forge_additional_modules": ["soft.safetensors"]}
    assert fit(CLASSIC, override_settings=modules)["override_settings"] == {"sd_vae": "soft.safetensors"}
    vae = {"sd_vae": "soft.safetensors"}
    assert fit(FORGE, override_settings=vae)["override_settings"] == modules
    assert fit(FORGE, override_settings={"sd_vae": "Automatic"})["override_settings"] == {}
    assert "one VAE" in refused(CLASSIC, override_settings={"forge_additional_modules": ["a", "b"]})


def test_the_owner_s_own_settings_are_nobody_else_s() -> None:
    settings = {"outdir_samples": "/tmp/elsewhere", "sd_model_checkpoint": "x"}
    found = fit(FORGE, override_settings=settings, save_images=False, do_not_save_samples=True)
    assert found == {"override_settings": {"sd_model_checkpoint": "x"}}


def test_what_stood_at_its_default_counts_where_it_is_known_and_asks_for_nothing_elsewhere() -> None:
    defaults = {"CLIP_stop_at_last_layers": 1, "outdir_samples": "", "beta_dist_alpha": 0.6, "sd_vae": "x"}
    found = fit(CLASSIC, default_settings=defaults, override_settings={"sd_vae": "y"})
    assert found == {
        "override_settings": {"sd_vae": "y"},
        "default_settings": {"CLIP_stop_at_last_layers": 1},
    }
    assert fit(FORGE, default_settings={"nobody's": 0.6}) == {"override_settings": {}}
    assert fit(FORGE, default_settings="x") == {"override_settings": {}}


def test_the_words_of_a_style_need_no_style_here() -> None:
    assert fit(FORGE, styles=[["{prompt}, ink", ""]])["styles"] == [["{prompt}, ink", ""]]


def test_the_words_of_the_page_for_the_same_become_nothing() -> None:
    found = fit(
        FORGE, enable_hr=True, hr_sampler_name="Use same sampler", hr_checkpoint_name="Use same checkpoint"
    )
    assert found == {
        "enable_hr": True,
        "hr_additional_modules": ["Use same choices"],
        "override_settings": {},
    }


def test_a_cfg_for_hires_fix_is_refused_where_there_is_none() -> None:
    assert "CFG" in refused(CLASSIC, enable_hr=True, cfg_scale=7, hr_cfg=3)
    assert "enable_hr" in fit(CLASSIC, enable_hr=True, cfg_scale=7, hr_cfg=7)
    assert fit(CLASSIC, enable_hr=False, cfg_scale=7, hr_cfg=3)["enable_hr"] is False


@pytest.mark.parametrize(
    ("sampler", "schedule", "here"),
    [
        ("DPM++ 2M", "Karras", "DPM++ 2M Karras"),
        ("DPM++ 2M", "Automatic", "DPM++ 2M Karras"),
        ("DPM++ 2M SDE", "Automatic", "DPM++ 2M SDE Exponential"),
        ("DPM++ 2M", "Uniform", "DPM++ 2M"),
        ("DPM++ 2M", None, "DPM++ 2M"),
        ("Euler", "Automatic", "Euler"),
    ],
)
def test_a_schedule_is_the_same_where_it_is_part_of_the_sampler_s_name(
    sampler: str, schedule: str | None, here: str
) -> None:
    names = ["Euler", "DPM++ 2M", "DPM++ 2M Karras", "DPM++ 2M SDE", "DPM++ 2M SDE Exponential"]
    joined = SupportedPayload(
        ServerCapabilities(webui="classic", samplers=names), CLASSIC.fields, CLASSIC.options, CLASSIC.styles
    )
    given = {"sampler_name": sampler, **({"scheduler": schedule} if schedule else {})}
    assert fit(joined, **given)["sampler_name"] == here
