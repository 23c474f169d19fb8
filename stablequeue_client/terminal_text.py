"""Names as a terminal may show them. Pure."""

from __future__ import annotations

# C0, DEL, C1, and the marks that turn the direction of text: a name must not steer the terminal.
_HARMFUL = {
    *range(0x20),
    *range(0x7F, 0xA0),
    0x061C,
    *range(0x200E, 0x2010),
    *range(0x2028, 0x202F),
    *range(0x2066, 0x206A),
}


def visible(text: str) -> str:
    """``text`` on one line: control characters, direction marks and undecodable bytes as escapes."""
    return "".join(_escaped(char) if _is_harmful(ord(char)) else char for char in text)


def _is_harmful(code: int) -> bool:
    return code in _HARMFUL or 0xD800 <= code <= 0xDFFF


def _escaped(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # surrogateescape: one undecodable byte
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
