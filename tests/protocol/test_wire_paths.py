"""Wire paths: every name a disk can hold crosses the wire and comes back the same."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stablequeue_client.shared.wire.inventory import native_path, wire_path, wire_path_problem

posix_part = st.binary(min_size=1, max_size=40).filter(
    lambda raw: b"/" not in raw and b"\x00" not in raw and raw not in (b".", b"..")
)
windows_part = st.text(
    st.characters(exclude_characters='\\/:*?"<>|', min_codepoint=32), min_size=1, max_size=20
).filter(lambda part: part not in (".", ".."))


@given(st.lists(posix_part, min_size=1, max_size=4))
def test_every_posix_name_comes_back_byte_for_byte(parts: list[bytes]) -> None:
    name = b"/".join(parts).decode("utf-8", "surrogateescape")
    wire = wire_path(name)
    assert native_path(wire) == name
    assert wire_path_problem(wire) is None
    assert wire.encode("utf-8").decode("utf-8") == wire


@given(st.lists(windows_part, min_size=1, max_size=4))
def test_every_windows_name_comes_back_even_with_lone_surrogates(parts: list[str]) -> None:
    name = "\\".join(parts)
    wire = wire_path(name, windows=True)
    assert native_path(wire, windows=True) == name
    assert "\\" not in wire.replace("\\x", "")


@given(posix_part, posix_part)
def test_two_names_never_share_a_wire_path(first: bytes, second: bytes) -> None:
    paths = [wire_path(os.fsdecode(name)) for name in (first, second)]
    assert (paths[0] == paths[1]) == (first == second)


@pytest.mark.parametrize(
    ("native", "wire"),
    [
        ("sub/my model.safetensors", "sub/my model.safetensors"),
        ("é.safetensors", "é.safetensors"),
        ("a\nb", "a\\x0Ab"),
        ("a\\b", "a\\x5Cb"),
        ("\udcff", "\\xFF"),
        ("\x85", "\\xC2\\x85"),
        ("\x7f", "\\x7F"),
    ],
)
def test_what_is_escaped_and_what_is_not(native: str, wire: str) -> None:
    assert wire_path(native) == wire


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "a//b",
        "../a",
        "a/../b",
        "a/.",
        "a\\b",
        "a\\x0",
        "a\\x0g",
        "a\\x0ab",
        "a\nb",
        "\\x00",
        "a" * 4097,
        "a/",
    ],
)
def test_what_is_no_wire_path_is_named(path: str) -> None:
    assert wire_path_problem(path) is not None
