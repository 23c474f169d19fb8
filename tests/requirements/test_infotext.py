"""Generation texts as WebUIs and Civitai write them, and what may stand in their place."""

from __future__ import annotations

import hashlib
import json
import re
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stablequeue_client.shared.generation.infotext import (
    LISTED_MAX,
    HashMention,
    Infotext,
    infotext_hashes,
    left_out,
    parse_infotext,
    payload_from_infotext,
    quoted,
    requirements_with_hashes,
)
from stablequeue_client.shared.generation.infotext_settings import not_taken_over, option_settings
from stablequeue_client.shared.generation.requirements import Requirement, generation_requirements
from stablequeue_client.shared.model_files.model_file import name_digest

from ..slowness import slowness

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=80)
PIECES = st.sampled_from(
    ["Steps: 20", ", ", ",", ":", '"', "\\", "\n", "Negative prompt:", "Size: 512x512", "Seed: 1",
     "Sampler: a", "Hashes: {", "Civitai resources: [", "}", "]", "[[", "{}", "Model: x", "Model hash: ",
     "31e35c80fc", " ", "Lora hashes: \"", "a: 1", "-", "/", "Hires upscale: 2",
     "Module 1: a", "\t", "\r", "ß", "\ud800"]
)  # fmt: skip
TEXTS = st.one_of(ANY_TEXT, st.lists(PIECES, max_size=40).map("".join))

FORGE = """a cat in a hat, <lora:fur_v1.0:0.8>
second line, (masterpiece:1.2)

fourth line
Negative prompt: blurry, <lora:neg:1>
lowres
Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 965400086, Size: 512x768, \
Model hash: 31E35C80FC, Model: sd_xl_base_1.0, Variation seed: 5, Variation seed strength: 0.25, \
Denoising strength: 0.4, Clip skip: 2, Hires Module 1: Use same choices, \
Hires checkpoint: fine [0123456789], Hires prompt: "a cat, \\"sharp\\": really\\nsharp", \
Hires upscale: 1.5, Hires steps: 10, Hires upscaler: 4x-UltraSharp, \
Lora hashes: "fur_v1.0: 9a7f1cdb3ab4, neg: e3b0c44298fc", \
Refiner: sd_xl_refiner_1.0 [7440042bbd], Refiner switch at: 0.8, Module 1: ae, Module 2: clip_l, \
Version: f2.0.1v1.10.1-previous-664-gd557aef9"""

CIVITAI_EXTENSION = """a cat
Steps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7.5, Seed: 1, Size: 512x512, Model: base, \
VAE hash: 235745AF8D, VAE: vae-ft-mse.safetensors, TI hashes: "EasyNegative: c74b4e810b03", \
Hashes: {"model": "6ce0161689", "vae": "235745af8d", "lora:a,b: c": "0123456789", \
"embed:EasyNegative": "c74b4e810b", "hypernet:x": "0123456789"}, Version: v1.6.0"""

CIVITAI_SITE = """a cat
Steps: 25, Sampler: Undefined, CFG scale: 3.5, Seed: 2, Size: 832x1216, \
Created Date: 2024-11-02T10:11:12.123Z, \
Civitai resources: [{"type":"checkpoint","modelVersionId":691639,"modelName":"FLUX, the one"}], \
Civitai metadata: {"remixOfId":1}"""

OF_2022 = """a castle
Steps: 30, Sampler: Euler a, CFG scale: 11, Seed: 3, Size: 1024x1024, Model hash: 7460a6fa, \
Denoising strength: 0.7, First pass size: 512x512"""


def test_the_parts_of_a_text_of_forge() -> None:
    found = parse_infotext(FORGE)
    assert found.prompt == (
        "a cat in a hat, <lora:fur_v1.0:0.8>\nsecond line, (masterpiece:1.2)\n\nfourth line"
    )
    assert found.negative_prompt == "blurry, <lora:neg:1>\nlowres"
    assert found.settings["Hires prompt"] == 'a cat, "sharp": really\nsharp'
    assert found.settings["Lora hashes"] == "fur_v1.0: 9a7f1cdb3ab4, neg: e3b0c44298fc"
    assert found.settings["Version"] == "f2.0.1v1.10.1-previous-664-gd557aef9"


