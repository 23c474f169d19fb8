"""The generation text of a picture file, as the hosts read it. Pure; never raises.

``modules/images.py read_info_from_image``: the comment in the Exif data counts before the text chunk
``parameters`` of a PNG; a picture without Exif data may have a comment of its format; NovelAI's pictures are
told by their chunks; a PNG that says nothing may hide its text in its pixels. The formats::

    JPEG    ff d8, then segments: ff, marker, length (2 bytes, big-endian, with itself), data
            the one with marker e1 and "Exif" 00 00 holds the Exif data, one with fe a comment
    WebP    "RIFF", length, "WEBP", then chunks: name (4), length (4, little-endian), data, 00 if it is odd
            the one called "EXIF" holds the Exif data, in some files behind "Exif" 00 00
    GIF     "GIF87a" or "GIF89a", size (4), flags, 2 bytes, colours, then blocks: 2c a picture, 21 and a label
            an extension (fe: a comment), each with parts of up to 255 bytes behind their length, the last 00
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

from stablequeue_client.shared.generation.avif_text import exif_of_avif, is_avif
from stablequeue_client.shared.generation.exif_comment import comment_of_exif
from stablequeue_client.shared.generation.novelai_text import SOFTWARE, novelai_text, novelai_text_of_json
from stablequeue_client.shared.generation.png_text import (
    TEXT_MAX_BYTES,
    exif_of_png,
    generation_text_of_png,
    png_size,
    text_chunk,
)
from stablequeue_client.shared.generation.stealth_text import stealth_text

PictureFormat = Literal["PNG", "JPEG", "WebP", "AVIF", "GIF"]

_EXIF = b"Exif\x00\x00"
_MOST_PARTS = 10_000
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
_EXIF_SEGMENT, _COMMENT_SEGMENT = 0xE1, 0xFE
_PIXELS_BEGIN, _END = 0xDA, 0xD9
_GIF_PICTURE, _GIF_EXTENSION, _GIF_COMMENT = 0x2C, 0x21, 0xFE
_SETTINGS = "Steps: "
"""Other programs write a comment too; one without this is no generation text."""


def picture_format(data: bytes) -> PictureFormat | None:
    """Return what kind of picture its first bytes promise; None for something else."""
    if png_size(data) is not None:
        return "PNG"
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WebP"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    return "AVIF" if is_avif(data) else None


def generation_text(data: bytes) -> str | None:
    """Return what a WebUI wrote under a picture; None without it, or for what is no picture.

    A PNG without any may take a third of a second: its pixels are looked at.
    """
    found = picture_format(data)
    if found is None:
        return None
    exif = _EXIF_READERS[found](data) if found in _EXIF_READERS else None
    text = None if exif is None else comment_of_exif(exif)
    if text:
        return text
    if found == "PNG":
        return _novelai(data) or generation_text_of_png(data) or _stealth(data)
    comment = _COMMENT_READERS[found](data) if found in _COMMENT_READERS else b""
    return _plain_comment(comment)


def _novelai(data: bytes) -> str | None:
    if text_chunk(data, "Software") != SOFTWARE:
        return None
    return novelai_text(
        text_chunk(data, "Description") or "", text_chunk(data, "Comment") or "", png_size(data)
    )


def _stealth(data: bytes) -> str | None:
    text = stealth_text(data)
    return text and (novelai_text_of_json(text, png_size(data)) or text)


def _plain_comment(comment: bytes) -> str | None:
    text = comment.decode("utf-8", "ignore") if len(comment) <= TEXT_MAX_BYTES else ""
    return text if _SETTINGS in text else None


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, and where the data begins and ends, of each segment of a JPEG before its pixels."""
    at = 2
    for _ in range(_MOST_PARTS):
        if data[at : at + 1] != b"\xff" or at + 4 > len(data):
            return
        marker = data[at + 1]
        if marker in (_PIXELS_BEGIN, _END):
            return
        if marker == 0xFF or marker in _WITHOUT_LENGTH:  # a byte that fills up, or a mark alone
            at += 1 if marker == 0xFF else 2
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        yield marker, at + 4, end
        at = max(end, at + 4)


def _exif_of_jpeg(data: bytes) -> bytes | None:
    for marker, start, end in _segments(data):
        if marker == _EXIF_SEGMENT and data.startswith(_EXIF, start, end):
            return data[start + len(_EXIF) : end]
    return None


def _comment_of_jpeg(data: bytes) -> bytes:
    comments = [data[start:end] for marker, start, end in _segments(data) if marker == _COMMENT_SEGMENT]
    return comments[-1] if comments else b""


def _exif_of_webp(data: bytes) -> bytes | None:
    at = 12
    for _ in range(_MOST_PARTS):
        start = at + 8
        if start > len(data):
            return None
        end = start + int.from_bytes(data[at + 4 : start], "little")
        if data[at : at + 4] == b"EXIF":
            return data[start:end].removeprefix(_EXIF)
        at = end + end % 2
    return None


def _exif_of_a_png(data: bytes) -> bytes | None:
    exif = exif_of_png(data)
    return None if exif is None else exif.removeprefix(_EXIF)


def _comment_of_gif(data: bytes) -> bytes:
    """The comments before and behind the first picture, a line each."""
    flags = data[10:11]
    at = 13 + _colours(flags)
    comments: list[bytes] = []
    for _ in range(_MOST_PARTS):
        block = data[at : at + 1]
        if block == bytes([_GIF_EXTENSION]):
            parts, end = _gif_parts(data, at + 2)
            if data[at + 1 : at + 2] == bytes([_GIF_COMMENT]):
                comments.append(parts)
            at = end
        elif block == bytes([_GIF_PICTURE]):
            at = _gif_parts(data, at + 11 + _colours(data[at + 9 : at + 10]))[1]
        else:
            break
    return b"\n".join(comments)


def _colours(flags: bytes) -> int:
    """Bytes of the list of colours that these flags tell of."""
    return 3 << (flags[0] & 7) + 1 if flags and flags[0] & 0x80 else 0


def _gif_parts(data: bytes, at: int) -> tuple[bytes, int]:
    """The parts put together, up to the longest text, and where the next block begins."""
    found, size = [], 0
    while length := int.from_bytes(data[at : at + 1], "big"):
        size += length
        if size <= TEXT_MAX_BYTES + 1:
            found.append(data[at + 1 : at + 1 + length])
        at += 1 + length
    return b"".join(found), at + 1


_EXIF_READERS: dict[PictureFormat, Callable[[bytes], bytes | None]] = {
    "PNG": _exif_of_a_png,
    "JPEG": _exif_of_jpeg,
    "WebP": _exif_of_webp,
    "AVIF": exif_of_avif,
}
_COMMENT_READERS: dict[PictureFormat, Callable[[bytes], bytes]] = {
    "JPEG": _comment_of_jpeg,
    "GIF": _comment_of_gif,
}
