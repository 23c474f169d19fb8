"""Generation texts out of picture files: as Pillow and piexif write them, and as nobody should."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stablequeue_client.shared.generation.image_text import generation_text, picture_format
from stablequeue_client.shared.generation.png_text import TEXT_MAX_BYTES

from ..fake_runner import png

TEXT = "a café\nSteps: 20, Sampler: Euler a, Seed: 1"
WIDE_TEXT = "猫 🦊, " + TEXT


def exif(comment: bytes, order: str = "<", *, more: int = 0) -> bytes:
    """Exif data whose only value besides ``more`` others is the comment."""
    entry = f"{order}HHII"
    first = struct.pack(f"{order}H", 1 + more) + struct.pack(entry, 0x0131, 2, 4, 0) * more
    inner_at = 8 + len(first) + 12 + 4
    first += struct.pack(entry, 0x8769, 4, 1, inner_at) + bytes(4)
    inner = struct.pack(f"{order}H", 1)
    inner += struct.pack(entry, 0x9286, 7, len(comment), inner_at + 18) + bytes(4)
    mark = b"II" if order == "<" else b"MM"
    return mark + struct.pack(f"{order}HI", 42, 8) + first + inner + comment


def jpeg(data: bytes, *, before: bytes = b"") -> bytes:
    segment = b"Exif\x00\x00" + data
    jfif = b"\xff\xe0\x00\x10JFIF" + bytes(10)
    return (
        b"\xff\xd8"
        + jfif
        + before
        + b"\xff\xe1"
        + struct.pack(">H", len(segment) + 2)
        + segment
        + b"\xff\xd9"
    )


def webp(data: bytes) -> bytes:
    chunks = b"VP8 " + struct.pack("<I", 3) + b"abc\x00" + b"EXIF" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def unicode_comment(text: str, encoding: str = "utf-16-be") -> bytes:
    return b"UNICODE\x00" + text.encode(encoding)


@pytest.mark.parametrize("wrap", [jpeg, webp])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("comment", "text"),
    [
        (unicode_comment(TEXT), TEXT),
        (unicode_comment(WIDE_TEXT), WIDE_TEXT),
        (unicode_comment(TEXT, "utf-16-le"), TEXT),
        (unicode_comment(WIDE_TEXT + "\x00", "utf-16-le"), WIDE_TEXT),
        (b"ASCII\x00\x00\x00" + b"Steps: 20", "Steps: 20"),
        (bytes(8) + WIDE_TEXT.encode(), WIDE_TEXT),
        (unicode_comment(""), None),
        (b"UNI", None),
        (unicode_comment("x" * TEXT_MAX_BYTES), None),
    ],
)
def test_the_comment_is_read_as_it_was_written(wrap: object, order: str, comment: bytes, text: str) -> None:
    picture = wrap(exif(comment, order, more=2)) if len(comment) < 60_000 else webp(exif(comment, order))  # type: ignore[operator]
    assert generation_text(picture) == text


def test_a_picture_without_it_has_none_and_its_format_is_told() -> None:
    pictures = [png(3, 3, TEXT), b"\xff\xd8\xff\xd9", webp(b""), b"GIF89a", b""]
    assert [picture_format(data) for data in pictures] == ["PNG", "JPEG", "WebP", None, None]
    assert [generation_text(data) for data in pictures] == [TEXT, None, None, None, None]
    filled = jpeg(exif(unicode_comment(TEXT)), before=b"\xff\xff\xff\x01\xff\xe1\x00\x0dhttp://xmp\x00")
    assert generation_text(filled) == TEXT
    after_pixels = jpeg(exif(unicode_comment(TEXT)), before=b"\xff\xda\x00\x02")
    assert generation_text(after_pixels) is None


@given(st.data())
def test_no_damage_raises(data: st.DataObject) -> None:
    whole = bytearray(data.draw(st.sampled_from([jpeg, webp]))(exif(unicode_comment(WIDE_TEXT))))
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=6)):
        whole[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    for damaged in (bytes(whole), bytes(whole[:cut])):
        found = generation_text(damaged)
        assert found is None or isinstance(found, str)
