"""Valid headers are read, and everything else is refused with a sentence that says why."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stablequeue_client.shared.errors import StableQueueError
from stablequeue_client.shared.model_files.safetensors_header import (
    FORMAT_MAX_BYTES,
    METADATA_MAX_BYTES,
    PARSER_MAX_BYTES,
    Header,
    HeaderError,
    TruncatedError,
    allowed_metadata,
    base_model,
    read_header,
)


def read(data: bytes, size: int | None = None) -> Header:
    return read_header(
        lambda offset, length: data[offset : offset + length], len(data) if size is None else size
    )


def file_of(header: bytes | dict[str, Any], payload: int = 0) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(payload)


def tensor(dtype: str = "U8", shape: list[int] | None = None, begin: int = 0, end: int = 4) -> dict[str, Any]:
    return {"dtype": dtype, "shape": [4] if shape is None else shape, "data_offsets": [begin, end]}


def test_a_valid_header_gives_length_tensors_and_metadata(safetensors: Callable[..., bytes]) -> None:
    data = safetensors(1_001, {"ss_v2": "False", "naïve": "ü\u2028"})
    header = read(data)
    assert header.tensor_count == 2
    assert header.metadata == {"ss_v2": "False", "naïve": "ü\u2028"}
    assert len(data) == header.payload_offset + 1_001


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"__metadata__": {}},
        {"t": tensor("F32", [], 0, 4)},
        {"t": tensor("F4", [2, 4], 0, 4)},
        {"t": tensor("BF16", [2, 1], 0, 4)},
        {"t": tensor("F9_NEW", [17], 0, 4)},
        {"empty": tensor("F32", [0, 5], 0, 0), "t": tensor()},
        {"b": tensor(begin=2, end=4, shape=[2]), "a": tensor(begin=0, end=2, shape=[2])},
        {"t": {**tensor(), "extra": 1}},
        json.dumps({"t": tensor()}, indent=1).encode() + b"      ",
    ],
)
def test_headers_that_the_format_allows_are_read(header: bytes | dict[str, Any]) -> None:
    payload = 0 if header in ({}, {"__metadata__": {}}) else 4
    assert read(file_of(header, payload)).note is None


WHOLE = b'{"dtype":"U8","shape":[4],"data_offsets":[0,4]}'

BAD = {
    "not an object": b"[1, 2]",
    "a space first": b' {"t": 1}',
    "no JSON": b'{"t": ',
    "not UTF-8": b'{"\xff\xfe": %s}' % (WHOLE,),
    "a tensor that is a number": b'{"t": 1}',
    "a tensor that is null": b'{"t": null}',
    "NaN": b'{"t": {"dtype": "U8", "shape": [NaN], "data_offsets": [0, 4]}}',
    "1e999": b'{"t": {"dtype": "U8", "shape": [1e999], "data_offsets": [0, 4]}}',
    "a fraction": b'{"t": {"dtype": "U8", "shape": [4.5], "data_offsets": [0, 4]}}',
    "5,000 digits": b'{"t": {"dtype": "U8", "shape": [' + b"9" * 5_000 + b'], "data_offsets": [0, 4]}}',
    "2**64": b'{"t": {"dtype": "U8", "shape": [18446744073709551616], "data_offsets": [0, 4]}}',
    "a negative size": b'{"t": {"dtype": "U8", "shape": [-4], "data_offsets": [0, 4]}}',
    "a negative offset": b'{"t": {"dtype": "U8", "shape": [4], "data_offsets": [-4, 0]}}',
    "true for a number": b'{"t": {"dtype": "U8", "shape": [true], "data_offsets": [0, 4]}}',
    "text for a number": b'{"t": {"dtype": "U8", "shape": ["4"], "data_offsets": [0, 4]}}',
    "a lone surrogate": b'{"__metadata__": {"k": "\\ud800"}, "t": %s}' % (WHOLE,),
    "deep nesting": b'{"t": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep nesting in an unknown field": b'{"t": {"dtype":"U8","shape":[4],"data_offsets":[0,4],"x":'
    + b"[" * 50_000 + b"]" * 50_000 + b"}}",
    "metadata that is not text": b'{"__metadata__": {"k": 1}, "t": %s}' % (WHOLE,),
    "metadata that is a list": b'{"__metadata__": ["k"], "t": %s}' % (WHOLE,),
    "three offsets": b'{"t": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4, 8]}}',
    "no dtype": b'{"t": {"shape": [4], "data_offsets": [0, 4]}}',
    "something after the object": b'{"t": %s} x' % (WHOLE,),
    "65 dimensions": b'{"t": {"dtype":"U8","shape":[4' + b",1" * 64 + b'],"data_offsets":[0,4]}}',
    "one tensor twice": b'{"t":%s,"t":%s}' % (WHOLE, WHOLE),
    "one tensor twice, once escaped": b'{"t":%s,"\\u0074":%s}' % (WHOLE, WHOLE),
    "metadata twice": b'{"__metadata__":{"a":"1"},"__metadata__":{"a":"2"},"t":%s}' % (WHOLE,),
    "a metadata field twice": b'{"__metadata__":{"a":"1","\\u0061":"2"},"t":%s}' % (WHOLE,),
    "a dtype twice": b'{"t":{"dtype":"U8","dtype":"F32","shape":[4],"data_offsets":[0,4]}}',
    "shape and offsets that disagree": b'{"t":{"dtype":"F32","shape":[4],"data_offsets":[0,4]}}',
    "offsets backwards": b'{"t":{"dtype":"X","shape":[4],"data_offsets":[4,0]}}',
    "a hole": b'{"t":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}',
    "an overlap": b'{"t":%s,"u":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}' % (WHOLE,),
    "HTML": b"<!doctype html><html></html>",
}  # fmt: skip


@pytest.mark.parametrize("header", BAD.values(), ids=BAD.keys())
def test_a_malformed_header_is_refused_with_a_reason(header: bytes) -> None:
    with pytest.raises(HeaderError) as raised:
        read(file_of(header, 4))
    assert len(raised.value.message) < 400
    assert raised.value.remedy


def test_an_error_page_saved_as_a_model_is_refused() -> None:
    with pytest.raises(HeaderError, match="header would be"):
        read(b"<!DOCTYPE html><html><body>Please log in</body></html>")


@pytest.mark.parametrize("length", [0, 1, 2**63, 2**64 - 1, FORMAT_MAX_BYTES + 1])
def test_an_impossible_length_is_refused_without_reading(length: int) -> None:
    asked: list[int] = []

    def read_at(offset: int, count: int) -> bytes:
        asked.append(count)
        return length.to_bytes(8, "little")[offset : offset + count]

    with pytest.raises(HeaderError):
        read_header(read_at, 2**40)
    assert asked == [8]


def test_a_header_beyond_our_limit_is_not_parsed_but_the_file_is_fine() -> None:
    length = PARSER_MAX_BYTES + 1
    start = length.to_bytes(8, "little") + b"{"

    def read_at(offset: int, count: int) -> bytes:
        assert count <= 8
        return start[offset : offset + count]

    header = read_header(read_at, length + 100)
    assert (header.metadata, header.payload_offset) == ({}, 8 + length)
    assert "16 MiB" in (header.note or "")


def test_a_header_of_a_million_entries_is_not_parsed() -> None:
    header = b'{"t":{' + b'"x":{},' * 300_000 + b'"y":{}}}'
    assert "too many" in (read(file_of(header)).note or "")


def test_a_file_with_something_appended_is_refused(safetensors: Callable[..., bytes]) -> None:
    with pytest.raises(HeaderError, match="appended"):
        read(safetensors() + b"x")


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 60, 200, 3_000])
def test_a_cut_file_is_truncated(safetensors: Callable[..., bytes], size: int) -> None:
    with pytest.raises(TruncatedError):
        read(safetensors()[:size])


names = st.text(st.characters(exclude_characters="{", exclude_categories=("Cs",)), max_size=20)


@given(
    st.dictionaries(names.filter(lambda name: name != "__metadata__"), st.integers(0, 40), max_size=8),
    st.dictionaries(names, st.text(st.characters(exclude_categories=("Cs",))), max_size=5),
    st.booleans(),
)
def test_every_header_that_a_writer_makes_is_read_back(
    tensors: dict[str, int], metadata: dict[str, str], ascii_only: bool
) -> None:
    header: dict[str, Any] = {"__metadata__": metadata}
    position = 0
    for name, count in tensors.items():
        header[name] = tensor("F16", [count], position, position + 2 * count)
        position += 2 * count
    found = read(file_of(json.dumps(header, ensure_ascii=ascii_only).encode(), position))
    assert (found.metadata, found.tensor_count) == (metadata, len(tensors))


# --- what may travel ------------------------------------------------------------------------------------


def test_prompts_paths_and_people_stay_at_home() -> None:
    metadata = {
        "ss_output_name": "style",
        "modelspec.trigger_phrase": "sks person",
        "modelspec.author": "Ann Example",
        "modelspec.thumbnail": "data:image/png;base64,AAAA",
        "ss_dataset_dirs": '{"C:/Users/ann/set": {}}',
        "ss_tag_frequency": '{"set": {"private caption": 3}}',
        "ss_training_comment": "for ann only",
        "ss_session_id": "1",
        "ss_sd_model_name": "C:\\Users\\ann\\models\\base.safetensors",
        "ss_vae_name": "/home/ann/vae.pt",
        "modelspec.merged_from": "a.safetensors, /home/ann/b.safetensors",
        "modelspec.description": "see /home/ann/notes.txt",
        "modelspec.license": "https://example.org/license and and/or",
        "custom": "x",
    }
    assert allowed_metadata(metadata) == {
        "ss_output_name": "style",
        "modelspec.trigger_phrase": "sks person",
        "ss_sd_model_name": "base.safetensors",
        "ss_vae_name": "vae.pt",
        "modelspec.license": "https://example.org/license and and/or",
    }


def test_travelling_metadata_is_limited_in_all_and_free_of_nul_and_surrogates() -> None:
    from stablequeue_client.shared.model_files.safetensors_header import METADATA_ALLOWED

    allowed = allowed_metadata(dict.fromkeys(METADATA_ALLOWED, "\x00\ud800" + "\u20ac" * 100_000))
    assert len(json.dumps(allowed)) <= METADATA_MAX_BYTES
    assert allowed
    assert all(set(value) == {"\u20ac"} for value in allowed.values())


@pytest.mark.parametrize(
    ("metadata", "name"),
    [
        ({"modelspec.architecture": "stable-diffusion-v1/lora"}, "SD 1.5"),
        ({"modelspec.architecture": "stable-diffusion-xl-v1-base"}, "SDXL"),
        ({"modelspec.architecture": "stable-diffusion-v2-768-v"}, "SD 2"),
        ({"modelspec.architecture": "flux-1-dev/lora"}, "Flux"),
        ({"modelspec.architecture": "stable-diffusion-3-medium"}, "SD 3"),
        ({"modelspec.architecture": "stable-diffusion-3.5-large"}, "SD 3.5"),
        ({"modelspec.implementation": "https://github.com/black-forest-labs/flux"}, "Flux"),
        ({"ss_base_model_version": "sdxl_base_v1-0"}, "SDXL"),
        ({"ss_base_model_version": "sd_v1"}, "SD 1.5"),
        ({"ss_base_model_version": "sd3.5_large"}, "SD 3.5"),
        ({"ss_v2": "True"}, "SD 2"),
        ({"ss_v2": "False"}, "SD 1.5"),
        ({"modelspec.architecture": "something-else"}, None),
        ({}, None),
    ],
)
def test_the_base_model_is_told_by_the_header(metadata: dict[str, str], name: str | None) -> None:
    assert base_model(metadata) == name


def test_header_errors_keep_their_codes_distinct() -> None:
    assert len({HeaderError.code, TruncatedError.code, StableQueueError.code}) == 3
