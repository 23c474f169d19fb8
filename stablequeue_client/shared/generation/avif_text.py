"""The Exif data of an AVIF, read from its bytes. Pure; never raises.

A picture of this kind is made of boxes (ISO/IEC 14496-12 and 23008-12, annex A)::

    box     length (4, big-endian, with itself; 1: 8 more bytes hold it, 0: to the end), type (4), content
    ftyp    the first: brands of 4 letters, "avif" or "avis" among them
    meta    version and flags (4), then boxes:
      iinf  the items: version, number, and of each a box infe: version, flags, id, protection, type
      iloc  where each of them lies: parts of the file, or of the box idat
    Exif    the item of this type: place of the Exif data (4) in what follows, mostly 0
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

_MOST_BOXES = 1_000
_MOST_ITEMS = 1_000
_MOST_PARTS = 100
_EXIF_MAX_BYTES = 1 << 22
_MARK = b"Exif\x00\x00"


class _Box(NamedTuple):
    kind: bytes
    start: int
    end: int


def is_avif(data: bytes) -> bool:
    """Return whether its first bytes promise one."""
    length = int.from_bytes(data[:4], "big")
    names = data[8 : min(length, 256)]
    brands = {names[at : at + 4] for at in range(0, len(names), 4)}
    return data[4:8] == b"ftyp" and bool(brands & {b"avif", b"avis"})


def exif_of_avif(data: bytes) -> bytes | None:
    """Return the Exif data; None without it."""
    meta = next((box for box in _boxes(data, 0, len(data)) if box.kind == b"meta"), None)
    if meta is None:
        return None
    inner = {box.kind: box for box in _boxes(data, meta.start + 4, meta.end)}
    if b"iinf" not in inner or b"iloc" not in inner:
        return None
    wanted = _exif_item(data, inner[b"iinf"])
    item = None if wanted is None else _content(data, inner, wanted)
    if item is None or len(item) < 4:
        return None
    return item[4 + int.from_bytes(item[:4], "big") :].removeprefix(_MARK)


def _boxes(data: bytes, at: int, end: int) -> Iterator[_Box]:
    for _ in range(_MOST_BOXES):
        if at + 8 > end:
            return
        length, start = int.from_bytes(data[at : at + 4], "big"), at + 8
        if length == 1:
            length, start = int.from_bytes(data[start : start + 8], "big"), start + 8
        stop = end if length == 0 else min(at + length, end)
        if stop < start:
            return
        yield _Box(data[at + 4 : at + 8], start, stop)
        at = stop


def _exif_item(data: bytes, box: _Box) -> int | None:
    """The number of the item that is Exif data."""
    count = 2 if data[box.start : box.start + 1] == b"\x00" else 4
    for number, entry in enumerate(_boxes(data, box.start + 4 + count, box.end)):
        if number >= _MOST_ITEMS or entry.end - entry.start < 12:
            return None
        version, at = data[entry.start], entry.start + 4
        size = 2 if version == 2 else 4
        if version in (2, 3) and data[at + size + 2 : at + size + 6] == b"Exif":
            return int.from_bytes(data[at : at + size], "big")
    return None


class _Reader:
    """Numbers of some bytes, one after the other; 0 behind the end."""

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self._data, self._at, self._end = data, at, end

    def number(self, size: int) -> int:
        found = int.from_bytes(self._data[self._at : min(self._at + size, self._end)], "big")
        self._at += size
        return found


def _content(data: bytes, boxes: dict[bytes, _Box], wanted: int) -> bytes | None:
    """What the box iloc says of an item: its parts, put together."""
    box = boxes[b"iloc"]
    read = _Reader(data, box.start, box.end)
    version = read.number(4) >> 24
    sizes = read.number(2)
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_size = sizes & 15 if version else 0
    for _ in range(min(read.number(4 if version == 2 else 2), _MOST_ITEMS)):
        item = read.number(4 if version == 2 else 2)
        method = read.number(2) & 15 if version else 0
        read.number(2)
        base, parts = read.number(base_size), read.number(2)
        places = []
        for _ in range(min(parts, _MOST_PARTS)):
            read.number(index_size)
            places.append((base + read.number(offset_size), read.number(length_size)))
        if item == wanted:
            inside = boxes.get(b"idat") if method == 1 else _Box(b"", 0, len(data))
            return None if method > 1 or inside is None else _joined(data, inside, places)
        if parts > _MOST_PARTS:
            return None
    return None


def _joined(data: bytes, box: _Box, places: list[tuple[int, int]]) -> bytes:
    found = b""
    for start, length in places:
        at = box.start + start
        found += data[at : min(at + min(length or _EXIF_MAX_BYTES, _EXIF_MAX_BYTES), box.end)]
        if len(found) > _EXIF_MAX_BYTES:
            break
    return found
