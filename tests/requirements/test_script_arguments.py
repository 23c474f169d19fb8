"""Models in the arguments of scripts: found, and written with another server's names."""

from __future__ import annotations

import copy
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stablequeue_client.shared.generation.capability_needs import capability_needs
from stablequeue_client.shared.generation.name_translation import Renaming, translated
from stablequeue_client.shared.generation.requirements import EmbeddingNames, generation_requirements

from ..slowness import slowness

FROM_FILE = "Prompts from file or textbox"
FLAGS = [True, False, False, False, False, False, False, 0]


def plot(*axes: tuple[str, str, list[str]], csv_mode: bool = False, **more: Any) -> dict[str, Any]:
    """A payload of X/Y/Z plot as the Queue button makes it. An axis: kind, text, list."""
    filled = [*axes, *[("Nothing", "", [])] * (3 - len(axes))]
    args = [part for number, (_, text, listed) in enumerate(filled) for part in (number, text, list(listed))]
    words = {str(3 * number): kind for number, (kind, _, _) in enumerate(filled)}
    return {
        "prompt": "a cat <lora:ink:1>",
        "script_name": "X/Y/Z plot",
        "script_args": [*args, *FLAGS, csv_mode],
        "script_choices": {"X/Y/Z plot": words},
        **more,
    }


def adetailer(*units: Any, on: bool = True) -> dict[str, Any]:
    return {"prompt": "x", "alwayson_scripts": {"ADetailer": {"args": [on, False, *units]}}}


UNIT = {
    "ad_model": "face.pt",
    "ad_prompt": "<lora:soft:0.7> face, easynegative",
    "ad_negative_prompt": "<lora:neg:1>",
    "ad_use_checkpoint": True,
    "ad_checkpoint": "b.safetensors [0123456789]",
    "ad_use_vae": True,
    "ad_vae": "ae.safetensors",
}


def named(payload: dict[str, Any]) -> set[tuple[str, str, str]]:
    names = EmbeddingNames(["easynegative"])
    return {(one.role, one.name, one.where) for one in generation_requirements(payload, names)}


INK = ("lora", "ink", "prompt")


@pytest.mark.parametrize(
    ("payload", "found"),
    [
        (
            plot(("Checkpoint name", "left over", ["a.safetensors", "b.safetensors [0123456789]"])),
            {
                INK,
                ("checkpoint", "a.safetensors", "axis"),
                ("checkpoint", "b.safetensors [0123456789]", "axis"),
            },
        ),
        (
            plot(("Seed", "1,2", []), ("Checkpoint name", 'a, "b, c"', ["left over"]), csv_mode=True),
            {INK, ("checkpoint", "a", "axis"), ("checkpoint", "b, c", "axis")},
        ),
        (
            plot(("VAE", "", ["None", "ae.safetensors"]), ("Refiner checkpoint", "", ["None", "r"])),
            {INK, ("vae", "ae.safetensors", "axis"), ("refiner", "r", "axis")},
        ),
        (
            plot(("Prompt S/R", "ink, oil, wash", [])),
            {INK, ("lora", "oil", "script"), ("lora", "wash", "script")},
        ),
        (
            plot(("Prompt S/R", "<lora:ink:1>, <lora:oil:0.5>, no style", [])),
            {INK, ("lora", "oil", "script")},
        ),
        (plot(("Prompt S/R", "", []), ("Checkpoint name", "a", [])), {INK}),
        (
            adetailer(UNIT),
            {
                ("lora", "soft", "script"),
                ("lora", "neg", "negative"),
                ("embedding", "easynegative", "script"),
                ("checkpoint", "b.safetensors [0123456789]", "script"),
                ("vae", "ae.safetensors", "script"),
            },
        ),
        (adetailer(UNIT, on=False), set()),
        (adetailer({**UNIT, "ad_model": "None"}, {**UNIT, "ad_tab_enable": False}), set()),
        (
            adetailer({**UNIT, "ad_use_checkpoint": False, "ad_prompt": "", "ad_vae": "Use same VAE"}),
            {("lora", "neg", "negative")},
        ),
        (
            {"script_name": FROM_FILE, "script_args": [False, "a <lora:x:1>\n<lora:y:1>"]},
            {("lora", "x", "script"), ("lora", "y", "script")},
        ),
    ],
)  # fmt: skip
def test_what_the_arguments_of_a_known_script_name_is_asked_for(
    payload: dict[str, Any], found: set[tuple[str, str, str]]
) -> None:
    assert named(payload) == found


RENAMINGS = [
    Renaming("checkpoint", "a.safetensors", "there/a2.safetensors"),
    Renaming("checkpoint", "b.safetensors [0123456789]", "b, new.safetensors"),
    Renaming("vae", "ae.safetensors", "ae2.safetensors"),
    Renaming("lora", "ink", "tusche"),
    Renaming("lora", "soft", "weich"),
    Renaming("lora", "oil", "öl"),
]


