"""Old parameters and the WebUI's payload, by tables."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stablequeue_client.shared.errors import InvalidValueError
from stablequeue_client.shared.generation.capability_needs import capability_needs
from stablequeue_hub.legacy.payloads import params_of, payload_of, requested_hash

HASH, OTHER = "31e35c80fc", "0123456789"
TITLES = [
    ({"checkpoint_name": "sd\\base.safetensors"}, "sd/base.safetensors"),
    ({"sd_checkpoint": "base"}, "base"),
    ({"checkpoint_name": "base", "sd_checkpoint": "other"}, "base"),
    ({"checkpoint_name": "base", "model_hash": HASH.upper()}, f"base [{HASH}]"),
    ({"checkpoint_name": f"base [{OTHER}]", "model_hash": HASH}, f"base [{HASH}]"),
    ({"checkpoint_name": f"base [{OTHER}]", "model_hash": "none"}, f"base [{OTHER}]"),
    ({"model_hash": HASH}, f"{HASH} [{HASH}]"),
    ({"override_settings": {"sd_model_checkpoint": "own"}, "hash": f"0x{HASH}"}, f"own [{HASH}]"),
    ({"checkpoint_name": 5, "model_hash": ["x"]}, None),
]


@pytest.mark.parametrize(("params", "title"), TITLES)
def test_name_and_hash_become_a_title(params: Any, title: str | None) -> None:
    payload = payload_of(params)
    assert payload["override_settings"].get("sd_model_checkpoint") == title
    assert not {"checkpoint_name", "sd_checkpoint", "model_hash", "hash"} & set(payload)
    if title and "[" in title:
        assert requested_hash(payload) == title[-11:-1]


def test_what_is_the_webuis_goes_on_and_what_is_missing_is_filled_in() -> None:
    own = {"enable_hr": True, "hr_scale": 1.5, "scheduler": "Karras", "init_images": ["x"], "seed": 0}
    payload = payload_of({**own, "prompt": "a", "sampler": "DPM++ 2M", "steps": "12", "width": None})
    assert {name: payload[name] for name in own} == own
    assert (payload["prompt"], payload["sampler_name"], payload["steps"]) == ("a", "DPM++ 2M", 12)
    assert (payload["width"], payload["height"], payload["cfg_scale"]) == (512, 512, 7)
    assert payload_of({"prompt": "a", "positive_prompt": "b"})["prompt"] == "b"
    assert payload_of({"prompt": "a", "positive_prompt": ""})["prompt"] == "a"


HUGE = int("9" * 400)
WRONG: list[dict[str, Any]] = [
    *({"steps": "many"}, {"seed": 1.5}, {"width": True}, {"cfg_scale": [7]}),
    *(
        {"seed": HUGE},
        {"cfg_scale": -HUGE},
        {"steps": 1e300},
        {"hr_scale": float("inf")},
        {"seed": float("nan")},
    ),
]


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_number_is_named_and_not_repeated(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError) as refused:
        payload_of(wrong)
    assert next(iter(wrong)) in refused.value.message
    assert "many" not in str(refused.value)


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    ["prompt", "positive_prompt", "steps", "seed", "checkpoint_name", "model_hash", "checkpoint", "sampler",
     "override_settings", "raw_generation_info", "width", "model_info", "other"]
)  # fmt: skip


@given(st.dictionaries(NAMES, ANY, max_size=6))
def test_anything_is_a_payload_or_refused_and_comes_back(params: dict[str, Any]) -> None:
    try:
        payload = payload_of(params)
    except InvalidValueError:
        return
    again = payload_of(params_of(payload))
    assert again == payload


def test_what_no_webui_knows_comes_back_to_the_old_client_and_keeps_the_job_from_no_server() -> None:
    params = {"positive_prompt": "a cat", "checkpoint_name": "base", "session_note": "x", "callback_url": "y"}
    payload = payload_of(params)
    assert payload["old_parameters"] == {"session_note": "x", "callback_url": "y"}
    assert [need.kind for need in capability_needs(payload)] == ["sampler"]
    assert {name: params_of(payload)[name] for name in params} == params
