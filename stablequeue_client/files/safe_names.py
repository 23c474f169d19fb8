r"""Names for files that come from another computer: one name, never a path, good on every system. Pure.

A name from outside is hostile: it may climb (``..``), name a drive, a device (``CON``) or a stream
(``x::$DATA``), end in what Windows drops, hide or turn around what is read. What is left of it here is the
same file name on Linux, Windows and macOS, and no WebUI's prompt syntax breaks on it.
"""

from __future__ import annotations

import re
import unicodedata

from stablequeue_client.shared.errors import InvalidValueError

SUFFIX = ".safetensors"
STEM_MAX_BYTES = 200
"""Leaves room for a suffix below the 255 bytes that file systems take."""
_FORBIDDEN = re.compile(r'[<>:"/\\|?*]')
_DEVICES = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³])(?:\.|\Z)", re.IGNORECASE)
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


class UnsafeNameError(InvalidValueError):
    """The name is not that of a safetensors file."""

    code = "unsafe_name"
    remedy_text = "Only files called *.safetensors are copied; copy others by hand."


def safe_file_name(name: str, sha256: str) -> str:
    """The name under which the content may lie here. Raises UnsafeNameError for another kind of file.

    Of a path only the last part counts. Where nothing usable is left, the content's AutoV2 is the name.
    """
    base = re.split(r"[/\\]", name)[-1].rstrip(" .")
    if not base.lower().endswith(SUFFIX):
        raise UnsafeNameError
    stem = unicodedata.normalize("NFC", base[: -len(SUFFIX)])
    stem = "".join("_" if unicodedata.category(char) in _INVISIBLE else char for char in stem)
    stem = _FORBIDDEN.sub("_", stem).strip(" .")
    stem = _cut(stem).strip(" .")
    if not stem.strip("_"):
        stem = sha256[:10]
    if _DEVICES.match(stem):
        stem = f"_{stem}"
    return stem + SUFFIX


def with_short_hash(name: str, sha256: str) -> str:
    """The name for a content whose own name is another content's here."""
    return f"{name[: -len(SUFFIX)]}-{sha256[:10]}{SUFFIX}"


def _cut(stem: str) -> str:
    return stem.encode("utf-8")[:STEM_MAX_BYTES].decode("utf-8", "ignore")