def test_the_payload_of_a_text_of_forge() -> None:
    found = payload_from_infotext(parse_infotext(FORGE))
    assert found["prompt"].startswith("a cat in a hat")
    assert found["negative_prompt"].endswith("lowres")
    del found["prompt"], found["negative_prompt"], found["default_settings"]
    assert found == {
        "sampler_name": "DPM++ 2M",
        "scheduler": "Karras",
        "steps": 20,
        "cfg_scale": 7.0,
        "seed": 965400086,
        "width": 512,
        "height": 768,
        "subseed": 5,
        "subseed_strength": 0.25,
        "denoising_strength": 0.4,
        "enable_hr": True,
        "hr_checkpoint_name": "fine [0123456789]",
        "hr_prompt": 'a cat, "sharp": really\nsharp',
        "hr_scale": 1.5,
        "hr_second_pass_steps": 10,
        "hr_upscaler": "4x-UltraSharp",
        "hr_additional_modules": ["Use same choices"],
        "refiner_checkpoint": "sd_xl_refiner_1.0 [7440042bbd]",
        "refiner_switch_at": 0.8,
        "override_settings": {
            "sd_model_checkpoint": "sd_xl_base_1.0 [31e35c80fc]",
            "CLIP_stop_at_last_layers": 2,
            "forge_additional_modules": ["ae", "clip_l"],
        },
    }


def test_settings_that_change_the_picture_become_override_settings() -> None:
    said = {
        "RNG": "NV", "ENSD": "31337", "Eta DDIM": "0.25", "Token merging ratio": "0.5", "NGMS": "1.5",
        "Pad conds": "True", "UniPC lower order final": "False", "Emphasis": "No norm", "Clip skip": "2",
        "Sigma churn": "much", "Pad conds v0": "perhaps", "UniPC order": "3.5",
    }  # fmt: skip
    assert option_settings(said) == {
        "randn_source": "NV",
        "eta_noise_seed_delta": 31337,
        "eta_ddim": 0.25,
        "token_merging_ratio": 0.5,
        "s_min_uncond": 1.5,
        "pad_cond_uncond": True,
        "uni_pc_lower_order_final": False,
        "emphasis": "No norm",
        "CLIP_stop_at_last_layers": 2,
    }


@pytest.mark.parametrize("text", [FORGE, CIVITAI_EXTENSION])
def test_of_what_the_webui_itself_writes_nothing_is_left_out(text: str) -> None:
    assert not_taken_over(parse_infotext(text).settings) == []


def test_what_nothing_stands_for_is_named_in_the_order_of_the_text() -> None:
    text = "a cat\nSteps: 20, ADetailer model: face.pt, Module 1: ae, Init image hash: 00ff, RNG: CPU"
    assert not_taken_over(parse_infotext(text).settings) == ["ADetailer model", "Init image hash"]


def test_models_that_civitai_names_by_its_numbers_are_named_as_left_out() -> None:
    text = """a tin robot
Steps: 30, Sampler: DPM++ 2M Karras, CFG scale: 6, Seed: 3, Size: 832x1216, Clip skip: 2, \
Civitai resources: [{"type":"checkpoint","modelVersionId":290640,"modelName":"Base, XL"},\
{"type":"lora","weight":0.4,"modelVersionId":135867,"modelName":"Tin toys"},\
{"type":"embed","modelVersionId":380277}], \
Civitai metadata: {}"""
    assert left_out(parse_infotext(text)) == [
        "Civitai: checkpoint Base, XL (version 290640)",
        "Civitai: lora Tin toys (version 135867)",
        "Civitai: embed (version 380277)",
    ]


