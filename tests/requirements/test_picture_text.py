"""Generation texts out of picture files: as Pillow and piexif write them, and as nobody should."""

from __future__ import annotations

import gzip
import json
import struct
import time
import zlib
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stablequeue_client.shared.generation.image_text import generation_text, picture_format
from stablequeue_client.shared.generation.png_text import TEXT_MAX_BYTES
from stablequeue_client.shared.generation.stealth_text import MESSAGE_MAX_BYTES, stealth_text

from ..fake_runner import png
from ..slowness import slowness

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
        (TEXT.encode(), TEXT),
        (b"Steps: 2", "Steps: 2"),
        (b"JIS" + bytes(5) + WIDE_TEXT[:2].encode("shift_jis"), WIDE_TEXT[:2]),
        (b"UNICODE\x00" + WIDE_TEXT.encode(), WIDE_TEXT),
        (unicode_comment("x" * TEXT_MAX_BYTES), None),
    ],
)
def test_the_comment_is_read_as_it_was_written(wrap: object, order: str, comment: bytes, text: str) -> None:
    picture = wrap(exif(comment, order, more=2)) if len(comment) < 60_000 else webp(exif(comment, order))  # type: ignore[operator]
    assert generation_text(picture) == text


def test_a_picture_without_it_has_none_and_its_format_is_told() -> None:
    pictures = [png(3, 3, TEXT), b"\xff\xd8\xff\xd9", webp(b""), b"GIF89a", b""]
    assert [picture_format(data) for data in pictures] == ["PNG", "JPEG", "WebP", "GIF", None]
    assert [generation_text(data) for data in pictures] == [TEXT, None, None, None, None]
    filled = jpeg(exif(unicode_comment(TEXT)), before=b"\xff\xff\xff\x01\xff\xe1\x00\x0dhttp://xmp\x00")
    assert generation_text(filled) == TEXT
    after_pixels = jpeg(exif(unicode_comment(TEXT)), before=b"\xff\xda\x00\x02")
    assert generation_text(after_pixels) is None


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def avif(data: bytes, *, inside: bool = False, version: int = 0, mark: bytes = b"") -> bytes:
    """``inside``: the Exif data lies in the box ``idat``, as the format also allows."""
    item = struct.pack(">I", len(mark)) + mark + data
    kinds = [(1, b"av01"), (2, b"Exif")]
    entries = b"".join(
        box(b"infe", b"\x02\x00\x00\x00" + struct.pack(">HH", one, 0) + kind + b"\x00") for one, kind in kinds
    )
    iinf = box(b"iinf", bytes(4) + struct.pack(">H", len(kinds)) + entries)
    version = max(version, 1) if inside else version

    def iloc(start: int) -> bytes:
        def one(number: int, place: int, length: int) -> bytes:
            method = struct.pack(">H", int(inside)) if version else b""
            wide = struct.pack(">I" if version == 2 else ">H", number)
            # the item in two parts, the first of 3 bytes
            parts = [(place, 3), (place + 3, length - 3)]
            return (
                wide
                + method
                + bytes(2)
                + struct.pack(">H", 2)
                + b"".join(struct.pack(">II", *part) for part in parts)
            )

        count = struct.pack(">I" if version == 2 else ">H", 2)
        content = bytes([version, 0, 0, 0, 0x44, 0]) + count + one(1, 0, 4) + one(2, start, len(item))
        return box(b"iloc", content)

    head = box(b"ftyp", b"avif" + bytes(4) + b"mif1avif")
    idat = box(b"idat", item) if inside else b""
    meta = box(b"meta", bytes(4) + iinf + iloc(0) + idat)
    start = 0 if inside else len(head) + len(meta) + 8
    meta = box(b"meta", bytes(4) + iinf + iloc(start) + idat)
    return head + meta + box(b"mdat", b"" if inside else item)


def gif(*comments: bytes, colours: bool = True) -> bytes:
    def parts(data: bytes) -> bytes:
        pieces = [data[at : at + 255] for at in range(0, len(data), 255)]
        return b"".join(bytes([len(piece)]) + piece for piece in pieces) + b"\x00"

    head = b"GIF89a" + struct.pack("<HH", 2, 2) + (b"\x81\x00\x00" + bytes(12) if colours else bytes(3))
    delay = b"\x21\xf9" + parts(bytes(4))
    picture = b"\x2c" + bytes(8) + (b"\x80" + bytes(6) if not colours else b"\x00") + b"\x02" + parts(b"abc")
    told = [b"\x21\xfe" + parts(comment) for comment in comments]
    return head + b"".join(told[:1]) + delay + picture + b"".join(told[1:]) + b"\x3b"


