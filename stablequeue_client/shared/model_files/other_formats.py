"""Whether a file that is no safetensors file is whole, as far as that can be told without loading it. Pure.

``.ckpt``, ``.pt`` and ``.bin`` are what ``torch.save`` writes: a zip archive, or in old files pickles one
after the other, or a tar. ``.gguf`` says itself how many tensors follow and where they lie
(ggml-org/ggml ``docs/gguf.md``). What begins otherwise is something else under a model's name: a sign-in
page, an error as JSON, a pointer of Git LFS.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from math import prod
from typing import TypeAlias

from stablequeue_client.shared.model_files.safetensors_header import HeaderError, TruncatedError

ReadAt: TypeAlias = Callable[[int, int], bytes]
"""(offset, length) -> that many bytes, or fewer at the end of the file."""
FORMATS = (".ckpt", ".pt", ".pth", ".bin", ".gguf")
_PICKLES = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))
_TAR_MARK_AT = 257
_ZIP_END = b"PK\x05\x06"
_ZIP64_END = b"PK\x06\x06"
_ZIP_END_SIZE = 22
_ZIP_TAIL = _ZIP_END_SIZE + 65_535
_GGUF_VERSIONS = (1, 2, 3)
_GGUF_COUNT_MAX = 1_000_000
_GGUF_HEADER_MAX = 64 * 1024 * 1024
_GGUF_TEXT = 8
_GGUF_LIST = 9
_GGUF_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a value by its type; texts and lists have a length of their own."""
_GGUF_UINT32 = 4
_GGML_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),
    16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82),
    23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2),
}  # fmt: skip
"""Elements and bytes of a block by the type of a tensor (ggml ``type_traits``); others are not measured."""
_CHUNK = 1024 * 1024


def check_format(extension: str, read_at: ReadAt, size: int) -> None:
    """Raise HeaderError or TruncatedError for what is no whole model file. ``extension``: in lower case."""
    start = read_at(0, 512)
    if extension == ".gguf":
        if not start.startswith(b"GGUF"):
            raise HeaderError(_something_else(start, "GGUF file"))
        _check_gguf(read_at, size)
    elif start.startswith(b"PK"):
        _check_zip(read_at, size)
    elif not (start.startswith(_PICKLES) or start[_TAR_MARK_AT:].startswith(b"ustar")):
        raise HeaderError(_something_else(start, "file that torch writes"))


def _something_else(start: bytes, expected: str) -> str:
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"<"):
        return f"It is a web page and no {expected}: a page to sign in, or an error, was saved in its place."
    if text.startswith(b"version https://git-lfs"):
        return f"It is a pointer of Git LFS and no {expected}: fetch the file itself (`git lfs pull`)."
    if text.startswith((b"{", b"[")):
        return f"It is JSON and no {expected}: an error was saved in its place."
    return f"It does not begin like a {expected}."


def _check_zip(read_at: ReadAt, size: int) -> None:
    """A zip archive that was cut off has no record at its end."""
    tail_at = max(0, size - _ZIP_TAIL)
    tail = read_at(tail_at, size - tail_at)
    found = tail.rfind(_ZIP_END)
    if found < 0 or len(tail) - found < _ZIP_END_SIZE:
        raise TruncatedError("It is a zip archive without its end: a copy that was cut off.")
    entries, length, offset = struct.unpack_from("<HII", tail, found + 10)
    ends_at = tail_at + found
    if 0xFFFFFFFF in (length, offset) or entries == 0xFFFF:  # as zip64 has it, which says more before this
        if _ZIP64_END not in tail[:found]:
            raise TruncatedError("It is a zip archive that names a record it does not have.")
    elif offset + length > ends_at or not entries:
        raise TruncatedError("It is a zip archive whose list of contents is not where it says.")


class _Gguf:
    """Reads a header piece by piece, and no more of the file than that."""

    def __init__(self, read_at: ReadAt, size: int) -> None:
        self._read_at, self._size = read_at, size
        self._data, self._begins = b"", 0
        self.at = 4

    def take(self, length: int) -> bytes:
        if self.at + length > self._size:
            raise TruncatedError("It ends inside its header: a copy that was cut off.")
        if self.at + length > _GGUF_HEADER_MAX:
            raise _LongHeaderError
        if not (self._begins <= self.at and self.at + length <= self._begins + len(self._data)):
            self._begins, self._data = self.at, self._read_at(self.at, max(length, _CHUNK))
        start = self.at - self._begins
        taken = self._data[start : start + length]
        if len(taken) < length:
            raise TruncatedError("It ends inside its header: a copy that was cut off.")
        self.at += length
        return taken

    def number(self, form: str) -> int:
        return int(struct.unpack(form, self.take(struct.calcsize(form)))[0])

    def count(self) -> int:
        return self.number("<I" if self.version == 1 else "<Q")

    version = 3


class _LongHeaderError(Exception):
    """Longer than what is looked at."""


def _check_gguf(read_at: ReadAt, size: int) -> None:
    header = _Gguf(read_at, size)
    header.version = header.number("<I")
    if header.version not in _GGUF_VERSIONS:
        return  # a later version, or one of the other byte order: nothing is known of it
    tensors, fields = header.count(), header.count()
    if max(tensors, fields) > _GGUF_COUNT_MAX:
        raise HeaderError(f"It would hold {tensors} tensors and {fields} fields.")
    try:
        alignment = 32
        for _ in range(fields):
            name = header.take(header.count())
            kind, begins = header.number("<I"), header.at
            _skip_value(header, kind)
            if name == b"general.alignment" and kind == _GGUF_UINT32:
                alignment = int.from_bytes(read_at(begins, 4), "little") or alignment
        needed = max([_end_of_tensor(header) for _ in range(tensors)], default=0)
    except _LongHeaderError:
        return
    data_at = -(-header.at // alignment) * alignment
    if needed and data_at + needed > size:
        raise TruncatedError("It ends inside a tensor: a copy that was cut off.")


def _end_of_tensor(header: _Gguf) -> int:
    """Return how many bytes of data there must be for the next tensor of the list."""
    header.take(header.count())
    elements = prod([header.count() for _ in range(header.number("<I"))])
    values, length = _GGML_BLOCKS.get(header.number("<I"), (1, 0))
    return header.number("<Q") + max(1, elements // values * length)


def _skip_value(header: _Gguf, kind: int, depth: int = 0) -> None:
    if kind == _GGUF_TEXT:
        header.take(header.count())
    elif kind == _GGUF_LIST and depth < 4:
        inner, number = header.number("<I"), header.count()
        if inner in _GGUF_SIZES:
            header.take(_GGUF_SIZES[inner] * number)
        else:
            for _ in range(number):
                _skip_value(header, inner, depth + 1)
    elif kind in _GGUF_SIZES:
        header.take(_GGUF_SIZES[kind])
    else:
        raise HeaderError("Its header is malformed.")