def test_an_axis_is_written_with_the_names_there() -> None:
    payload = plot(
        ("Checkpoint name", "a.safetensors", ["a.safetensors", "b.safetensors [0123456789]"]),
        ("VAE", "", ["None", "ae.safetensors"]),
        ("Prompt S/R", "ink,oil,<lora:oil:1>", []),
    )
    before = copy.deepcopy(payload)
    found, used = translated(payload, RENAMINGS)
    assert payload == before
    assert found["prompt"] == "a cat <lora:tusche:1>"
    assert found["script_args"][:9] == [
        *(0, "a.safetensors", ["there/a2.safetensors", "b, new.safetensors"]),
        *(1, "", ["None", "ae2.safetensors"]),
        *(2, "tusche,öl,<lora:öl:1>", []),
    ]
    assert found["script_args"][9:] == payload["script_args"][9:]
    assert {one.name for one in used} == {one.name for one in RENAMINGS} - {"weich"}


def test_an_axis_in_text_stays_one_value_each() -> None:
    payload = plot(("Checkpoint name", "a.safetensors, b.safetensors [0123456789]", []), csv_mode=True)
    found, _ = translated(payload, RENAMINGS)
    assert found["script_args"][1] == 'there/a2.safetensors,"b, new.safetensors"'
    same, _ = translated(payload, [Renaming("checkpoint", "x", "y")])
    assert same == payload


def test_units_of_adetailer_are_written_with_the_names_there() -> None:
    payload = adetailer(UNIT, {"ad_model": "None", "ad_prompt": "<lora:soft:1>"})
    found, _ = translated(payload, RENAMINGS)
    on, off = found["alwayson_scripts"]["ADetailer"]["args"][2:]
    assert on == {
        **UNIT,
        "ad_prompt": "<lora:weich:0.7> face, easynegative",
        "ad_checkpoint": "b, new.safetensors",
        "ad_vae": "ae2.safetensors",
    }
    assert off["ad_prompt"] == "<lora:soft:1>"


@pytest.mark.parametrize(
    ("payload", "titles"),
    [
        ({"alwayson_scripts": {"Regions": {"args": [True, {"a": ["x <lora:ink:1>"]}]}}}, ["Regions"]),
        ({"alwayson_scripts": {"Other": {"args": ["style.safetensors [0123456789]"]}}}, ["Other"]),
        ({"alwayson_scripts": {"Other": {"args": [1, "words", None]}}}, []),
        ({"script_name": "Mine", "script_args": ["model.ckpt"]}, ["Mine"]),
        ({"script_name": "X/Y/Z plot", "script_args": [14, "", ["a.safetensors"]]}, ["X/Y/Z plot"]),
        (plot(("Checkpoint name", "", ["a.safetensors"])), []),
        (adetailer(UNIT), []),
        ({"alwayson_scripts": {"ControlNet": {"args": [{"model": "c.safetensors"}]}}}, []),
    ],
)
def test_an_unknown_script_that_names_models_is_named_as_not_checked(
    payload: dict[str, Any], titles: list[str]
) -> None:
    assert [one.name for one in capability_needs(payload) if one.kind == "script_models"] == titles


WORDS = ["a", '"', "ADetailer", "<lora:x:1>", "a,b\n", "Checkpoint name", "Prompt S/R"]
KEYS = ["args", "ad_model", "ad_prompt", "0"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(WORDS),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=12,
)


@given(VALUES, VALUES, VALUES, st.sampled_from(["X/Y/Z plot", "ADetailer", FROM_FILE]))
def test_no_form_of_arguments_raises(always: Any, args: Any, words: Any, title: str) -> None:
    payload = {
        "alwayson_scripts": {title: always, "ADetailer": {"args": always}},
        "script_name": title,
        "script_args": args,
        "script_choices": {title: words},
    }
    generation_requirements(payload)
    capability_needs(payload)
    translated(payload, RENAMINGS)


def test_a_hostile_axis_costs_little() -> None:
    started = time.process_time()
    for prompt, axis in (
        ("a" * 1_000_000, "a," + "b" * 100_000),
        ("x <lora:a:1>" * 80_000, "a" + ",b" * 900),
    ):
        payload = plot(("Prompt S/R", axis, [])) | {"prompt": prompt}
        generation_requirements(payload)
        translated(payload, RENAMINGS)
    assert time.process_time() - started < 8 * slowness()


def test_a_plot_of_many_words_finds_each_lora() -> None:
    axis = ",".join(["ink", *(f"style{number}" for number in range(150))])
    assert len(named(plot(("Prompt S/R", axis, [])))) == 151
