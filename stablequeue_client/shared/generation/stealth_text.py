"""The generation text that lies in a PNG's pixels ("stealth"), read from its bytes. Pure; never raises.

Forge can write it so (``modules/stealth_infotext.py``), NovelAI does. The lowest bit of each pixel's alpha,
or of its red, green and blue, is one bit of the message; pixels go down the columns, from the left::

    "stealth_pnginfo" (alpha) or "stealth_rgbinfo"       15 bytes; "...comp": the text is compressed
    length of the text in bits (4 bytes, big-endian)
    the text in UTF-8, or as gzip

A pixel is predicted from those above and to the left only, so of each row no more is looked at than the
columns that hold the message.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stablequeue_client.shared.generation.png_text import TEXT_MAX_BYTES, png_chunks

MESSAGE_MAX_BYTES = 1 << 15
"""A longer message, as it lies in the pixels, is taken for none: each bit takes a step in Python."""
PIXELS_MAX_BYTES = 1 << 28
"""So much of a picture is unpacked at most: 8192 x 8192 pixels."""
ROW_MAX_BYTES = 1 << 20
_STEP_BYTES = 1 << 16
_SIGNATURE_BYTES, _LENGTH_BYTES = 15, 4
_HEAD_BITS = 8 * (_SIGNATURE_BYTES + _LENGTH_BYTES)
_ALPHA, _RGB = b"png", b"rgb"


@dataclass(frozen=True)
class _Pixels:
    """A PNG of 8 bits a channel that is not interlaced. ``channels``: 3 or 4."""

    data: bytes
    width: int
    height: int
    channels: int

    @property
    def row_bytes(self) -> int:
        return 1 + self.width * self.channels


def stealth_text(data: bytes) -> str | None:
    """Return the text in the pixels of a PNG; None without one."""
    pixels = _pixels(data)
    if pixels is None:
        return None
    modes = (_RGB, _ALPHA) if pixels.channels == 4 else (_RGB,)
    return next((text for mode in modes if (text := _message(pixels, mode)) is not None), None)


def _pixels(data: bytes) -> _Pixels | None:
    for kind, start, end in png_chunks(data):
        if kind != b"IHDR" or end - start != 13:
            return None
        width, height = (int.from_bytes(data[at : at + 4], "big") for at in (start, start + 4))
        depth, colour, _, _, interlaced = data[start + 8 : end]
        channels = {2: 3, 6: 4}.get(colour)
        if channels is None or depth != 8 or interlaced or not width or not height:
            return None
        found = _Pixels(data, width, height, channels)
        is_small = found.row_bytes <= ROW_MAX_BYTES and found.row_bytes * height <= PIXELS_MAX_BYTES
        return found if is_small else None
    return None


def _message(pixels: _Pixels, mode: bytes) -> str | None:
    head = _read(pixels, mode, _HEAD_BITS)
    signature = head[:_SIGNATURE_BYTES]
    packed = signature == b"stealth_" + mode + b"comp"
    bits = int.from_bytes(head[_SIGNATURE_BYTES:], "big")
    if not packed and signature != b"stealth_" + mode + b"info":
        return None
    if len(head) * 8 < _HEAD_BITS or not 0 < bits <= 8 * MESSAGE_MAX_BYTES:
        return None
    message = _read(pixels, mode, _HEAD_BITS + bits)[_HEAD_BITS // 8 :]
    if len(message) * 8 < bits:
        return None
    if packed:
        unpacked = _gunzipped(message)
        return None if unpacked is None else unpacked.decode("utf-8", "replace")
    return message.decode("utf-8", "ignore") or None


def _gunzipped(packed: bytes) -> bytes | None:
    stream = zlib.decompressobj(wbits=31)
    try:
        text = stream.decompress(packed, TEXT_MAX_BYTES + 1)
    except zlib.error:
        return None
    return text if stream.eof and len(text) <= TEXT_MAX_BYTES else None


# --- bits -------------------------------------------------------------------------------------------------


def _read(pixels: _Pixels, mode: bytes, bits: int) -> bytes:
    """Return the first ``bits``, as whole bytes; fewer where the picture ends before."""
    places = (3,) if mode == _ALPHA else (0, 1, 2)
    wanted = -(-bits // len(places))
    columns = min(-(-wanted // pixels.height), pixels.width)
    rows = pixels.height if columns > 1 else min(wanted, pixels.height)
    channels = [_channel(pixels, place, columns, rows) for place in places]
    found = bytearray()
    byte = number = 0
    for column in range(columns):
        for row in range(len(channels[0])):
            for channel in channels:
                byte = byte << 1 | channel[row][column] & 1
                number += 1
                if number % 8 == 0:
                    found.append(byte & 0xFF)
                    byte = 0
    return bytes(found[: bits // 8])


def _channel(pixels: _Pixels, place: int, columns: int, rows: int) -> list[Sequence[int]]:
    """One channel of the first ``rows`` and ``columns``; fewer rows where the picture is damaged."""
    found: list[Sequence[int]] = []
    above: Sequence[int] = bytes(columns)
    end = 1 + columns * pixels.channels
    for row in _filtered_rows(pixels):
        above = _unfiltered(row[0], row[1 + place : end : pixels.channels], above)
        found.append(above)
        if len(found) == rows:
            break
    return found


def _filtered_rows(pixels: _Pixels) -> Iterator[bytes]:
    """The rows as they are packed, each behind the byte that says how its pixels are predicted."""
    stream, waiting, length = zlib.decompressobj(), bytearray(), pixels.row_bytes
    for packed in _packed(pixels.data):
        while packed:
            try:
                waiting += stream.decompress(packed, _STEP_BYTES)
            except zlib.error:
                return
            packed = stream.unconsumed_tail
            at = 0
            while len(waiting) - at >= length:
                yield bytes(waiting[at : at + length])
                at += length
            del waiting[:at]


def _packed(data: bytes) -> Iterator[bytes]:
    """The compressed pixels in pieces small enough to be copied at each step."""
    for kind, start, end in png_chunks(data):
        if kind == b"IDAT":
            for at in range(start, end, _STEP_BYTES):
                yield data[at : min(at + _STEP_BYTES, end)]


def _unfiltered(kind: int, row: bytes, above: Sequence[int]) -> Sequence[int]:
    """One channel of a row (PNG specification, chapter 9)."""
    if kind == 0:
        return row
    found = bytearray(len(row))
    left = above_left = 0
    for place, value in enumerate(row):
        up = above[place]
        if kind == 1:
            guess = left
        elif kind == 2:
            guess = up
        elif kind == 3:
            guess = (left + up) >> 1
        else:
            guess = _paeth(left, up, above_left)
        left = found[place] = (value + guess) & 0xFF
        above_left = up
    return found


def _paeth(left: int, up: int, above_left: int) -> int:
    estimate = left + up - above_left
    by_distance = (abs(estimate - left), abs(estimate - up), abs(estimate - above_left))
    if by_distance[0] <= by_distance[1] and by_distance[0] <= by_distance[2]:
        return left
    return up if by_distance[1] <= by_distance[2] else above_left
