"""What a person sees of a command: text on a terminal or JSON, never a control character from a name."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from stablequeue_client.shared.errors import StableQueueError
from stablequeue_client.terminal_text import visible


def say(text: str = "") -> None:
    """A line to standard output, at once; ``text`` must be ``visible`` where it holds names."""
    _write(sys.stdout, _as_typed(text))


def warn(text: str) -> None:
    """A line to standard error."""
    _write(sys.stderr, _as_typed(text))


def _as_typed(text: str) -> str:
    """``text`` with our commands as this person can type them here."""
    return text.replace("`stablequeue ", f"`{program()} ") if "`stablequeue " in text else text


def program() -> str:
    """How this program is called: by its name where that is on PATH, else as it was called now."""
    if shutil.which("stablequeue"):
        return "stablequeue"
    called = sys.argv[0]
    if os.path.basename(called).startswith("stablequeue") and os.path.isfile(called):
        return shlex.quote(called)
    return f"{shlex.quote(sys.executable)} -m stablequeue_client"


def _write(stream: Any, text: str) -> None:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    stream.flush()


def say_json(value: Any) -> None:
    """``value`` as JSON in ASCII: every name survives, also one that is no valid text."""
    _write(sys.stdout, json.dumps(value, ensure_ascii=True, indent=2))


def say_error(error: StableQueueError, *, as_json: bool) -> None:
    """An error as ``{"error": {...}}`` on standard output, or as a sentence on standard error."""
    if as_json:
        say_json({"error": error.as_wire()})
    else:
        warn(f"stablequeue: {visible(str(error))}")


def say_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns under their heads, as wide as their widest cell; cells may hold any name."""
    table = [tuple(heads), *(tuple(visible(cell) for cell in row) for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(heads))]
    for row in table:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def size_text(size: int) -> str:
    """Bytes as people write them: 912 B, 4.2 MB, 6.5 GB (powers of 1000)."""
    if size < 1000:
        return f"{size} B"
    value = float(size)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 999.95:
            return f"{value:.1f} {unit}"
    return f"{value / 1000:.1f} TB"
