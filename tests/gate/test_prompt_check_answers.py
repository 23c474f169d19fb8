"""What the route ``check`` answers: from local values alone, whatever the hub does."""

from __future__ import annotations

import time
from html.parser import HTMLParser
from pathlib import Path

import pytest

from stablequeue_client.webui.views.prompt_check_view import (
    PromptLine,
    PromptLineItem,
    plain_sentence,
    prompt_line,
    who_has,
)

from ..agent.real_hub import RealHub
from ..local.joined import join, tell
from ..local.synthetic_index import SyntheticIndex, file, library, root
from ..samples.hostile_values import NAMES
from ..slowness import takes_at_most
from .conftest import MakeRuntime

LORA = file("lora", "foo.safetensors", base_model="SD 1.5")
BASE = file("checkpoint", "base.safetensors", base_model="SD 1.5")
KNOWN = {"checkpoint": ["base.safetensors"], "lora": ["foo"]}
LIMIT_S = 0.1
"""Of the 300 ms from the last key to the line; the rest is the browser's."""


def test_everything_here_is_one_quiet_line(make_runtime: MakeRuntime) -> None:
    rt = make_runtime([LORA, BASE], names=KNOWN)
    said = rt.prompt_check.check({"prompt": "<lora:foo:1>", "checkpoint": "base.safetensors"})
    assert (said["tone"], said["ask"], said["more"]) == ("good", [], False)
    assert "All 2 models" in said["html"]


def test_what_was_removed_is_missing_though_the_webui_still_lists_it(
    make_runtime: MakeRuntime, tmp_path: Path
) -> None:
    private, base = tmp_path / "private.safetensors", tmp_path / "base.safetensors"
    private.touch()
    base.touch()
    removed = tmp_path / "gone.safetensors"
    names = {"checkpoint": ["base.safetensors"], "lora": ["private", "gone"]}
    files = {"private": private, "gone": removed, "base.safetensors": base}
    rt = make_runtime(names=names, files=files)
    values = {"prompt": "<lora:private:1> <lora:gone:1>", "checkpoint": "base.safetensors"}
    said = rt.prompt_check.check(values)
    assert said["tone"] == "bad"
    assert ">gone</bdi> is gone, though this WebUI still lists it: all LoRAs" in said["html"]
    assert ">private</bdi>" not in said["html"]
    removed.touch()
    assert rt.prompt_check.check(values)["tone"] == "good"
    base.unlink()
    assert (
        "is gone, though this WebUI still lists it: the generation would fail."
        in (rt.prompt_check.check(values)["html"])
    )


def test_in_a_folder_that_lost_its_files_only_what_is_there_counts(
    make_runtime: MakeRuntime, tmp_path: Path
) -> None:
    # An unmounted disk leaves an empty folder, whose rows are kept.
    lost = root("lora", health="suspect", missing=1)._replace(path=str(tmp_path))
    names = {"checkpoint": ["base.safetensors"], "lora": ["foo"]}
    roots = [lost, root("checkpoint")]
    rt = make_runtime([LORA, BASE], roots=roots, names=names, more_folders=(("lora", str(tmp_path)),))
    values = {"prompt": "<lora:foo:1>", "checkpoint": "base.safetensors"}
    html = rt.prompt_check.check(values)["html"]
    assert (
        ">foo</bdi> is in a folder that is not connected: all LoRAs of this prompt would be dropped" in html
    )
    (tmp_path / "foo.safetensors").touch()
    assert ">foo</bdi>" not in rt.prompt_check.check(values)["html"]


def test_nothing_named_says_nothing(make_runtime: MakeRuntime) -> None:
    said = make_runtime().prompt_check.check({"prompt": "a cat"})
    assert said == {"html": "", "tone": "", "asks": False, "ask": [], "more": False}


def test_styles_override_settings_and_the_options_of_the_webui_count(make_runtime: MakeRuntime) -> None:
    rt = make_runtime(
        [LORA, BASE],
        names=KNOWN,
        options={"sd_lora": "always", "sd_model_checkpoint": "base.safetensors"},
        known_styles={"inky": ("{prompt} <lora:ink:1>", "")},
    )
    values = {
        "prompt": "cat # <lora:commented:1>",
        "styles": ["inky", "no such style"],
        "override_settings_texts": ["Model hash: 0123456789", "Clip skip: 2"],
        "enable_refiner": False,
        "refiner_checkpoint": "not.safetensors",
    }
    html = rt.prompt_check.check(values)["html"]
    for name in ("always", "ink", "0123456789"):
        assert f">{name}</bdi>" in html
    for name in ("commented", "not.safetensors", "base.safetensors"):
        assert f">{name}</bdi>" not in html


