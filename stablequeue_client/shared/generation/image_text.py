"""The generation text of a picture file: PNG, JPEG or WebP. Pure; never raises.

Into a JPEG or a WebP a WebUI writes it as the Exif value ``UserComment`` (A1111 and Forge ``modules/images.py
save_image_with_geninfo``, through ``piexif``)::

    JPEG    ff d8, then segments: ff, marker, length (2 bytes, big-endian, with itself), data
            the one with marker e1 and "Exif" 00 00 holds the Exif data
    WebP    "RIFF", length, "WEBP", then chunks: name (4), length (4, little-endian), data, 00 if it is odd
            the one called "EXIF" holds the Exif data, in some files behind "Exif" 00 00
    Exif    "II" or "MM" (byte order), 42, place of the first list
            list: number of entries (2), then of each: tag (2), type (2), count (4), value or its place (4)
            tag 8769 of the first list: place of the list where tag 9286 is the comment
    comment "UNICODE" 00 and UTF-16, "ASCII" 00 00 00 and ASCII, or eight zeros and anything
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Literal

from stablequeue_client.shared.generation.png_text import TEXT_MAX_BYTES, generation_text_of_png, png_size

_EXIF = b"Exif\x00\x00"
_EXIF_LIST, _COMMENT = 0x8769, 0x9286
_MOST_PARTS = 10_000
_MOST_ENTRIES = 1_000
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
_PIXELS_BEGIN, _END = 0xDA, 0xD9


def picture_format(data: bytes) -> Literal["PNG", "JPEG", "WebP"] | None:
    """Return what kind of picture its first bytes promise; None for something else."""
    if png_size(data) is not None:
        return "PNG"
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    return "WebP" if data.startswith(b"RIFF") and data[8:12] == b"WEBP" else None


def generation_text(data: bytes) -> str | None:
    """Return what a WebUI wrote under a picture; None without it, or for what is no picture."""
    found = picture_format(data)
    if found == "PNG":
        return generation_text_of_png(data)
    exif = _exif_of_jpeg(data) if found == "JPEG" else _exif_of_webp(data) if found == "WebP" else None
    return None if exif is None else _comment_of(exif)


def _exif_of_jpeg(data: bytes) -> bytes | None:
    at = 2
    for _ in range(_MOST_PARTS):
        if data[at : at + 1] != b"\xff" or at + 4 > len(data):
            return None
        marker = data[at + 1]
        if marker in (_PIXELS_BEGIN, _END):
            return None
        if marker == 0xFF or marker in _WITHOUT_LENGTH:  # a byte that fills up, or a mark alone
            at += 1 if marker == 0xFF else 2
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xE1 and data.startswith(_EXIF, at + 4, end):
            return data[at + 4 + len(_EXIF) : end]
        at = max(end, at + 4)
    return None


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


def _comment_of(exif: bytes) -> str | None:
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None or len(exif) < 8:
        return None
    inner = _value(exif, order, int(struct.unpack_from(f"{order}I", exif, 4)[0]), _EXIF_LIST)
    found = None if inner is None else _value(exif, order, inner[1], _COMMENT)
    if found is None:
        return None
    count, place = found
    # Four bytes and fewer would stand in the entry itself; a comment has eight in front of it.
    return _text(exif[place : place + count], order) if 8 < count <= TEXT_MAX_BYTES else None


def _value(exif: bytes, order: str, at: int, wanted: int) -> tuple[int, int] | None:
    """Count and value of a tag in the list at ``at``."""
    for tag, count, value in _entries(exif, order, at):
        if tag == wanted:
            return count, value
    return None


def _entries(exif: bytes, order: str, at: int) -> Iterator[tuple[int, int, int]]:
    if at + 2 > len(exif):
        return
    (number,) = struct.unpack_from(f"{order}H", exif, at)
    for place in range(at + 2, at + 2 + 12 * min(number, _MOST_ENTRIES), 12):
        if place + 12 > len(exif):
            return
        tag, _, count, value = struct.unpack_from(f"{order}HHII", exif, place)
        yield tag, count, value


def _text(comment: bytes, order: str) -> str | None:
    code, text = comment[:8], comment[8:]
    if code == b"UNICODE\x00":
        # piexif writes big-endian whatever the file's order is, others the file's: most letters say which.
        big, little = text[0::2].count(0), text[1::2].count(0)
        as_big = big > little if big != little else order == ">"
        decoded = text.decode("utf-16-be" if as_big else "utf-16-le", "replace").removeprefix("\ufeff")
    else:
        decoded = text.decode("utf-8", "replace")
    return decoded.rstrip("\x00") or None
