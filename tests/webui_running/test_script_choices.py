"""What scripts choose from lists, on a WebUI whose lists are others."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from stablequeue_client.webui.host.scripts import translate_choices

AXES = ["Nothing", "Seed", "CFG Scale", "Sampler"]


def runner(axes: list[Any]) -> Any:
    axis = SimpleNamespace(type="index", choices=axes)
    text = SimpleNamespace(type="value")
    script = SimpleNamespace(title=lambda: "X/Y/Z plot", args_from=2, args_to=4)
    return SimpleNamespace(scripts=[script], inputs=[None, text, axis, text])


def job(place: int, word: str, args: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
    values = {"script_name": "X/Y/Z plot", "script_args": args or [place, "5,6"]}
    return values, {"X/Y/Z plot": {"0": word}}


@pytest.mark.parametrize("axes", [AXES, [(one, one) for one in AXES]], ids=["gradio 3", "gradio 4"])
def test_a_choice_is_told_by_its_word_where_it_has_another_place(axes: list[Any]) -> None:
    values, words = job(4, "Sampler")
    found = translate_choices(values, words, runner(axes))
    assert isinstance(found, dict)
    assert (found["script_args"], values["script_args"]) == ([3, "5,6"], [4, "5,6"])


def test_what_is_not_offered_here_or_is_another_script_of_that_title_goes_back() -> None:
    assert "does not offer “Distilled CFG Scale”" in translate_choices(
        *job(2, "Distilled CFG Scale"), runner(AXES)
    )
    assert "takes other values" in translate_choices(*job(2, "Sampler", [2, "5", True]), runner(AXES))


def test_always_on_scripts_have_their_places_too_and_others_stay_as_they_are() -> None:
    values = {"alwayson_scripts": {"X/Y/Z plot": {"args": [9, ""]}, "Other": {"args": [3]}}}
    found = translate_choices(values, {"X/Y/Z plot": {"0": "Seed"}, "Other": {"0": "x"}}, runner(AXES))
    assert found == {"alwayson_scripts": {"X/Y/Z plot": {"args": [1, ""]}, "Other": {"args": [3]}}}
    assert translate_choices(values, None, runner(AXES)) == values
