"""What a person types to find a model by its name."""

import pytest

from stablequeue_client.shared.model_files.model_file import search_key, search_of
from stablequeue_client.shared.views import values as v
from stablequeue_client.shared.views import views

KEY = search_key("SDXL/Big_Model-v2.safetensors")


@pytest.mark.parametrize("text", ["model big", "big model", "BIG-MODEL", "bigmodel", "v2 sdxl", "big_"])
def test_words_are_found_in_any_order_and_however_they_are_parted(text: str) -> None:
    assert search_of(text)(KEY)


@pytest.mark.parametrize("text", ["big nothing", "modelbig", "v3"])
def test_a_word_that_the_name_lacks_finds_nothing(text: str) -> None:
    assert not search_of(text)(KEY)


def test_the_first_line_warns_while_no_server_is_connected() -> None:
    alone = views.first_line(v.FirstLine(servers=2, connected=0))
    assert "sq-tone-warn" in alone
    assert "No server is connected" in alone
    assert "sq-tone-good" in views.first_line(v.FirstLine(servers=2, connected=1))