@pytest.mark.parametrize("value", ["[1, 2]", "{}", "[{", "[]", "3", "[" * 5000])
def test_resources_in_another_form_are_named_as_a_whole(value: str) -> None:
    assert not_taken_over({"Civitai resources": value})


def test_the_numbers_of_civitai_s_flux_are_mended_as_forge_does() -> None:
    text = """a tin robot
Steps: 28, CFG scale: 3.5, Sampler: Undefined, Seed: 11, Size: 832x1216, Clip skip: 2, Created Date: \
2024-10-05T1111:20.1Z, \
Civitai resources: [{"type":"checkpoint","modelVersionId":691639,"modelName":"FLUX"}]"""
    found = payload_from_infotext(parse_infotext(text))
    assert (found["cfg_scale"], found["distilled_cfg_scale"]) == (1.0, 3.5)
    assert (found["sampler_name"], found["scheduler"]) == ("Euler", "Simple")
    assert found["default_settings"]["CLIP_stop_at_last_layers"] == 1
    other = payload_from_infotext(parse_infotext(text.replace("FLUX", "SDXL")))
    assert (other["cfg_scale"], other["sampler_name"]) == (3.5, "Undefined")
    assert other["override_settings"]["CLIP_stop_at_last_layers"] == 2


def test_what_a_webui_does_not_write_is_its_default() -> None:
    found = payload_from_infotext(parse_infotext(FORGE))
    assert found["default_settings"] == {
        "randn_source": "GPU",
        "sigma_max": 0.0,
        "sigma_min": 0.0,
        "rho": 0.0,
        "sd_vae_encode_method": "Full",
        "sd_vae_decode_method": "Full",
        "fp8_storage": "Disable",
        "cache_fp16_weight": False,
        "emphasis": "Original",
        "refiner_switch_by_sample_steps": False,
    }
    said = payload_from_infotext(parse_infotext("a\nSteps: 2, Seed: 1, RNG: NV, Schedule rho: 7"))
    assert not said["default_settings"].keys() & said["override_settings"].keys()
    assert said["default_settings"]["CLIP_stop_at_last_layers"] == 1
    assert "default_settings" not in payload_from_infotext(parse_infotext("a cat"))


@pytest.mark.parametrize(
    ("prompt", "more", "options"),
    [
        ("a [cat:dog:3]", "Version: v1.5.2", {"use_old_scheduling": True, "use_downcasted_alpha_bar": True}),
        (
            "a cat",
            "Sampler: DDIM, Version: 1.5.0",
            {"pad_cond_uncond_v0": True, "use_downcasted_alpha_bar": True},
        ),
        ("a [cat]", "Sampler: DDIM, Version: v1.6.0", {"use_downcasted_alpha_bar": True}),
        ("a cat", "Version: v1.7.0-224-g00ff", {"use_downcasted_alpha_bar": True}),
        ("a cat", "Refiner: b, Version: v1.7.0-225-g00ff", {"refiner_switch_by_sample_steps": True}),
        ("a cat", "Refiner: b, Version: v1.8.0", {}),
        ("a [cat]", "Version: f2.0.1v1.10.1-previous-664", {}),
        ("a [cat]", "Version: ComfyUI", {}),
        ("a [cat]", "Refiner: b", {}),
    ],
)
def test_the_options_of_old_versions_are_set_as_the_hosts_do(
    prompt: str, more: str, options: dict[str, bool]
) -> None:
    found = payload_from_infotext(parse_infotext(f"{prompt}\nSteps: 2, Seed: 1, {more}"))["default_settings"]
    assert {name: value for name, value in found.items() if value is True} == options


SETTINGS = "Steps: 20, Sampler: Euler a, Seed: 1"


