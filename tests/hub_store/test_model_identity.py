"""What a typed text asks for."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stablequeue_client.shared.model_files.model_file import KEY_MAX, HashQuery, search_key, stem_key
from stablequeue_hub.models.model_query import NameQuery, RowIdQuery, parse_query

SHA256 = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("1", RowIdQuery(1)),
        (" 1234567 ", RowIdQuery(1234567)),
        ("12345678", HashQuery("12345678")),
        ("123456789", NameQuery("123456789", "123456789")),
        ("1234567890", HashQuery("1234567890")),
        ("0xDEADBEEF", HashQuery("deadbeef")),
        (SHA256[:12].upper(), HashQuery(SHA256[:12])),
        (SHA256.upper(), HashQuery(SHA256)),
        (SHA256[:11], NameQuery(SHA256[:11], SHA256[:11])),
        ("Foo.safetensors", NameQuery("foo.safetensors", "foo")),
        ("A\\B\\Foo v1.5.CKPT", NameQuery("a/b/foo v1.5.ckpt", "foo v1.5")),
        ("a\\x5Cb.pt", NameQuery("a\\x5cb.pt", "a\\x5cb")),
        ("v1.5", NameQuery("v1.5", "v1.5")),
        ("١٢", NameQuery("١٢", "١٢")),
        ("", NameQuery("", "")),
    ],
)
def test_a_text_is_a_row_id_a_hash_or_a_name(text: str, meant: object) -> None:
    assert parse_query(text) == meant


@given(st.text())
def test_a_key_is_the_same_for_every_spelling_and_fits_an_index(text: str) -> None:
    key = search_key(text)
    assert key == search_key(unicodedata.normalize("NFD", text))
    assert "\x00" not in key
    assert len(key) <= KEY_MAX
    assert len(stem_key(text)) <= KEY_MAX


def test_case_and_composition_do_not_matter() -> None:
    assert search_key("STRASSE") == search_key("Straße")
    assert search_key("Cafe\u0301") == search_key("CAFÉ")
