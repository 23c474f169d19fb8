"""A job's JSON as a WebUI takes it."""

from __future__ import annotations

import json
from pathlib import Path
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
        "hr_cfg": 7.0,
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


API_FIELDS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "samples/api_fields.json").read_text())
"""What ``StableDiffusionProcessingTxt2Img`` and ``...Img2Img`` of each family take, from their sources."""
HIRES = {
    "prompt": "a",
    "cfg_scale": 6.5,
    "distilled_cfg_scale": 2.5,
    "enable_hr": True,
    "sampler_name": "DPM++ 2M Karras",
    "hr_sampler_name": "DPM++ SDE Karras",
}
AS_MEANT = {
    "hr_cfg": 6.5,
    "hr_distilled_cfg": 2.5,
    "hr_additional_modules": ["Use same choices"],
    "hr_scheduler": "Karras",
}
NOTHING_TO_SAY = {
    "scheduler": "the host takes the joined name apart",
    "distilled_cfg_scale": "only Flux reads it, which the other families do not load; 3.5 in API and page",
}


def webui_of(family: str, kind: str) -> SupportedPayload:
    fields = frozenset(API_FIELDS[family][kind])
    has_schedules = "scheduler" in fields
    samplers = ["Euler", "DPM++ 2M", "DPM++ SDE", "DPM2"]
    names = samplers if has_schedules else [*samplers, "DPM++ 2M Karras", "DPM++ SDE Karras"]
    capabilities = ServerCapabilities(
        webui=family, samplers=names, schedulers=["Automatic", "Uniform", "Karras"] if has_schedules else []
    )
    options = {"sd_vae": "vae", **({"forge_additional_modules": ""} if family == "forge" else {})}
    return SupportedPayload(capabilities, fields, options, frozenset())


@pytest.mark.parametrize("source", API_FIELDS)
@pytest.mark.parametrize("target", API_FIELDS)
def test_a_field_that_only_the_target_has_gets_the_value_that_is_meant(source: str, target: str) -> None:
    missing = set(API_FIELDS[target]["txt2img"]) - set(API_FIELDS[source]["txt2img"])
    assert missing <= set(AS_MEANT) | set(NOTHING_TO_SAY), "say what it means when a job says nothing of it"
    given = {key: value for key, value in HIRES.items() if key in API_FIELDS[source]["txt2img"]}
    if "distilled_cfg_scale" in missing:
        given["distilled_cfg_scale"] = 2.5  # as a text may say it
    found = fit(webui_of(target, "txt2img"), **given)
    assert {key: found[key] for key in missing & set(AS_MEANT)} == {
        key: value for key, value in AS_MEANT.items() if key in missing
    }


@pytest.mark.parametrize("source", API_FIELDS)
@pytest.mark.parametrize("target", API_FIELDS)
def test_img2img_has_no_field_of_its_own_that_changes_a_picture(source: str, target: str) -> None:
    missing = set(API_FIELDS[target]["img2img"]) - set(API_FIELDS[source]["img2img"])
    # Forge's img2img has hr_distilled_cfg for a key of its cache alone.
    assert missing <= {*NOTHING_TO_SAY, "hr_distilled_cfg"}


@pytest.mark.parametrize("target", ["forge", "reforge"])
@pytest.mark.parametrize("said", [{}, {"hr_cfg": 0.0}, {"hr_cfg": 0}, {"hr_cfg": None}])
@pytest.mark.parametrize(("cfg", "meant"), [({"cfg_scale": 4.5}, 4.5), ({"cfg_scale": 1}, 1), ({}, 7.0)])
def test_hires_fix_without_a_cfg_has_that_of_the_first_pass(
    target: str, said: dict[str, Any], cfg: dict[str, Any], meant: float
) -> None:
    assert fit(webui_of(target, "txt2img"), enable_hr=True, **cfg, **said)["hr_cfg"] == meant


@pytest.mark.parametrize(("hr_cfg", "kept"), [(3.0, 3.0), (1.0, 1.0)])
def test_a_cfg_of_hires_fix_stays_and_none_is_made_without_it(hr_cfg: float, kept: float) -> None:
    forge = webui_of("forge", "txt2img")
    assert fit(forge, enable_hr=True, cfg_scale=7, hr_cfg=hr_cfg)["hr_cfg"] == kept
    assert "hr_cfg" not in fit(forge, enable_hr=False, cfg_scale=7)
    assert "enable_hr" in fit(webui_of("classic", "txt2img"), enable_hr=True, cfg_scale=7, hr_cfg=0.0)


@pytest.mark.parametrize(
    ("first", "own", "meant"),
    [
        ("DPM++ 2M Karras", "DPM2", ("DPM2", "Uniform")),
        ("DPM++ 2M Karras", "DPM++ SDE Karras", ("DPM++ SDE", "Karras")),
        ("Euler", "dpm++ sde karras", ("DPM++ SDE", "Karras")),
        ("Euler", "DPM2", ("DPM2", None)),
        ("DPM++ 2M Karras", "Use same sampler", (None, None)),
    ],
)
def test_hires_fix_keeps_its_own_sampler_and_schedule(
    first: str, own: str, meant: tuple[str | None, str | None]
) -> None:
    found = fit(webui_of("forge", "txt2img"), enable_hr=True, sampler_name=first, hr_sampler_name=own)
    assert (found.get("hr_sampler_name"), found.get("hr_scheduler")) == meant