@pytest.mark.parametrize(
    ("text", "prompt", "settings", "untold"),
    [
        (
            f"a cat\n{SETTINGS}\nTemplate: a {{cat|dog}}\nNegative Template: x",
            "a cat",
            {},
            ["Template", "Negative Template"],
        ),
        (f"a cat\n{SETTINGS}\nTime taken: 4.2 sec.", "a cat", {}, []),
        (
            f'a cat\n{SETTINGS}, Wildcard prompt: "a __pet__\non a mat", Model: x',
            "a cat",
            {"Wildcard prompt": "a __pet__\non a mat", "Model": "x"},
            ["Wildcard prompt"],
        ),
        (
            f'a cat\n{SETTINGS}, Wildcard: "a\nb", Model: x, Model hash: 6ce0161689, VAE: y',
            "a cat",
            {"Wildcard": "a\nb", "Model": "x", "Model hash": "6ce0161689", "VAE": "y"},
            ["Wildcard"],
        ),
        (
            f'a cat\n{SETTINGS}, Wildcard: "never closed\nSource Identifier: x',
            "a cat",
            {"Wildcard": '"never closed'},
            ["Wildcard", "Source Identifier"],
        ),
        (f"Steps: to heaven, a stair\n{SETTINGS}", "Steps: to heaven, a stair", {}, []),
        (f"a cat\n{SETTINGS}\n\nlast words", "a cat", {}, ["last words"]),
    ],
)
def test_settings_that_are_not_the_last_line_are_read_and_the_rest_is_named(
    text: str, prompt: str, settings: dict[str, str], untold: list[str]
) -> None:
    found = parse_infotext(text)
    assert found.prompt == prompt
    assert found.settings == {"Steps": "20", "Sampler": "Euler a", "Seed": "1", **settings}
    assert left_out(found) == untold


def test_a_list_that_was_cut_gives_its_names_without_the_quote() -> None:
    found = parse_infotext('x\nSteps: 20, Seed: 1, Size: 8x8, Lora hashes: "hat: 28f11be9dbf2, coat: 5a4be')
    assert [one.name for one in infotext_hashes(found)] == ["hat"]


def test_the_hashes_of_a_text_of_forge() -> None:
    assert infotext_hashes(parse_infotext(FORGE)) == [
        HashMention("checkpoint", "sd_xl_base_1.0", "31e35c80fc", "autov2"),
        HashMention("hires_checkpoint", "fine", "0123456789", "autov2"),
        HashMention("refiner", "sd_xl_refiner_1.0", "7440042bbd", "autov2"),
        HashMention("lora", "fur_v1.0", "9a7f1cdb3ab4", "autov3_or_sha256"),
    ]


def test_the_hashes_of_the_civitai_extension_are_json_inside_the_line() -> None:
    found = parse_infotext(CIVITAI_EXTENSION)
    assert found.settings["Version"] == "v1.6.0"
    assert json.loads(found.settings["Hashes"])["lora:a,b: c"] == "0123456789"
    assert infotext_hashes(found) == [
        HashMention("vae", "vae-ft-mse.safetensors", "235745af8d", "autov2"),
        HashMention("embedding", "EasyNegative", "c74b4e810b03", "autov3_or_sha256"),
        HashMention("checkpoint", "base", "6ce0161689", "autov2"),
        HashMention("lora", "a,b: c", "0123456789", "autov2"),
        HashMention("embedding", "EasyNegative", "c74b4e810b", "autov2"),
    ]
    payload = payload_from_infotext(found)
    assert payload["sampler_name"] == "DPM++ 2M Karras"
    assert "scheduler" not in payload
    assert payload["override_settings"] == {
        "sd_model_checkpoint": "base [6ce0161689]",
        "sd_vae": "vae-ft-mse.safetensors",
    }


def test_what_civitai_itself_adds_stays_whole() -> None:
    found = parse_infotext(CIVITAI_SITE)
    assert json.loads(found.settings["Civitai resources"])[0]["modelName"] == "FLUX, the one"
    assert found.settings["Civitai metadata"] == '{"remixOfId":1}'
    assert found.settings["Created Date"] == "2024-11-02T10:11:12.123Z"
    assert "override_settings" not in payload_from_infotext(found)


