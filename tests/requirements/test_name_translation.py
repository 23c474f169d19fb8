"""A job's payload with one server's names -> the same with another server's."""

from __future__ import annotations

import copy
import json
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stablequeue_client.shared.generation.name_translation import Renaming, _places, translated
from stablequeue_client.shared.generation.requirements import (
    EmbeddingNames,
    can_be_written,
    generation_requirements,
    prompt_requirements,
)
from stablequeue_client.shared.model_files.roles import KINDS_OF

from ..slowness import slowness

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)
PIECES = st.sampled_from(
    ["<lora:", "<lyco:", "<hypernet:", ">", ":", "=", "te=", "dyn=8", "unet=0.5", "0.8", "1", "abc", "[", "]",
     "|", "BREAK", "(", ":1.2)", "#", "\n", " ", "foo", "bar_v2", "{a|b}", "\u0130", "easy", "-x", "\u202e"]
)  # fmt: skip
PROMPTS = st.one_of(ANY_TEXT, st.lists(PIECES, max_size=25).map("".join))
NAMES = st.one_of(st.sampled_from(["foo", "bar_v2", "abc", "0.8", "easy", "easy-x", "None", ""]), ANY_TEXT)
RENAMINGS = st.lists(st.builds(Renaming, st.sampled_from(list(KINDS_OF)), NAMES, NAMES), max_size=6)


def lora(written: str, name: str) -> Renaming:
    return Renaming("lora", written, name)


def prompt(text: str, *renamings: Renaming) -> str:
    return str(translated({"prompt": text}, renamings)[0]["prompt"])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<lora:foo:0.8>", "<lora:new:0.8>"),
        ("<lyco:foo:1>", "<lyco:new:1>"),
        ("<LORA:foo>", "<LORA:new>"),
        ("<lora:foo:0.80:1.0:te=0.5:lbw=1,0,0,foo>", "<lora:new:0.80:1.0:te=0.5:lbw=1,0,0,foo>"),
        ("<lora:te=0.5:foo:1>", "<lora:te=0.5:new:1>"),
        ("<lora:foo:foo>", "<lora:new:foo>"),
        ("[<lora:foo:1>:<lora:foo:0.5>:0.5] BREAK", "[<lora:new:1>:<lora:new:0.5>:0.5] BREAK"),
        ("foo <lora:foobar:1> <lora:Foo:1> <hypernet:foo:1>", None),
        ("<lora: foo:1> < lora:foo:1> <lora:foo:1", None),
        ("cat # <lora:foo:1>\n#<lora:foo:1>", None),
        ("#>\n<lora:#:foo>\nfoo:1> <lora:foo:1>", "#>\n<lora:#:foo>\nfoo:1> <lora:new:1>"),
        ("<lora:fo#x\no:1> <lora:foo#c\n:1>", None),
        ("<lora:foo:#c>\n1>", "<lora:new:#c>\n1>"),
    ],
)
def test_a_lora_is_renamed_where_the_hosts_read_its_name(before: str, after: str | None) -> None:
    done, changes = translated({"prompt": before}, [lora("foo", "new")])
    assert done == {"prompt": before if after is None else after}
    assert changes == (() if after is None else (lora("foo", "new"),))


def test_comments_that_the_host_keeps_are_read_too() -> None:
    payload = {"prompt": "# <lora:foo:1>", "override_settings": {"enable_prompt_comments": False}}
    assert translated(payload, [lora("foo", "new")])[0]["prompt"] == "# <lora:new:1>"


def test_names_can_change_places() -> None:
    done = prompt("<lora:a:1><lora:b:2><lora:a:3>", lora("a", "b"), lora("b", "a"))
    assert done == "<lora:b:1><lora:a:2><lora:b:3>"
    swapped = [Renaming("embedding", "a", "b"), Renaming("embedding", "b", "a")]
    assert prompt("a, (B:1.2), a", *swapped) == "b, (a:1.2), b"


