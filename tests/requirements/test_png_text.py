"""Generation texts out of PNG files: as Pillow writes them, as others do, and as nobody should."""

from __future__ import annotations

import struct
import time
import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stablequeue_client.shared.generation.png_text import TEXT_MAX_BYTES, generation_text_of_png, png_size

from ..slowness import slowness

SIGNATURE = b"\x89PNG\r\n\x1a\n"
TEXT = "a café\nSteps: 20, Sampler: Euler a, Seed: 1"
WIDE_TEXT = "猫, " + TEXT


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*chunks: bytes, width: int = 3, height: int = 2) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress((b"\x00" + b"\x01\x02\x03" * width) * height))
    return SIGNATURE + header + b"".join(chunks) + pixels + chunk(b"IEND", b"")


def text_chunk(text: str, keyword: bytes = b"parameters") -> bytes:
    return chunk(b"tEXt", keyword + b"\x00" + text.encode("latin-1"))


def packed_chunk(text: str) -> bytes:
    return chunk(b"zTXt", b"parameters\x00\x00" + zlib.compress(text.encode("latin-1")))


def international_chunk(text: str, *, packed: bool = False) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    head = b"parameters\x00" + bytes([packed, 0]) + b"ja\x00" + "題".encode() + b"\x00"
    return chunk(b"iTXt", head + (zlib.compress(data) if packed else data))


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (text_chunk(TEXT), TEXT),
        (packed_chunk(TEXT), TEXT),
        (international_chunk(WIDE_TEXT), WIDE_TEXT),
        (international_chunk(WIDE_TEXT, packed=True), WIDE_TEXT),
        (text_chunk("other", b"Software") + text_chunk(TEXT), TEXT),
        (text_chunk("other", b"parameters2") + text_chunk(TEXT), TEXT),
        (text_chunk(TEXT) + text_chunk("a second one"), TEXT),
        (text_chunk(""), ""),
        (text_chunk("x" * TEXT_MAX_BYTES), "x" * TEXT_MAX_BYTES),
        (packed_chunk("x" * TEXT_MAX_BYTES), "x" * TEXT_MAX_BYTES),
    ],
)
def test_every_way_to_write_the_text_is_read(written: bytes, text: str) -> None:
    assert generation_text_of_png(png(written)) == text


def test_a_text_behind_the_pixels_is_found() -> None:
    end = chunk(b"IEND", b"")
    assert generation_text_of_png(png()[: -len(end)] + text_chunk(TEXT) + end) == TEXT


def test_a_wrong_checksum_does_not_matter() -> None:
    written = text_chunk(TEXT)
    assert generation_text_of_png(png(written[:-4] + b"\x00\x00\x00\x00")) == TEXT


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8\xff\xe0 a JPEG",
        SIGNATURE,
        SIGNATURE[:-1] + text_chunk(TEXT),
        png(),
        png(text_chunk(TEXT, b"Parameters")),
        png(chunk(b"tEXt", b"parameters")),
        png(text_chunk("x" * (TEXT_MAX_BYTES + 1))),
        png(packed_chunk("x" * (TEXT_MAX_BYTES + 1))),
        png(international_chunk("x" * (TEXT_MAX_BYTES + 1))),
        png(international_chunk("x" * (TEXT_MAX_BYTES + 1), packed=True)),
        png(packed_chunk(TEXT)[:-20]),
        png(chunk(b"zTXt", b"parameters\x00\x01" + zlib.compress(b"method 1"))),
        png(chunk(b"zTXt", b"parameters\x00\x00" + zlib.compress(b"half of it")[:-6])),
        png(chunk(b"zTXt", b"parameters\x00\x00no zlib")),
        png(chunk(b"zTXt", b"parameters\x00")),
        png(chunk(b"iTXt", b"parameters\x00")),
        png(chunk(b"iTXt", b"parameters\x00\x00\x00en\x00no second zero")),
        png(chunk(b"iTXt", b"parameters\x00\x02\x00en\x00\x00a flag of 2")),
        png(text_chunk(TEXT))[:60],
        SIGNATURE + b"\xff\xff\xff\xfftEXtparameters\x00" + b"x" * 50,
        SIGNATURE + chunk(b"IEND", b"") + text_chunk(TEXT),
    ],
)
def test_there_is_no_text_in(data: bytes) -> None:
    assert generation_text_of_png(data) is None


def test_the_size_stands_in_the_header() -> None:
    assert png_size(png(width=832, height=1216)) == (832, 1216)


@pytest.mark.parametrize(
    "data",
    [
        *(b"", SIGNATURE, b"GIF89a", png()[:20], SIGNATURE + text_chunk(TEXT), png(width=0, height=5)),
        SIGNATURE + chunk(b"IHDR", b"\x00\x00\x00\x01\x00\x00\x00\x01"),
        SIGNATURE + chunk(b"IHDR", b"\xff" * 13),
    ],
)
def test_there_is_no_size_in(data: bytes) -> None:
    assert png_size(data) is None


CHUNKS = st.builds(
    chunk,
    st.sampled_from([b"IHDR", b"tEXt", b"zTXt", b"iTXt", b"IDAT", b"IEND"]),
    st.binary(max_size=30).flatmap(
        lambda rest: st.sampled_from(
            [rest, b"parameters\x00" + rest, b"parameters\x00\x01\x00\x00\x00" + rest]
        )
    ),
)


@given(st.one_of(st.binary(), st.lists(CHUNKS | st.binary(max_size=12), max_size=8).map(b"".join)))
@example(b"\x00\x00\x00")
def test_no_bytes_raise(rest: bytes) -> None:
    for data in (rest, SIGNATURE + rest, png(rest)):
        text, size = generation_text_of_png(data), png_size(data)
        assert text is None or isinstance(text, str)
        assert size is None or min(size) > 0


@given(st.text(), st.booleans())
def test_any_text_comes_back(text: str, packed: bool) -> None:
    assert generation_text_of_png(png(international_chunk(text, packed=packed))) == text


def bomb(megabytes: int) -> bytes:
    stream = zlib.compressobj(9)
    packed = b"".join(stream.compress(b"\x00" * (1 << 20)) for _ in range(megabytes)) + stream.flush()
    return chunk(b"zTXt", b"parameters\x00\x00" + packed)


@pytest.mark.parametrize(
    "hostile",
    [bomb(200), bomb(2) * 5_000, chunk(b"aaaa", b"") * 1_000_000, text_chunk("", b"a") * 500_000],
    ids=["one bomb", "many bombs", "many chunks", "many texts"],
)
def test_a_hostile_file_does_not_hold_up_the_reader(hostile: bytes) -> None:
    data = png(hostile)
    started = time.process_time()
    assert generation_text_of_png(data) is None
    assert time.process_time() - started < 2 * slowness()