def test_a_text_of_2022_names_its_model_by_the_hash_alone() -> None:
    found = parse_infotext(OF_2022)
    assert infotext_hashes(found) == [HashMention("checkpoint", "7460a6fa", "7460a6fa", "autov1")]
    payload = payload_from_infotext(found)
    assert payload["override_settings"] == {"sd_model_checkpoint": "7460a6fa"}
    assert (payload["width"], payload["height"]) == (512, 512)
    assert (payload["enable_hr"], payload["hr_resize_x"], payload["hr_resize_y"]) == (True, 1024, 1024)


def test_a_last_line_with_few_settings_is_prompt() -> None:
    assert parse_infotext("a cat\nstyle: oil, mood: calm") == Infotext(
        "a cat\nstyle: oil, mood: calm", "", {}
    )


@pytest.mark.parametrize("extension", [".safetensors", ".ckpt", ".gguf", ""])
def test_a_hash_that_forge_made_of_the_file_s_name_is_told_from_a_real_one(extension: str) -> None:
    poison = name_digest("v1-5-pruned-emaonly" + extension)[:10]
    text = f"Steps: 1, Seed: 1, Model hash: {poison}, Model: v1-5-pruned-emaonly"
    mentions = infotext_hashes(parse_infotext(text))
    assert [mention.dialect for mention in mentions] == ["file_name"]
    payload = payload_from_infotext(parse_infotext(text))
    assert payload["override_settings"]["sd_model_checkpoint"] == "v1-5-pruned-emaonly"
    wanted = [Requirement("checkpoint", "v1-5-pruned-emaonly")]
    assert requirements_with_hashes(wanted, mentions) == wanted


def test_the_name_digest_that_was_seen_in_real_images() -> None:
    assert name_digest("v1-5-pruned-emaonly.safetensors")[:10] == "987306bf0a"


def test_twelve_digits_made_of_a_lora_s_name_are_told_too() -> None:
    poison = hashlib.sha256(b"fur.safetensors").hexdigest()[:12]
    found = infotext_hashes(Infotext("", "", {"Lora hashes": f"fur: {poison}"}))
    assert [mention.dialect for mention in found] == ["file_name"]


EMPTY = hashlib.sha256(b"").hexdigest()


@pytest.mark.parametrize("value", [EMPTY[:8], EMPTY[:10], EMPTY[:12], EMPTY, "", "None", "xyz", "123", "0x"])
@pytest.mark.parametrize(
    "form",
    [
        {"Model hash": "{}", "Model": "a"},
        {"VAE hash": "{}", "VAE": "a"},
        {"Lora hashes": "a: {}"},
        {"TI hashes": "a: {}, b: {}"},
        {"Refiner": "a [{}]"},
        {"Refiner": "a", "Refiner hash": "{}"},
        {"Hires checkpoint": "a [{}]"},
        {"Hashes": '{{"model": "{}", "lora:a": "{}", "vae": 1}}'},
    ],
)
def test_placeholders_and_other_words_are_no_hashes(form: dict[str, str], value: str) -> None:
    settings = {key: text.format(value, value) for key, text in form.items()}
    assert infotext_hashes(Infotext("", "", settings)) == []


def test_requirements_without_a_hash_get_the_mentioned_one() -> None:
    infotext = parse_infotext(FORGE + ', Hashes: {"lora:neg": "abcdef0123", "vae": "0011223344"}, VAE: ae')
    wanted = [
        Requirement("checkpoint", "SDXL/sd_xl_base_1.0.safetensors"),
        Requirement("checkpoint", "sub\\sd_xl_base_1.0.safetensors [aaaaaaaaaa]", hash="aaaaaaaaaa"),
        Requirement("lora", "fur_v1.0"),
        Requirement("lora", "n:eg"),
        Requirement("lora", "sd_xl_base_1.0"),
        Requirement("module", "ae.safetensors"),
        Requirement("module", "clip_l.safetensors"),
    ]
    found = requirements_with_hashes(wanted, infotext_hashes(infotext))
    assert [requirement.hash for requirement in found] == [
        *("31e35c80fc", "aaaaaaaaaa", "9a7f1cdb3ab4", "abcdef0123", None, "0011223344", None)
    ]