def test_every_place_that_names_a_model_is_translated() -> None:
    renamings = [
        Renaming("checkpoint", "old/base.safetensors [0123456789]", "base.safetensors [0123456789]"),
        Renaming("hires_checkpoint", "high", "sub/high.safetensors"),
        Renaming("refiner", "fine", "finer.safetensors"),
        Renaming("vae", "v.pt", "v.safetensors"),
        Renaming("module", "ae.safetensors", "flux-ae.safetensors"),
        Renaming("lora", "foo", "bar"),
        Renaming("embedding", "EasyNegative", "easy_negative"),
    ]
    payload = {
        "prompt": "cat <lora:foo:0.8> easynegative",
        "negative_prompt": "<lora:foo:1>, (EasyNegative:1.2)",
        "styles": [["{prompt}, <lora:foo:1>", "<lora:foo:1>"], "foo"],
        "enable_hr": True,
        "hr_prompt": "<lora:foo:1>",
        "hr_negative_prompt": "EASYNEGATIVE",
        "hr_checkpoint_name": "high",
        "hr_additional_modules": ["ae.safetensors", "Use same choices"],
        "refiner_checkpoint": "fine",
        "override_settings": {
            "sd_model_checkpoint": "old/base.safetensors [0123456789]",
            "sd_vae": "v.pt",
            "forge_additional_modules": ["C:\\models\\VAE\\ae.safetensors", "clip_l.safetensors"],
            "sd_lora": "foo",
            "CLIP_stop_at_last_layers": 2,
        },
        "steps": 20,
    }
    before = copy.deepcopy(payload)
    done, changes = translated(payload, renamings)
    assert payload == before
    assert changes == tuple(renamings)
    assert list(done) == list(payload)
    assert done == {
        "prompt": "cat <lora:bar:0.8> easy_negative",
        "negative_prompt": "<lora:bar:1>, (easy_negative:1.2)",
        "styles": [["{prompt}, <lora:bar:1>", "<lora:bar:1>"], "foo"],
        "enable_hr": True,
        "hr_prompt": "<lora:bar:1>",
        "hr_negative_prompt": "easy_negative",
        "hr_checkpoint_name": "sub/high.safetensors",
        "hr_additional_modules": ["flux-ae.safetensors", "Use same choices"],
        "refiner_checkpoint": "finer.safetensors",
        "override_settings": {
            "sd_model_checkpoint": "base.safetensors [0123456789]",
            "sd_vae": "v.safetensors",
            "forge_additional_modules": ["flux-ae.safetensors", "clip_l.safetensors"],
            "sd_lora": "bar",
            "CLIP_stop_at_last_layers": 2,
        },
        "steps": 20,
    }


def test_the_role_decides_which_place_is_renamed() -> None:
    payload = {"refiner_checkpoint": "a", "hr_checkpoint_name": "a", "override_settings": {"sd_vae": "a"}}
    done, changes = translated(payload, [Renaming("refiner", "a", "b"), lora("a", "c")])
    assert done == {**payload, "refiner_checkpoint": "b"}
    assert changes == (Renaming("refiner", "a", "b"),)


@pytest.mark.parametrize("word", ["", "None", "Automatic", "Built in"])
def test_the_word_for_no_other_one_is_no_name(word: str) -> None:
    payload = {"override_settings": {"sd_lora": word, "sd_vae": word}}
    renamings = [lora(word, "new"), Renaming("vae", word, "new")]
    assert translated(payload, renamings) == (payload, ())


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("(bad-hands-5:1.3), bad-hands-5", "(hands:1.3), hands"),
        ("xbad-hands-5 bad-hands-6", None),
        ("bad-hands-55 bad-hands-5x bad-hands-5's", "hands5 hands x hands's"),
        ("bad-hands-5-neg", None),  # the longer one, which keeps its name
        ("<lora:bad-hands-5:1> # bad-hands-5", None),
        ("\u0130\u0130 BAD-hands-5", "\u0130\u0130 hands"),
    ],
)
def test_an_embedding_is_renamed_where_its_tokens_stand(before: str, after: str | None) -> None:
    keeps = Renaming("embedding", "bad-hands-5-neg", "bad-hands-5-neg")
    done = prompt(before, Renaming("embedding", "bad-hands-5", "hands"), keeps)
    assert done == (before if after is None else after)


def test_a_part_of_one_letter_is_not_renamed() -> None:
    assert prompt("\u0130", Renaming("embedding", "i", "new")) == "\u0130"


