"""What a payload needs of a WebUI besides models, against what real WebUIs say of themselves."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stablequeue_client.shared.generation.capability_needs import (
    CapabilityNeed,
    capability_needs,
    missing_capability,
)
from stablequeue_client.shared.wire.inventory import ServerCapabilities

from ..slowness import slowness

CANNY = "control_v11p_sd15_canny [d14c016b]"
FORGE = ServerCapabilities(
    webui="forge",
    scripts=["Prompt matrix", "X/Y/Z plot"],
    alwayson_scripts=["ADetailer", "ControlNet", "Dynamic Prompts v2.17.1"],
    samplers=["DPM++ 2M", "Euler", "Euler a"],
    schedulers=["Automatic", "Karras", "SGM Uniform"],
    upscalers=["4x-UltraSharp", "Lanczos", "None", "R-ESRGAN 4x+"],
    controlnet_models=[CANNY],
)
CLASSIC = ServerCapabilities(
    webui="classic",
    alwayson_scripts=["ControlNet"],
    samplers=["DPM++ 2M Karras", "Euler a", "LMS"],
    upscalers=["Lanczos"],
)


def needs(payload: dict[str, Any]) -> list[tuple[str, str]]:
    return [(need.kind, need.name) for need in capability_needs(payload)]


def test_everything_that_a_payload_can_name_is_found() -> None:
    payload = {
        "sampler_name": "DPM++ 2M",
        "sampler_index": "Euler",
        "scheduler": "Karras",
        "enable_hr": True,
        "hr_sampler_name": "Euler a",
        "hr_scheduler": "SGM Uniform",
        "hr_upscaler": "4x-UltraSharp",
        "script_name": "X/Y/Z plot",
        "alwayson_scripts": {
            "ADetailer": {"args": [True, {"ad_model": "face_yolov8n.pt"}]},
            "controlnet": {
                "args": [
                    {"enabled": True, "model": CANNY},
                    {"model": "control_v11f1p_sd15_depth"},
                    {"enabled": False, "model": "left behind"},
                    {"enabled": True, "model": "None"},
                ]
            },
        },
        "styles": ["cinematic", ["a pair", "of prompts"], "None"],
    }
    assert needs(payload) == [
        ("sampler", "DPM++ 2M"),
        ("scheduler", "Karras"),
        ("sampler", "Euler a"),
        ("scheduler", "SGM Uniform"),
        ("upscaler", "4x-UltraSharp"),
        ("script", "X/Y/Z plot"),
        ("alwayson_script", "ADetailer"),
        ("alwayson_script", "controlnet"),
        ("controlnet_model", CANNY),
        ("controlnet_model", "control_v11f1p_sd15_depth"),
        ("style", "cinematic"),
    ]


def test_the_older_field_of_a_sampler_counts_when_the_newer_is_empty() -> None:
    assert needs({"sampler_name": None, "sampler_index": "Euler"}) == [("sampler", "Euler")]


@pytest.mark.parametrize(
    "payload",
    [
        {"sampler_name": "", "scheduler": "Automatic"},
        {"sampler_index": 3, "scheduler": None, "script_name": None, "styles": None},
        {"script_name": "None", "styles": [], "alwayson_scripts": {}},
        {"enable_hr": True, "hr_sampler_name": "Use same sampler", "hr_scheduler": "Use same scheduler"},
        {"enable_hr": True, "hr_upscaler": "None"},
        {"enable_hr": True, "hr_upscaler": "Latent"},
        {"enable_hr": True, "hr_upscaler": "Latent (bicubic antialiased)"},
        {"enable_hr": False, "hr_upscaler": "4x-UltraSharp", "hr_sampler_name": "Euler"},
        {"alwayson_scripts": [["ControlNet", 1]], "styles": "cinematic"},
    ],
)
def test_values_that_name_nothing(payload: dict[str, Any]) -> None:
    assert capability_needs(payload) == ()


@pytest.mark.parametrize(
    ("capabilities", "kind", "name", "answer"),
    [
        (FORGE, "sampler", "Euler a", "ok"),
        (FORGE, "sampler", "euler A", "ok"),
        (FORGE, "sampler", "UniPC", "missing"),
        (FORGE, "sampler", "DPM++ 2M Karras", "ok"),
        (FORGE, "sampler", "DPM++ 2M Exponential", "missing"),
        (FORGE, "sampler", "Karras", "missing"),
        (FORGE, "scheduler", "karras", "ok"),
        (FORGE, "scheduler", "sgm_uniform", "ok"),
        (FORGE, "scheduler", "Beta", "missing"),
        (FORGE, "upscaler", "4x-UltraSharp", "ok"),
        (FORGE, "upscaler", "R-ESRGAN_4x+", "missing"),
        (FORGE, "upscaler", "4x_foolhardy_Remacri", "missing"),
        (FORGE, "script", "x/y/z plot", "ok"),
        (FORGE, "script", "SD upscale", "missing"),
        (FORGE, "alwayson_script", "controlnet", "ok"),
        (FORGE, "alwayson_script", "Tiled Diffusion", "missing"),
        (FORGE, "controlnet_model", CANNY, "ok"),
        (FORGE, "controlnet_model", "control_v11f1p_sd15_depth", "missing"),
        (FORGE, "style", "cinematic", "not_checked"),
        (CLASSIC, "script", "X/Y/Z plot", "not_checked"),
        (CLASSIC, "controlnet_model", CANNY, "not_checked"),
        (CLASSIC, "scheduler", "Karras", "not_checked"),
        (ServerCapabilities(webui="forge"), "sampler", "Euler", "not_checked"),
    ],
)
def test_what_a_webui_has(capabilities: ServerCapabilities, kind: Any, name: str, answer: str) -> None:
    assert missing_capability(CapabilityNeed(kind, name), capabilities) == answer


def answers(payload: dict[str, Any], capabilities: ServerCapabilities) -> list[str]:
    return [missing_capability(need, capabilities) for need in capability_needs(payload)]


@pytest.mark.parametrize(
    ("sampler", "scheduler", "expected"),
    [
        ("DPM++ 2M", "Karras", ["ok", "ok"]),
        ("DPM++ 2M", "karras", ["ok", "ok"]),
        ("DPM++ 2M Karras", "Automatic", ["ok"]),
        ("DPM++ 2M", "Exponential", ["missing", "not_checked"]),
        ("Euler a", "Automatic", ["ok"]),
        ("Euler a", "Karras", ["ok", "not_checked"]),
        ("UniPC", "Automatic", ["missing"]),
    ],
)
def test_a_webui_without_schedulers_knows_the_joined_names(
    sampler: str, scheduler: str, expected: list[str]
) -> None:
    assert answers({"sampler_name": sampler, "scheduler": scheduler}, CLASSIC) == expected


def test_hires_fix_that_names_one_of_the_two_takes_the_other_from_the_first_pass() -> None:
    payload = {"sampler_name": "Euler a", "enable_hr": True, "hr_sampler_name": "DPM++ 2M"}
    assert answers(payload, CLASSIC) == ["ok", "missing"]
    assert answers(payload | {"scheduler": "Karras"}, CLASSIC) == ["ok", "not_checked", "ok"]


def test_joined_names_count_only_where_names_are_joined() -> None:
    other = ServerCapabilities(webui="forge", samplers=["DPM++ 2M Karras"], schedulers=["Karras"])
    assert answers({"sampler_name": "DPM++ 2M", "scheduler": "Karras"}, other) == ["missing", "ok"]


WORDS = st.sampled_from(["", "None", "Karras", "ControlNet", "Euler", "Latent"]) | st.text(max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)
KEYS = ("sampler_name", "sampler_index", "scheduler", "enable_hr", "hr_sampler_name", "hr_scheduler",
        "hr_upscaler", "script_name", "styles")  # fmt: skip
UNITS = st.lists(st.dictionaries(st.sampled_from(["model", "enabled"]), JSON) | JSON, max_size=3)
SCRIPTS = st.dictionaries(WORDS, st.fixed_dictionaries({"args": UNITS}) | JSON, max_size=3)


@given(st.dictionaries(st.sampled_from(KEYS), JSON), JSON | SCRIPTS)
def test_nothing_that_a_browser_may_send_raises(payload: dict[str, Any], scripts: Any) -> None:
    for need in capability_needs(payload | {"alwayson_scripts": scripts}):
        assert need.name
        for capabilities in (FORGE, CLASSIC):
            assert missing_capability(need, capabilities) in ("ok", "missing", "not_checked")


def test_a_megabyte_of_names_does_not_hold_up_the_reader() -> None:
    payload = {
        "sampler_name": " Karras" * 150_000,
        "styles": [str(number) for number in range(150_000)],
        "alwayson_scripts": {"ControlNet": {"args": [{"model": str(number)} for number in range(100_000)]}},
    }
    started = time.process_time()
    found = capability_needs(payload)
    assert missing_capability(found[0], FORGE) == "missing"
    assert len(found) == 250_002
    assert time.process_time() - started < 3 * slowness()