def test_what_the_payload_names_gets_its_hashes() -> None:
    infotext = parse_infotext(FORGE)
    found = requirements_with_hashes(
        generation_requirements(payload_from_infotext(infotext)), infotext_hashes(infotext)
    )
    hashes = {(requirement.role, requirement.name.split(" ")[0]): requirement.hash for requirement in found}
    assert hashes == {
        ("checkpoint", "sd_xl_base_1.0"): "31e35c80fc",
        ("hires_checkpoint", "fine"): "0123456789",
        ("refiner", "sd_xl_refiner_1.0"): "7440042bbd",
        ("module", "ae"): None,
        ("module", "clip_l"): None,
        ("lora", "fur_v1.0"): "9a7f1cdb3ab4",
        ("lora", "neg"): None,
    }


def test_of_two_hashes_of_one_lora_the_one_of_the_whole_file_counts() -> None:
    mentions = [
        HashMention("lora", "a", "0123456789ab", "autov3_or_sha256"),
        HashMention("lora", "a", "abcdef0123", "autov2"),
    ]
    assert requirements_with_hashes([Requirement("lora", "a")], mentions)[0].hash == "abcdef0123"


VALUES = ANY_TEXT.map(str.strip).filter(lambda value: value and value[0] != '"' and "\r" not in value)
KEYS = st.from_regex(r"\A[A-Za-z][A-Za-z0-9 /-]{0,12}[A-Za-z0-9]\Z")


@given(st.dictionaries(KEYS, VALUES, min_size=3, max_size=8))
def test_what_a_host_quotes_is_read_back(settings: dict[str, str]) -> None:
    line = ", ".join(f"{key}: {quoted(value)}" for key, value in settings.items())
    assert parse_infotext(f"a cat\n{line}").settings == settings


@given(st.dictionaries(ANY_TEXT, ANY_TEXT, max_size=4), VALUES)
def test_json_in_the_line_is_read_back(hashes: dict[str, str], after: str) -> None:
    line = f"Steps: 1, Seed: 1, Hashes: {json.dumps(hashes)}, Version: {quoted(after)}"
    found = parse_infotext(line).settings
    assert (json.loads(found["Hashes"]), found["Version"]) == (hashes, after)


@pytest.mark.parametrize(
    ("line", "settings"),
    [
        ("Steps: 20, Model: , Seed: 1", {"Steps": "20", "Seed": "1"}),
        ('aa: "x, bb: "y, cc: "z"', {"aa": '"x', "bb": '"y', "cc": "z"}),
        ('aa: "", bb: "\\q", cc: "d"e', {"bb": '"\\q"', "cc": '"d"e'}),
        ('aa: "x, y" , bb: 1, cc: 2', {"aa": '"x', "bb": "1", "cc": "2"}),
        ("aa: 1:20, bb cc: 2, d-d/e: 3,", {"aa": "1:20", "bb cc": "2", "d-d/e": "3"}),
        ("lone, (aa: 1, -bb: 2, c: dd: 3", {"aa": "1", "bb": "2", "dd": "3"}),
        ("aa: 1, aa: 2, bb: 3, cc: 4", {"aa": "2", "bb": "3", "cc": "4"}),
        ("aa: [x, bb: {y, cc: }", {"aa": "[x", "bb": "{y", "cc": "}"}),
    ],
)
def test_an_odd_last_line_is_taken_apart_at_its_commas(line: str, settings: dict[str, str]) -> None:
    assert parse_infotext(f"a cat\n{line}").settings == settings


