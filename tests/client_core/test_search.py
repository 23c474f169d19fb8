"""What a person looks for: words in any order, however they are parted in the name."""

from __future__ import annotations

import pytest

from stablequeue_client.shared.model_files.model_file import search_key, search_of


@pytest.mark.parametrize(
    ("text", "name", "found"),
    [
        ("velvet cyber", "Cyber_Velvet_86.safetensors", True),
        ("cyber velvet 86", "cyber-velvet-86.safetensors", True),
        ("moonlitretro", "styles/Moonlit Retro.safetensors", True),
        ("moonlit-retro", "MoonlitRetro.safetensors", True),
        ("styles/moon", "styles/Moonlit Retro.safetensors", True),
        ("velvet gone", "Cyber_Velvet_86.safetensors", False),
        ("_", "a_b.safetensors", True),
        ("grösse", "GRÖSSE.safetensors", True),
        ("", "anything", True),
        ("model big", "SDXL/Big_Model-v2.safetensors", True),
        ("big model", "SDXL/Big_Model-v2.safetensors", True),
        ("BIG-MODEL", "SDXL/Big_Model-v2.safetensors", True),
        ("bigmodel", "SDXL/Big_Model-v2.safetensors", True),
        ("v2 sdxl", "SDXL/Big_Model-v2.safetensors", True),
        ("big_", "SDXL/Big_Model-v2.safetensors", True),
        ("big nothing", "SDXL/Big_Model-v2.safetensors", False),
        ("modelbig", "SDXL/Big_Model-v2.safetensors", False),
        ("v3", "SDXL/Big_Model-v2.safetensors", False),
    ],
)
def test_words_are_found_in_any_order_and_however_they_are_parted(text: str, name: str, found: bool) -> None:
    assert search_of(text)(search_key(name)) is found
