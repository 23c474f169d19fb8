"""The generation text and the size of a PNG, read from its bytes. Pure; never raises.

A WebUI writes its generation text into the text chunk ``parameters`` (A1111 and Forge ``modules/images.py
save_image_with_geninfo``), through Pillow: ``tEXt`` where Latin-1 will do, else ``iTXt``. Other programs also
write the compressed forms. The format (PNG specification, chapters 5 and 11.3.3)::

    89 "PNG" 0d 0a 1a 0a
    chunk, chunk, ...         length (4 bytes, big-endian), type (4), data (length), checksum (4, not read)
    IHDR                      the first: width (4), height (4), ...
    tEXt                      keyword 00 text in Latin-1
    zTXt                      keyword 00 method (0) zlib
    eXIf                      Exif data
    iTXt                      keyword 00 compressed (0, 1) method (0) language 00 keyword 00 text in UTF-8
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

TEXT_MAX_BYTES = 1 << 20
"""A longer text, as written or decompressed, is taken for none."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PARAMETERS = "parameters"
_LARGEST = (1 << 31) - 1
_MOST_CHUNKS = 100_000
"""Writers make chunks of 8 KiB or more: enough for 800 MB."""


def generation_text_of_png(data: bytes) -> str | None:
    """Return what the first chunk ``parameters`` says; None without one, or when it cannot be read."""
    return text_chunk(data, _PARAMETERS)


def text_chunk(data: bytes, keyword: str) -> str | None:
    """Return the text of the first chunk of this keyword; None without one, or when it cannot be read."""
    mark = keyword.encode("latin-1") + b"\x00"
    for kind, start, end in png_chunks(data):
        if kind in _READERS and data.startswith(mark, start, end):
            # The first one decides: each of many could unpack to the full size.
            return _READERS[kind](data[start + len(mark) : end])
    return None


def exif_of_png(data: bytes) -> bytes | None:
    """Return the Exif data, which converted pictures carry; None without it."""
    return next((data[start:end] for kind, start, end in png_chunks(data) if kind == b"eXIf"), None)


def png_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels; None for what is no PNG."""
    for kind, start, end in png_chunks(data):
        if kind != b"IHDR" or end - start != 13:
            return None
        width = int.from_bytes(data[start : start + 4], "big")
        height = int.from_bytes(data[start + 4 : start + 8], "big")
        return (width, height) if 0 < width <= _LARGEST and 0 < height <= _LARGEST else None
    return None


def is_whole_png(data: bytes) -> bool:
    """All of a picture is there: its chunks agree with their checksums, the last of them closes it."""
    found = set()
    for kind, start, end in png_chunks(data):
        if zlib.crc32(data[start - 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            return False
        found.add(kind)
    return {b"IHDR", b"IDAT", b"IEND"} <= found and png_size(data) is not None


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Type, and where the data begins and ends, of every chunk that is there in full."""
    if not data.startswith(_SIGNATURE):
        return
    at = len(_SIGNATURE)
    for _ in range(_MOST_CHUNKS):
        start = at + 8
        end = start + int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : start]
        if end > len(data) or len(kind) < 4:
            return
        yield kind, start, end
        if kind == b"IEND":
            return
        at = end + 4


def _plain(body: bytes) -> str | None:
    return body.decode("latin-1") if len(body) <= TEXT_MAX_BYTES else None


def _compressed(body: bytes) -> str | None:
    text = _inflated(body[1:]) if body[:1] == b"\x00" else None
    return None if text is None else text.decode("latin-1")


def _international(body: bytes) -> str | None:
    flags, rest = body[:2], body[2:]
    _, language, rest = rest.partition(b"\x00")
    _, keyword, text = rest.partition(b"\x00")
    if not language or not keyword or flags[:1] not in (b"\x00", b"\x01"):
        return None
    unpacked = text if flags[:1] == b"\x00" else _inflated(text) if flags[1:] == b"\x00" else None
    if unpacked is None or len(unpacked) > TEXT_MAX_BYTES:
        return None
    return unpacked.decode("utf-8", "replace")


def _inflated(packed: bytes) -> bytes | None:
    """Return what was compressed; None for no zlib stream, half of one, or too much."""
    stream = zlib.decompressobj()
    try:
        text = stream.decompress(packed, TEXT_MAX_BYTES + 1)
    except zlib.error:
        return None
    return text if stream.eof and len(text) <= TEXT_MAX_BYTES else None


_READERS = {b"tEXt": _plain, b"zTXt": _compressed, b"iTXt": _international}