def test_empty_lines_before_a_prompt_go_and_those_inside_stay() -> None:
    text = " \n a \n\nb\r\nNegative prompt:\n\nNegative prompt: c\n\n d\nSteps: 1, Seed: 2, Size: 3x4"
    found = parse_infotext(text)
    assert (found.prompt, found.negative_prompt) == ("a\n\nb", "c\n\nd")


@given(TEXTS)
@example('Hashes: {"model": ["31e35c80fc"]}, Steps: 1, Seed: 1')
@example("Steps: --, Seed: " + "9" * 5000 + ", CFG scale: nan, Size: 0x0, First pass size: 0x0")
@example("CFG scale: 1e999, Hires upscale: ., Clip skip: ²")
def test_nothing_that_someone_may_paste_raises(text: str) -> None:
    check_everything(text)


READ = ("Steps", "Size", "Hashes", "Lora hashes", "Model hash", "Model", "Refiner", "Hires upscale",
        "Hires steps", "Module 1", "CFG scale")  # fmt: skip


@given(st.dictionaries(st.sampled_from(READ), ANY_TEXT))
def test_no_value_of_a_setting_raises(settings: dict[str, str]) -> None:
    infotext = Infotext("", "", settings)
    mentions = infotext_hashes(infotext)
    requirements_with_hashes(generation_requirements(payload_from_infotext(infotext)), mentions)


def check_everything(text: str) -> dict[str, Any]:
    infotext = parse_infotext(text)
    payload = payload_from_infotext(infotext)
    json.dumps(payload, allow_nan=False)
    for mention in infotext_hashes(infotext):
        assert re.fullmatch("[0-9a-f]{8,64}", mention.hash)
        assert not EMPTY.startswith(mention.hash)
    requirements_with_hashes(generation_requirements(payload), infotext_hashes(infotext))
    return payload


HOSTILE = [
    *("a", " ", ":", ",", '"', "\\", "\n", "aa:", 'aa: "', 'aa: "\\', "aa: {", "Hashes: {", 'Hashes: {"a":'),
    *("Hashes: [", "[", '{"a":', "Civitai resources: [", "a b-", "a(", "9", "Negative prompt:"),
    *("Model [", "aa: b,", 'Lora hashes: "', "x: 0123456789ab, ", "Hires Module 1: a, "),
    *("Steps: 1, aa: 2, bb: \"3\n", "Steps: \"\n", "Steps: 1, aa: 2, bb: 3\n"),
    *("aa:\t", '\\"', " [01234567] "),
]  # fmt: skip


@pytest.mark.parametrize("before", ["", "Steps: 1, Seed: 1, Model: ", "Steps: 1, Seed: 1, Hashes: "])
@pytest.mark.parametrize("piece", HOSTILE)
def test_a_megabyte_takes_time_in_proportion(piece: str, before: str) -> None:
    text = before + piece * (1_000_000 // len(piece))
    started = time.process_time()
    check_everything(text)
    assert time.process_time() - started < 6 * slowness()


@pytest.mark.parametrize("piece", ["x: 0123456789ab, ", "x:", ",", "a"])
def test_a_megabyte_of_hashes_takes_time_in_proportion(piece: str) -> None:
    settings = {"Lora hashes": piece * (1_000_000 // len(piece)), "Hashes": "[" * 1_000_000}
    started = time.process_time()
    infotext_hashes(Infotext("", "", settings))
    assert time.process_time() - started < 6 * slowness()


def test_of_endless_lists_of_hashes_the_first_thousand_are_read() -> None:
    many = ", ".join(f"l{number}: {number:010x}" for number in range(LISTED_MAX * 2))
    civitai = ",".join(f'"lora:c{number}":"{number:010x}"' for number in range(LISTED_MAX * 2))
    line = f'Steps: 20, Sampler: Euler, Lora hashes: "{many}", Hashes: {{{civitai}}}'
    found = infotext_hashes(parse_infotext(f"a cat\n{line}"))
    assert [one.name for one in found] == [
        f"{letter}{number}" for letter in "lc" for number in range(LISTED_MAX)
    ]