@pytest.mark.parametrize("name", ["", "a:b", "a>b", "a#b", "a=b"])
def test_a_name_that_cannot_be_written_changes_nothing_in_a_prompt(name: str) -> None:
    payload = {"prompt": "<lora:foo:1>"}
    assert translated(payload, [lora("foo", name)]) == (payload, ())


def test_of_two_renamings_of_one_name_the_first_counts() -> None:
    done, changes = translated({"prompt": "<lora:a:1>"}, [lora("a", "b"), lora("a", "c")])
    assert (done, changes) == ({"prompt": "<lora:b:1>"}, (lora("a", "b"),))


@given(PROMPTS, st.dictionaries(NAMES, NAMES.filter(can_be_written), max_size=4), st.booleans())
@example("<lora:foo#\n:1>", {"foo\n\n": "x", "foo\n": "y"}, True)
def test_only_the_names_differ_in_what_a_prompt_requires(
    text: str, names: dict[str, str], comments: bool
) -> None:
    names = {old: new for old, new in names.items() if old and "\n" not in old}
    payload = {"prompt": text, "override_settings": {"enable_prompt_comments": comments}}
    done, changes = translated(payload, [lora(old, new) for old, new in names.items()])
    before = prompt_requirements(text, comments=comments)
    after = prompt_requirements(done["prompt"], comments=comments)
    assert [repr((names.get(r.name, r.name), r.options, r.weight, r.mistake, r.tag)) for r in before] == [
        repr((r.name, r.options, r.weight, r.mistake, r.tag)) for r in after
    ]
    assert {c.written for c in changes} == {r.name for r in before if names.get(r.name, r.name) != r.name}


@given(st.lists(NAMES, max_size=5), PROMPTS)
def test_embeddings_are_looked_for_as_in_requirements(names: list[str], text: str) -> None:
    found = [name for _, _, name in _places(EmbeddingNames(names), text)]
    assert set(found) <= set(EmbeddingNames(names).find(text))
    if len(text) == len(text.lower()):
        assert list(dict.fromkeys(found)) == EmbeddingNames(names).find(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | PROMPTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=12,
)
SETTINGS = ("sd_model_checkpoint", "sd_vae", "forge_additional_modules", "sd_lora", "enable_prompt_comments")
KEYS = ("prompt", "negative_prompt", "styles", "enable_hr", "hr_prompt", "hr_negative_prompt",
        "hr_checkpoint_name", "hr_additional_modules", "refiner_checkpoint")  # fmt: skip
PAYLOADS = st.builds(
    lambda values, settings: {**values, **settings},
    st.dictionaries(st.sampled_from([*KEYS, "steps"]), JSON),
    st.fixed_dictionaries(
        {}, optional={"override_settings": st.dictionaries(st.sampled_from(SETTINGS), JSON) | JSON}
    ),
)


@given(PAYLOADS, RENAMINGS)
def test_nothing_that_a_browser_may_send_raises_or_is_changed(
    payload: dict[str, Any], renamings: list[Renaming]
) -> None:
    before = json.dumps(payload)
    done, changes = translated(payload, renamings)
    assert json.dumps(payload) == before
    assert list(done) == list(payload)
    assert set(changes) <= set(renamings)
    if not changes:
        assert json.dumps(done) == before
    generation_requirements(done)


@given(PAYLOADS, st.lists(NAMES, max_size=5))
def test_renaming_to_the_same_name_changes_nothing(payload: dict[str, Any], names: list[str]) -> None:
    same = [Renaming(role, name, name) for role in KINDS_OF for name in names if role != "embedding"]
    done, changes = translated(payload, same)
    assert (json.dumps(done), changes) == (json.dumps(payload), ())


@pytest.mark.parametrize(
    "piece", ["<lora:", "<lora:a", "<lora:a>", ":", "a/", "emb-", "emb ", "(", "\n#", "="]
)
def test_a_long_text_does_not_hold_up_the_server(piece: str) -> None:
    renamings = [lora("a", "b"), Renaming("embedding", "emb one", "x"), Renaming("embedding", "a-b", "y")]
    before = time.process_time()
    text = piece * 20_000
    settings = {"sd_vae": text, "sd_lora": text, "sd_model_checkpoint": text}
    translated({"prompt": text, "hr_prompt": f"<lora:{text}>", "override_settings": settings}, renamings)
    assert time.process_time() - before < 2 * slowness()