def test_before_generate_it_is_asked_only_when_the_owner_wants_it(make_runtime: MakeRuntime) -> None:
    wanted = make_runtime([LORA], settings={"ask_before_generate": True})
    said = wanted.prompt_check.check({"prompt": "<lora:foo:1> <lora:gone:1> <lyco:foo:1>"})
    assert said["ask"] == ["LoRA “gone” is missing: all LoRAs of this prompt would be dropped."]
    assert make_runtime([LORA]).prompt_check.check({"prompt": "<lora:gone:1>"})["ask"] == []


def test_a_mistyped_name_comes_with_a_button_that_cannot_write_what_no_prompt_can_hold(
    make_runtime: MakeRuntime,
) -> None:
    rt = make_runtime([LORA, file("lora", "detail:tweak.safetensors")])
    assert 'data-sq-gate-to="foo"' in rt.prompt_check.check({"prompt": "<lora:foo1:1>"})["html"]
    assert "data-sq-gate-to" not in rt.prompt_check.check({"prompt": "<lora:detail_tweak:1>"})["html"]


@pytest.mark.parametrize(
    "prompt",
    [
        "<lora:aqua_pixel_nior_00017:1> easynegative " + "word " * 200,
        "".join(f"<lora:aqua_pixel_nior_x{number}:1>" for number in range(60)),
    ],
    ids=["one slip of the pen", "a foreign prompt of many LoRAs"],
)
def test_with_ten_thousand_models_an_answer_takes_a_tenth_of_a_second(
    make_runtime: MakeRuntime, prompt: str
) -> None:
    rt = make_runtime(library(10_000))
    values = {"prompt": prompt}
    rt.prompt_check.check(values)
    assert rt.prompt_check.check(values)["tone"] == "bad"
    takes_at_most(LIMIT_S, lambda: rt.prompt_check.check(values))


@pytest.mark.parametrize(
    "values", [{"prompt": 1}, {"styles": {"a": 1}}, {"checkpoint": []}, {"modules": "x"}]
)
def test_values_of_the_wrong_kind_do_no_harm(make_runtime: MakeRuntime, values: dict[str, object]) -> None:
    assert "html" in make_runtime().prompt_check.check(values)


def test_who_else_has_it_comes_with_a_later_answer(
    make_runtime: MakeRuntime,
    tmp_path: Path,
    real_hub: RealHub,
) -> None:
    _other_server(real_hub, tmp_path / "attic", "attic")
    rt = make_runtime([LORA])
    join(real_hub, tmp_path, "this")
    deadline = time.monotonic() + 60
    said = rt.prompt_check.check({"prompt": "<lora:gone:1>"})
    while "attic" not in said["html"] or said["more"]:
        assert time.monotonic() < deadline, (said, rt.hub.state())
        time.sleep(0.1)
        said = rt.prompt_check.check({"prompt": "<lora:gone:1>"})
    assert "attic has it." in said["html"]
    assert "Queued, it waits: no server can make it now." in said["html"]


def _other_server(hub: RealHub, server_dir: Path, alias: str) -> None:
    server_dir.mkdir()
    index = SyntheticIndex(server_dir)
    index.put_roots([root("lora")])
    index.put([file("lora", "gone.safetensors")])
    tell(join(hub, server_dir, alias), index.index)
    index.close()


# --- HTML -------------------------------------------------------------------------------------------------


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)


@pytest.mark.parametrize("name", NAMES)
def test_no_name_becomes_an_element_or_an_attribute(name: str) -> None:
    item = PromptLineItem(
        "bad", "LoRA {} is missing. Write <lora:...>, {}.", (name, name), (name, name), name, name
    )
    html = prompt_line(PromptLine(items=(item,) * 4, named=4))
    found = Tags()
    found.feed(str(html))
    assert found.tags <= {"ul", "li", "span", "bdi", "button", "details", "summary"}
    assert found.attributes <= {
        "class", "aria-hidden", "dir", "type", "aria-label", "data-sq-gate-from", "data-sq-gate-to",
    }  # fmt: skip
    assert "&lt;lora:...&gt;" in html
    assert plain_sentence(item)


def test_who_has_it_is_a_short_sentence() -> None:
    assert who_has(["a"]) == "a has it."
    assert who_has(["a", "b"]) == "a and b have it."
    assert who_has(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more have it."
