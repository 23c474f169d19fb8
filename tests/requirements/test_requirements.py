"""Generation parameters -> requirements, compared with what the hosts themselves make of a prompt."""

from __future__ import annotations

import math
import re
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stablequeue_client.shared.generation.requirements import (
    EmbeddingNames,
    Requirement,
    can_be_written,
    checkpoint_parts,
    generation_requirements,
    prompt_requirements,
    without_comments,
)

from ..slowness import slowness
from .host_parser import lora_arguments, name_and_weight

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)
"""With lone surrogates, controls and everything else that JSON can carry."""
PIECES = st.sampled_from(
    ["<lora:", "<lyco:", "<hypernet:", ">", ":", "=", "te=", "dyn=8", "unet=0.5", "0.8", "1", "nan", "abc",
     "[", "]", "|", "BREAK", "(", ":1.2)", "\\(", "#", "\n", " ", "foo", "bar_v2", "{a|b}",
     "__x__", "ß", "\u202e"]
)  # fmt: skip
PROMPTS = st.one_of(ANY_TEXT, st.lists(PIECES, max_size=25).map("".join))


def loras(found: list[Requirement]) -> list[Requirement]:
    return [requirement for requirement in found if requirement.role == "lora"]


@given(PROMPTS)
@example("<lora:a=b:1>")
@example("<lora:te=1>")
@example("<lora::>")
@example("<lora:foo:>")
@example("<lora:foo:1:2:3:4>")
@example("<lora:foo:0.8:te=x:dyn=1.5>")
@example("[<lora:a:1>:<lora:b:0.5>:0.5] BREAK <lora:a:1>")
def test_every_lora_is_found_as_the_hosts_find_it(prompt: str) -> None:
    theirs = lora_arguments(prompt)
    ours = [found for found in loras(prompt_requirements(prompt, comments=False)) if found.tag == "lora"]
    assert len(ours) == len(theirs)
    for found, arguments in zip(ours, theirs, strict=True):
        try:
            name, weight = name_and_weight(arguments)
        except (ValueError, IndexError, OverflowError):
            assert found.mistake
            continue
        assert (found.name, found.mistake) == (name, "")
        assert found.weight == weight or (math.isnan(weight) and math.isnan(found.weight or 0))


@given(ANY_TEXT, st.floats(-5, 5))
def test_a_name_that_can_be_written_survives_the_round_trip(name: str, weight: float) -> None:
    if not can_be_written(name):
        return
    found = prompt_requirements(f"a cat, <lora:{name}:{weight}>, ((masterpiece))")
    assert [(r.name, r.weight, r.mistake) for r in found] == [(name, weight, "")]


@given(ANY_TEXT)
def test_a_name_that_cannot_be_written_does_not_survive(name: str) -> None:
    if not name or can_be_written(name):
        return
    found = prompt_requirements(f"<lora:{name}:1>")
    assert [r.name for r in found if not r.mistake] != [name]


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=12,
)
KEYS = ("prompt", "negative_prompt", "styles", "enable_hr", "hr_prompt", "hr_negative_prompt",
        "hr_checkpoint_name", "hr_additional_modules", "refiner_checkpoint", "override_settings")  # fmt: skip


@given(st.dictionaries(st.sampled_from(KEYS), JSON))
def test_nothing_that_a_browser_may_send_raises(values: dict[str, Any]) -> None:
    for requirement in generation_requirements(values, EmbeddingNames(["a", "easynegative"])):
        assert requirement.kinds


def test_everything_that_names_a_model_is_found() -> None:
    found = generation_requirements(
        {
            "prompt": "cat <lora:foo:0.8> easynegative",
            "negative_prompt": "<lora:neg:1>, (EasyNegative:1.2)",
            "styles": [("{prompt}, <lora:styled:1>", "<lora:unstyled:1>")],
            "enable_hr": True,
            "hr_prompt": "<lora:high:1>",
            "hr_negative_prompt": "",
            "hr_checkpoint_name": "sub/high.safetensors [0123456789]",
            "hr_additional_modules": ["Use same choices"],
            "refiner_checkpoint": "fine.safetensors",
            "override_settings": {
                "sd_model_checkpoint": "base.safetensors",
                "sd_vae": "Automatic",
                "forge_additional_modules": ["/models/VAE/ae.safetensors", "clip_l.safetensors"],
                "sd_lora": "None",
            },
        },
        EmbeddingNames(["EasyNegative"]),
    )
    assert [(r.role, r.name, r.where) for r in found] == [
        ("checkpoint", "base.safetensors", "setting"),
        ("module", "ae.safetensors", "setting"),
        ("module", "clip_l.safetensors", "setting"),
        ("hires_checkpoint", "sub/high.safetensors [0123456789]", "setting"),
        ("refiner", "fine.safetensors", "setting"),
        ("lora", "foo", "prompt"),
        ("embedding", "EasyNegative", "prompt"),
        ("lora", "neg", "negative"),
        ("embedding", "EasyNegative", "negative"),
        ("lora", "styled", "style"),
        ("lora", "unstyled", "negative_style"),
        ("lora", "high", "hires_prompt"),
    ]
    assert found[3].hash == "0123456789"