@pytest.mark.parametrize("text", [TEXT, WIDE_TEXT + ", Model: x" * 100])
def test_avif_and_gif_are_read(text: str) -> None:
    data = exif(unicode_comment(text))
    pictures = [
        *(avif(data, version=version) for version in (0, 1, 2)),
        avif(data, inside=True),
        avif(data, mark=b"Exif\x00\x00"),
        gif(text.encode()),
        gif(text.encode(), colours=False),
    ]
    assert [picture_format(one) for one in pictures] == ["AVIF"] * 5 + ["GIF"] * 2
    assert [generation_text(one) for one in pictures] == [text] * 7
    assert generation_text(gif(b"made by hand", text.encode())) == "made by hand\n" + text
    assert generation_text(gif(b"made by hand")) is None


def test_the_comment_of_a_jpeg_is_read_where_its_exif_data_says_nothing() -> None:
    def comment(text: str) -> bytes:
        return b"\xff\xfe" + struct.pack(">H", len(text.encode()) + 2) + text.encode()

    assert generation_text(b"\xff\xd8" + comment(WIDE_TEXT) + b"\xff\xd9") == WIDE_TEXT
    assert generation_text(b"\xff\xd8" + comment("CREATOR: gd-jpeg") + b"\xff\xd9") is None
    assert generation_text(jpeg(exif(unicode_comment(TEXT)), before=comment("Steps: 3"))) == TEXT


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunks(picture: bytes, *chunks: bytes) -> bytes:
    return picture[:-12] + b"".join(chunks) + picture[-12:]


def test_the_exif_data_of_a_png_counts_before_its_text() -> None:
    data = exif(unicode_comment(WIDE_TEXT))
    assert generation_text(with_chunks(png(3, 3, None), chunk(b"eXIf", data))) == WIDE_TEXT
    assert generation_text(with_chunks(png(3, 3, None), chunk(b"eXIf", b"Exif\x00\x00" + data))) == WIDE_TEXT
    assert generation_text(with_chunks(png(3, 3, "old"), chunk(b"eXIf", data))) == WIDE_TEXT
    assert generation_text(with_chunks(png(3, 3, TEXT), chunk(b"eXIf", exif(b"")))) == TEXT


NOVELAI = {"steps": 28, "sampler": "k_dpmpp_2m", "seed": 5, "strength": 0.7, "scale": 11.0, "uc": "fog"}
NOVELAI_TEXT = """a red boat
Negative prompt: fog
Steps: 28, Sampler: DPM++ 2M, CFG scale: 11.0, Seed: 5, Size: 3x4, Clip skip: 2, ENSD: 31337"""


def novelai(comment: object, software: bytes = b"NovelAI") -> bytes:
    texts = {b"Software": software, b"Description": b"a red boat", b"Comment": json.dumps(comment).encode()}
    return with_chunks(
        png(3, 4, None), *(chunk(b"tEXt", name + b"\x00" + text) for name, text in texts.items())
    )


def test_a_picture_of_novelai_is_read_as_the_hosts_do() -> None:
    assert generation_text(novelai(NOVELAI)) == NOVELAI_TEXT
    another = generation_text(novelai({**NOVELAI, "sampler": "nai_smea"}))
    assert another == NOVELAI_TEXT.replace("DPM++ 2M", "Euler a")
    for comment in ({"steps": 28}, [], "x", {**NOVELAI, "steps": 10**40}):
        found = generation_text(novelai(comment))
        assert found is None or "Steps: 1000" in found
    assert generation_text(novelai(NOVELAI, b"Other")) is None


def stealth(
    text: bytes,
    *,
    channels: int = 4,
    alpha: bool = True,
    packed: bool = True,
    size: tuple[int, int] = (90, 71),
    length: int | None = None,
    interlaced: int = 0,
) -> bytes:
    """A PNG with ``text`` in its pixels, and every way to predict a pixel."""
    kind = b"stealth_" + (b"png" if alpha else b"rgb") + (b"comp" if packed else b"info")
    body = gzip.compress(text) if packed else text
    message = kind + struct.pack(">I", len(body) * 8 if length is None else length) + body
    bits = [byte >> place & 1 for byte in message for place in range(7, -1, -1)]
    width, height = size
    random = Random(7)
    rows = [bytearray(random.randbytes(width * channels)) for _ in range(height)]
    places = [3] if alpha else [0, 1, 2]
    where = ((x, y, place) for x in range(width) for y in range(height) for place in places)
    for bit, (x, y, place) in zip(bits, where, strict=False):
        rows[y][x * channels + place] = rows[y][x * channels + place] & 0xFE | bit
    above, packed_rows = bytes(width * channels), b""
    for number, row in enumerate(rows):
        packed_rows += filtered(number % 5, bytes(row), above, channels)
        above = bytes(row)
    header = struct.pack(">IIBBBBB", width, height, 8, 6 if channels == 4 else 2, 0, 0, interlaced)
    data = zlib.compress(packed_rows)
    pieces = [chunk(b"IDAT", data[at : at + 999]) for at in range(0, len(data), 999)]
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(pieces) + chunk(b"IEND", b"")


