"""The comment in the Exif data of a picture. Pure; never raises.

Into a JPEG, a WebP or an AVIF a WebUI writes the generation text as the Exif value ``UserComment`` (A1111 and
Forge ``modules/images.py save_image_with_geninfo``, through ``piexif``)::

    Exif    "II" or "MM" (byte order), 42, place of the first list
            list: number of entries (2), then of each: tag (2), type (2), count (4), value or its place (4)
            tag 8769 of the first list: place of the list where tag 9286 is the comment
    comment "UNICODE" 00 and UTF-16, "ASCII" 00 00 00 and ASCII, "JIS" and five zeros and JIS, eight zeros and
            anything; other programs leave these eight bytes out, and the hosts then read all of it
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from stablequeue_client.shared.generation.png_text import TEXT_MAX_BYTES

_EXIF_LIST, _COMMENT = 0x8769, 0x9286
_MOST_ENTRIES = 1_000
_UNICODE = b"UNICODE\x00"
_ENCODINGS = {
    _UNICODE: "utf-8",
    b"ASCII\x00\x00\x00": "utf-8",
    b"JIS\x00\x00\x00\x00\x00": "shift_jis",
    bytes(8): "utf-8",
}
_SETTINGS = b"Steps: "
"""In UTF-8, which some programs write behind "UNICODE"."""


def comment_of_exif(exif: bytes) -> str | None:
    """Return the comment; None without one."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None or len(exif) < 8:
        return None
    inner = _value(exif, order, int(struct.unpack_from(f"{order}I", exif, 4)[0]), _EXIF_LIST)
    found = None if inner is None else _value(exif, order, inner[1], _COMMENT)
    if found is None:
        return None
    count, place = found
    # Four bytes and fewer stand in the entry itself, and are no text of a WebUI.
    return _text(exif[place : place + count], order) if 4 < count <= TEXT_MAX_BYTES else None


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
    if code == _UNICODE and _SETTINGS not in text:
        # piexif writes big-endian whatever the file's order is, others the file's: most letters say which.
        big, little = text[0::2].count(0), text[1::2].count(0)
        as_big = big > little if big != little else order == ">"
        decoded = text.decode("utf-16-be" if as_big else "utf-16-le", "replace").removeprefix("\ufeff")
    elif code in _ENCODINGS:
        decoded = text.decode(_ENCODINGS[code], "replace")
    else:
        decoded = comment.decode("utf-8", "replace")
    return decoded.strip("\x00") or None