def test_what_hires_fix_names_counts_only_while_it_is_on() -> None:
    values = {"enable_hr": False, "hr_checkpoint_name": "high", "hr_prompt": "<lora:high:1>"}
    assert generation_requirements(values) == []


@pytest.mark.parametrize("word", ["", "None", "Automatic", "Use same checkpoint"])
def test_no_other_checkpoint_is_no_requirement(word: str) -> None:
    assert generation_requirements({"refiner_checkpoint": word, "override_settings": {"sd_vae": word}}) == []


@pytest.mark.parametrize("piece", ["<lora:", "<lora:a", "<lora:{", "<lora:a>{", "{", "emb-", "(", "\n#"])
def test_a_long_text_of_beginnings_does_not_hold_up_the_webui(piece: str) -> None:
    embeddings = EmbeddingNames(["emb one", "a-b"])
    before = time.process_time()
    found = prompt_requirements(piece * 20_000, embeddings=embeddings)
    assert not any(requirement.is_filled_in for requirement in found)
    assert not Requirement("lora", piece * 20_000).is_filled_in
    assert time.process_time() - before < 2 * slowness()


def test_comments_name_nothing_unless_the_host_keeps_them() -> None:
    prompt = "cat # <lora:no:1>\n<lora:yes:1>\n#<lora:nor:1>"
    assert [r.name for r in prompt_requirements(prompt)] == ["yes"]
    kept = {"prompt": prompt, "override_settings": {"enable_prompt_comments": False}}
    assert [r.name for r in generation_requirements(kept)] == ["no", "yes", "nor"]


@given(PROMPTS)
def test_comments_end_where_the_hosts_end_them(prompt: str) -> None:
    theirs = re.sub("(^|\n)#[^\n]*(\n|$)", "\n", prompt)
    assert without_comments(prompt) == re.sub("#[^\n]*(\n|$)", "\n", theirs)


def test_other_networks_and_braces_of_other_extensions_are_left_alone() -> None:
    assert prompt_requirements("<hypernet:foo:1> {a|b} __animals__ <lora> < lora:x:1> a<b:c") == []
    template = prompt_requirements("<lora:{foo|bar}:1>")[0]
    assert template.is_filled_in
    assert not prompt_requirements("<lora:my__lora_v1:1>")[0].is_filled_in


@pytest.mark.parametrize(
    ("prompt", "names"),
    [
        ("a EASYNEGATIVE b", ["EasyNegative"]),
        ("(bad-hands-5:1.3), EasyNegative", ["bad-hands-5", "EasyNegative"]),
        ("xEasyNegative EasyNegative2", ["EasyNegative"]),
        ("xEasyNegative EasyNegatives", []),
        ("EasyNegativeV2", ["EasyNegativeV2"]),
        ("EasyNegative-V2", ["EasyNegative"]),
        ("<lora:EasyNegative:1>", []),
        ("bad-hands-55 bad-hands-6", ["bad-hands-5"]),
    ],
)
def test_embeddings_count_where_their_tokens_stand(prompt: str, names: list[str]) -> None:
    known = EmbeddingNames(["EasyNegative", "EasyNegativeV2", "bad-hands-5"])
    found = prompt_requirements(prompt, embeddings=known)
    assert [r.name for r in found if r.role == "embedding"] == names


@given(st.lists(ANY_TEXT, max_size=5), ANY_TEXT)
def test_any_embedding_name_is_harmless(names: list[str], prompt: str) -> None:
    assert set(EmbeddingNames(names).find(prompt)) <= set(names)


def test_a_title_is_taken_apart() -> None:
    assert checkpoint_parts("a/b.safetensors [31e35c80fc]") == ("a/b.safetensors", "31e35c80fc")
    assert checkpoint_parts("a.safetensors [31E35C80FC]") == ("a.safetensors", "31e35c80fc")
    assert checkpoint_parts("brackets [v2].safetensors") == ("brackets [v2].safetensors", None)
