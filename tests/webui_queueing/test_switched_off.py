"""A script that is switched off on the page is no part of a job: other servers need not have it."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from stablequeue_client.webui.host.capture import CapturedPage, GenerationCapture, PageInput, input_of


class Checkbox(SimpleNamespace):
    pass


class InputAccordion(Checkbox):
    pass


class Slider(SimpleNamespace):
    pass


def scripts_of(monkeypatch: pytest.MonkeyPatch, inputs: list[PageInput], values: list[Any]) -> Any:
    """What the capture makes of one always-on script with these inputs."""
    script = SimpleNamespace(args_from=1, args_to=1 + len(values), title=lambda: "RescaleCFG for reForge")
    runner = SimpleNamespace(alwayson_scripts=[script], selectable_scripts=[])
    modules = ModuleType("modules")
    modules.scripts = SimpleNamespace(scripts_txt2img=runner)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "modules", modules)
    page = CapturedPage("txt2img", [], [PageInput(0), *inputs], {})
    return GenerationCapture(None)._scripts(page, [0, *values]).get("alwayson_scripts")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("component", "default", "is_switch"),
    [
        (Checkbox(label="Enable RescaleCFG"), False, True),
        (Checkbox(label="enabled"), False, True),
        (InputAccordion(label="Refiner"), False, True),
        (Checkbox(label="Enable dynamic prompts"), True, False),
        (Checkbox(label="Skip img2img"), False, False),
        (Checkbox(label=None), False, False),
        (Slider(label="Enable above"), 0, False),
    ],
)
def test_a_switch_is_told_by_its_label_and_its_default(component: Any, default: Any, is_switch: bool) -> None:
    assert input_of(component, default).is_switch is is_switch


@pytest.mark.parametrize(
    ("values", "is_sent"),
    [
        ([False, 0.7], False),
        ([False, 0.9], False),
        ([True, 0.7], True),
    ],
)
def test_only_what_is_switched_on_is_asked_of_other_servers(
    monkeypatch: pytest.MonkeyPatch, values: list[Any], is_sent: bool
) -> None:
    inputs = [
        input_of(Checkbox(label="Enable RescaleCFG"), False),
        input_of(Slider(label="Multiplier"), None),
    ]
    assert bool(scripts_of(monkeypatch, inputs, values)) is is_sent


def test_one_of_several_switches_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = [Checkbox(label="Enabled for UNet"), Checkbox(label="Enabled for VAE")]
    inputs = [input_of(box, False) for box in boxes]
    assert scripts_of(monkeypatch, inputs, [False, True])
    assert not scripts_of(monkeypatch, inputs, [False, False])


def test_values_behind_another_box_are_sent_though_it_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = [input_of(Checkbox(label="Skip img2img"), False), input_of(Slider(label="Strength"), 0.5)]
    assert scripts_of(monkeypatch, inputs, [False, 0.9])
    inputs = [input_of(Checkbox(label="Enable dynamic prompts"), True), input_of(Slider(label="x"), 1)]
    assert scripts_of(monkeypatch, inputs, [False, 1])
