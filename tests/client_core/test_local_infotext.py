"""A text from another server, as this WebUI reads it."""

from __future__ import annotations

import pytest

from stablequeue_client.shared.generation.name_translation import Renaming
from stablequeue_client.webui.tab.local_infotext import local_text

FORGE = (
    "a boat <lora:film_grain:0.8>, dots\n"
    "Negative prompt: ugly\n"
    "Steps: 3, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7.0, Seed: 5, Size: 64x64, "
    'Model hash: c96cab1bb3, Model: one, Lora hashes: "film_grain: ec7bca6a4ce0, other: 123456789abc"'
)
CLASSIC_SAMPLERS = ("DPM++ 2M", "DPM++ 2M Karras", "Euler a")
FORGE_SAMPLERS = ("DPM++ 2M", "Euler a")
RENAMED = (
    Renaming("checkpoint", "one", "uno"),
    Renaming("lora", "film_grain", "korn"),
    Renaming("embedding", "dots", "points"),
)


def test_models_get_their_names_here_in_the_prompt_and_in_the_list_of_hashes() -> None:
    assert local_text(FORGE, RENAMED, FORGE_SAMPLERS) == FORGE.replace("film_grain", "korn").replace(
        "dots", "points"
    ).replace("Model: one", "Model: uno")


def test_sampler_and_schedule_become_the_one_name_where_they_are_one() -> None:
    found = local_text(FORGE, (), CLASSIC_SAMPLERS)
    assert found == FORGE.replace("DPM++ 2M, Schedule type: Karras", "DPM++ 2M Karras")


@pytest.mark.parametrize(
    ("pair", "name"),
    [
        ("DPM++ 2M, Schedule type: Automatic", "DPM++ 2M Karras"),
        ("Euler a, Schedule type: Automatic", "Euler a, Schedule type: Automatic"),
        ("DPM++ 2M, Schedule type: Beta", "DPM++ 2M, Schedule type: Beta"),
    ],
)
def test_automatic_is_what_it_is_for_the_sampler(pair: str, name: str) -> None:
    text = FORGE.replace("DPM++ 2M, Schedule type: Karras", pair)
    assert local_text(text, (), CLASSIC_SAMPLERS) == text.replace(pair, name)


def test_hires_has_a_pair_of_its_own() -> None:
    text = f"{FORGE}, Hires sampler: DPM++ 2M, Hires schedule type: Karras"
    found = local_text(text, (), CLASSIC_SAMPLERS)
    assert found.endswith(", Hires sampler: DPM++ 2M Karras")
    assert "Sampler: DPM++ 2M Karras, CFG scale" in found


@pytest.mark.parametrize("text", ["", "a boat <lora:film_grain:0.8>", "a\nb", "Steps: 3, Seed: 4"])
def test_what_is_no_generation_text_stays(text: str) -> None:
    assert local_text(text, RENAMED, CLASSIC_SAMPLERS) == text


def test_a_prompt_that_speaks_of_settings_is_not_touched() -> None:
    text = "Sampler: DPM++ 2M, Schedule type: Karras # <lora:film_grain:1>\n" + FORGE
    found = local_text(text, RENAMED, CLASSIC_SAMPLERS).split("\n")
    assert found[0] == "Sampler: DPM++ 2M, Schedule type: Karras # <lora:korn:1>"
    assert "Sampler: DPM++ 2M Karras" in found[-1]
