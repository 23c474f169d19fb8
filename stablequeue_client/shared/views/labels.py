"""Words on screen: marks, kinds, sizes, durations, times, names. Pure."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import datetime, timezone

from stablequeue_client.shared.views.values import MarkName


@dataclass(frozen=True)
class Mark:
    """A state's word, its shape (a symbol of the sprite), the tone of its colour, and what it means."""

    word: str
    shape: str
    tone: str
    meaning: str


MARKS: dict[MarkName, Mark] = {
    "here": Mark("here", "disc", "good", "Read completely, so it is certain which model it is."),
    "reading": Mark("not read yet", "half", "busy", "Only reading it shows for certain what it is."),
    "probably": Mark("probably", "half", "busy", "Not read yet; a note beside the file says so."),
    "copying": Mark("being copied", "arrow", "busy", "Still being written. It is read when it is complete."),
    "changing": Mark("changing", "wave", "warn", "It changed each time it was read. It is retried."),
    "busy": Mark("in use", "lock", "warn", "Another program has it open. It is retried."),
    "away": Mark(
        "not connected", "ring", "idle", "Its server is not connected; this is the last known state."
    ),
    "folder": Mark(
        "folder not connected", "folder", "warn", "Its folder is missing or empty. Nothing is forgotten."
    ),
    "removed": Mark("removed", "minus", "idle", "It was here and the file is gone."),
    "broken": Mark("broken", "cross", "bad", "The file is cut off or damaged. Fetch it again."),
    "unreadable": Mark(
        "not readable", "bar", "bad", "It cannot be read. Check its permissions and the disk."
    ),
    "set_aside": Mark("set aside", "flag", "warn", "The WebUI renamed it because it could not load it."),
    "rejected": Mark("not accepted", "query", "warn", "The hub could not accept what was reported about it."),
    "unknown": Mark("not known", "dot", "none", "Not known before the file has been read."),
    "absent": Mark("not here", "dot", "none", "Never seen on this server."),
}

FILE_MARKS: dict[str, MarkName] = {
    "ready": "here",
    "unhashed": "reading",
    "partial": "copying",
    "busy": "busy",
    "unstable": "changing",
    "corrupt": "broken",
    "unreadable": "unreadable",
    "set_aside": "set_aside",
    "rejected": "rejected",
}
"""State of a file -> its mark."""
UNREAD_STATES = ("unhashed", "partial", "busy")
"""Files that only need time."""
TROUBLED_STATES = ("corrupt", "unreadable", "set_aside", "unstable", "rejected")
"""Files that need their owner; ``rejected`` is the hub's word alone."""
DIGEST_LABELS = {
    "sha256": "SHA256",
    "autov2": "AutoV2",
    "blake3": "BLAKE3",
    "autov3": "AutoV3",
    "autov1": "AutoV1",
}

KINDS: dict[str, str] = {
    "checkpoint": "Checkpoint",
    "lora": "LoRA",
    "vae": "VAE",
    "text_encoder": "Text encoder",
    "embedding": "Embedding",
}

SCOPES: dict[str, tuple[str, str]] = {
    "admin": ("Everything", "May do everything, also make keys and forget servers."),
    "jobs": ("Jobs", "May look, and may submit jobs."),
    "view": ("Look", "May look and change nothing."),
    "join": ("Add computers", "May add servers, nothing else."),
    "server": ("Server", "One server's own key; made when it joined."),
}

_UNITS = ("KB", "MB", "GB", "TB", "PB")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_ENDINGS = (".safetensors", ".ckpt", ".pt", ".gguf")
WORKS_FOR_OTHERS: dict[str, str] = {
    "never": "works for nobody else",
    "idle": "works for others when idle",
    "always": "works for others at any time",
}
_LAST_MS = 253_402_300_799_000
# Format characters that belong to ordinary text: joiners of scripts and emoji.
_HARMLESS = {"\u200c", "\u200d"}
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def size_text(size: int) -> str:
    """Three digits and a decimal unit, as file managers and download pages print it: 6.94 GB."""
    value = float(size)
    if value < 1000:
        return f"{size} B"
    for unit in _UNITS:
        value /= 1000
        if value < 999.5 or unit == _UNITS[-1]:
            break
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f} {unit}"


def duration_text(seconds: int) -> str:
    """About how long: "under a minute", "about 12 min", "about 3 h 20 min", "about 2 days"."""
    minutes = round(seconds / 60)
    if seconds < 50:
        return "under a minute"
    if minutes < 60:
        return f"about {max(1, minutes)} min"
    if minutes < 600:
        hours, rest = divmod(minutes, 60)
        return f"about {hours} h {rest} min" if rest else f"about {hours} h"
    hours = round(minutes / 60)
    if hours < 24:
        return f"about {hours} h"
    days = round(hours / 24)
    return "about 1 day" if days == 1 else f"about {days} days"


def count_text(number: int) -> str:
    """1204 as 1,204."""
    return f"{number:,}"


def counted(number: int, word: str, plural: str = "") -> str:
    """``counted(1, "file")`` is "1 file", ``counted(1204, "file")`` "1,204 files"."""
    return f"{number:,} {word if number == 1 else plural or word + 's'}"


def time_text(at_ms: int) -> str:
    """Return what stands there until the browser writes the reader's own time."""
    at = _utc(at_ms)
    return f"{at.day} {_MONTHS[at.month - 1]} {at.year}, {at:%H:%M} UTC"


def time_iso(at_ms: int) -> str:
    """The ``datetime`` attribute of a time element."""
    return _utc(at_ms).strftime("%Y-%m-%dT%H:%M:%SZ")


def _utc(at_ms: int) -> datetime:
    """The values may come from a hub, and a hub may say anything: years 1970 to 9999."""
    return datetime.fromtimestamp(min(max(at_ms, 0), _LAST_MS) / 1000, tz=timezone.utc)


def split_ending(name: str) -> tuple[str, str]:
    """("sd_xl_base_1.0", ".safetensors"): the ending says little, and may stand back."""
    for ending in _ENDINGS:
        if name.lower().endswith(ending) and len(name) > len(ending):
            return name[: -len(ending)], name[-len(ending) :]
    return name, ""


def visible(name: str) -> str:
    """``name`` with invisible characters (controls, direction overrides) written as \\u{202E}."""
    return "".join(
        f"\\u{{{ord(char):04X}}}"
        if unicodedata.category(char) in _INVISIBLE and char not in _HARMLESS
        else char
        for char in name
    )
