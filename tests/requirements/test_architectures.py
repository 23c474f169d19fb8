"""Base models as headers and Civitai call them, and which WebUI can load them."""

from __future__ import annotations

import pytest

from stablequeue_client.shared.model_files.architectures import architecture_of, missing_architecture

KNOWN = {
    "sd1": ("SD 1.5", "SD 1.4", "SD 1.5 LCM", "SD 1.5 Hyper", "sd1"),
    "sd2": ("SD 2", "SD 2.0 768", "SD 2.1"),
    "sd3": ("SD 3", "SD 3.5", "SD 3.5 Large Turbo"),
    "sdxl": ("SDXL", "SDXL 1.0", "SDXL Lightning", "Pony", "Illustrious", "NoobAI"),
    "flux": ("Flux", "Flux.1 D", "Flux.1 S", "FLUX.1"),
    "chroma": ("Chroma",),
}


@pytest.mark.parametrize(("architecture", "names"), KNOWN.items())
def test_a_base_model_is_of_an_architecture(architecture: str, names: tuple[str, ...]) -> None:
    assert {name: architecture_of(name) for name in names} == dict.fromkeys(names, architecture)


@pytest.mark.parametrize(
    "name", [None, "", "Pony V7", "Flux.2 D", "Wan Video", "Qwen", "Other", "SD 15", "SDXLish", "my Pony"]
)
def test_what_is_another_one_or_not_known_is_none(name: str | None) -> None:
    assert architecture_of(name) is None
    assert missing_architecture(name, ["sd1"]) == "not_checked"


def test_only_who_said_what_it_can_load_is_judged() -> None:
    assert missing_architecture("Flux.1 D", ["sd1", "sdxl"]) == "missing"
    assert missing_architecture("Pony", ["sd1", "sdxl"]) == "ok"
    assert missing_architecture("Pony", []) == "not_checked"