def filtered(kind: int, row: bytes, above: bytes, step: int) -> bytes:
    def guess(at: int) -> int:
        left = row[at - step] if at >= step else 0
        corner = above[at - step] if at >= step else 0
        up = above[at]
        nearest = min((left, up, corner), key=lambda one: abs(left + up - corner - one))
        return (0, left, up, (left + up) // 2, nearest)[kind]

    return bytes([kind]) + bytes((value - guess(at)) & 0xFF for at, value in enumerate(row))


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(("channels", "alpha"), [(4, True), (4, False), (3, False)])
@pytest.mark.parametrize("size", [(90, 71), (400, 16), (5, 2000), (71, 151), (71, 153)])
def test_a_text_in_the_pixels_is_read(
    packed: bool, channels: int, alpha: bool, size: tuple[int, int]
) -> None:
    text = WIDE_TEXT + ", Model: x" * 3
    assert (
        generation_text(stealth(text.encode(), channels=channels, alpha=alpha, packed=packed, size=size))
        == text
    )


def test_what_novelai_hides_in_the_pixels_is_read_too() -> None:
    said = {"Software": "NovelAI", "Description": "a red boat", "Comment": json.dumps(NOVELAI)}
    found = generation_text(stealth(json.dumps(said).encode()))
    assert found == NOVELAI_TEXT.replace("3x4", "90x71")


def test_a_hostile_message_in_the_pixels_is_none_and_costs_little() -> None:
    assert stealth_text(stealth(TEXT.encode(), length=1 << 31)) is None
    assert stealth_text(stealth(TEXT.encode(), length=0)) is None
    assert stealth_text(stealth(TEXT.encode(), size=(20, 20))) is None
    assert stealth_text(stealth(TEXT.encode(), interlaced=1)) is None
    started = time.process_time()
    bomb = stealth(bytes(50_000_000), size=(700, 700))
    assert stealth_text(bomb) is None
    empty = zlib.compress(bytes(100_000_000))
    header = struct.pack(">IIBBBBB", 200_000, 125, 8, 6, 0, 0, 0)
    huge = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", empty) + chunk(b"IEND", b"")
    assert stealth_text(huge) is None
    for width, height in ((1 << 30, 1), (1, 1 << 30), (0, 5), (60_000, 60_000)):
        header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
        assert stealth_text(huge[:8] + chunk(b"IHDR", header) + huge[33:]) is None
    longest = stealth(bytes(MESSAGE_MAX_BYTES), packed=False, size=(520, 520))
    assert stealth_text(longest) == "\0" * MESSAGE_MAX_BYTES
    assert time.process_time() - started < 12 * slowness()


WHOLE = {
    "jpeg": jpeg(exif(unicode_comment(WIDE_TEXT))),
    "webp": webp(exif(unicode_comment(WIDE_TEXT))),
    "avif": avif(exif(unicode_comment(WIDE_TEXT))),
    "gif": gif(WIDE_TEXT.encode()),
    "novelai": novelai(NOVELAI),
    "stealth": stealth(TEXT.encode(), size=(20, 90)),
}


@given(st.data())
def test_no_damage_raises(data: st.DataObject) -> None:
    whole = bytearray(WHOLE[data.draw(st.sampled_from(sorted(WHOLE)))])
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=6)):
        whole[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    for damaged in (bytes(whole), bytes(whole[:cut])):
        found = generation_text(damaged)
        assert found is None or isinstance(found, str)


@pytest.mark.parametrize("kind", ["avif", "gif", "novelai", "jpeg"])
def test_a_picture_that_ends_anywhere_raises_nothing(kind: str) -> None:
    for end in range(len(WHOLE[kind])):
        found = generation_text(WHOLE[kind][:end])
        assert found is None or isinstance(found, str)
