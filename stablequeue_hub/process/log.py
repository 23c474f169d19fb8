"""The log: one line per record, without secrets and without control characters of other people's names."""

from __future__ import annotations

import logging
import re
from typing import TextIO

_SECRETS = (
    (re.compile(r"sq_([A-Za-z0-9-]{1,64})_[0-9a-f]{16,}"), r"sq_\1_***"),
    (re.compile(r"((?:code|token|secret|password)[=:]\s*)[^\s&\"']+", re.IGNORECASE), r"\1***"),
    (re.compile(r"(Bearer\s+)\S+", re.IGNORECASE), r"\1***"),
    (re.compile(r"(\w+://[^\s:/@]+:)[^\s@]+(@)"), r"\1***\2"),
)
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class SafeFormatter(logging.Formatter):
    """Escapes control characters and hides keys, codes and passwords, also in stack traces."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        for pattern, hidden in _SECRETS:
            text = pattern.sub(hidden, text)
        return _CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", text)


def set_up(stream: TextIO) -> None:
    """Warnings and worse of everything, to ``stream``."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(SafeFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
