"""What an earlier extension of the old StableQueue left in a WebUI: its address and key among the options.

They move from config.json, which a WebUI hands out to anybody who can open it, into a file of our own:

    <server_dir>/old-connection.json   {"url", "key", "secret"}, mode 0600

The file is complete on the disk before the options go, so a process that dies in between loses nothing.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stablequeue_client.shared.atomic_file import write_private

if TYPE_CHECKING:
    from stablequeue_client.webui.host.compat import Host

FILE_NAME = "old-connection.json"
OLD_OPTIONS = ("stablequeue_url", "stablequeue_api_key", "stablequeue_api_secret")
LOOK_BYTES = 512 * 1024
_OLD_SIGN = re.compile(rb"stablequeue_(?:url|api_key|api_secret)\b")
_OWN_SIGN = Path("stablequeue_client") / "webui" / "__init__.py"


@dataclass(frozen=True)
class OldConnection:
    """What the old extension was set to. ``key`` and ``secret`` may be empty."""

    url: str
    key: str = ""
    secret: str = ""

    def __repr__(self) -> str:
        return f"OldConnection(url={self.url!r})"


def take_over(host: Host, server_dir: Path) -> None:
    """Keep the old options in ``server_dir``, then remove them from config.json. Raises OSError: kept there.

    What nobody set is dropped and not kept: while the old extension is still installed, each start has its
    defaults again, and they must not replace what was kept before.
    """
    found = {name: host.option(name) for name in OLD_OPTIONS}
    if all(value is None for value in found.values()):
        return
    if any(_text(value) and value != host.option_default(name) for name, value in found.items()):
        kept = OldConnection(*(_text(value) for value in found.values()))
        write_private(server_dir / FILE_NAME, json.dumps(asdict(kept)).encode())
    host.drop_options(name for name, value in found.items() if value is not None)


def old_connection(server_dir: Path) -> OldConnection | None:
    """Return what ``take_over`` kept, to prefill the connection; None when there was nothing (or it is
    damaged)."""
    try:
        found = json.loads((server_dir / FILE_NAME).read_text("utf-8"))
        return OldConnection(*(_text(found.get(name)) for name in ("url", "key", "secret")))
    except (OSError, ValueError, AttributeError):
        return None


def other_copies(extension_dirs: Iterable[str], own: Path) -> list[Path]:
    """Folders of extensions that are the old StableQueue extension, or a second copy of this one."""
    here = os.path.realpath(own)
    others = (Path(folder) for folder in extension_dirs if os.path.realpath(folder) != here)
    return sorted(folder for folder in others if _is_stablequeue(folder))


def _is_stablequeue(folder: Path) -> bool:
    if (folder / _OWN_SIGN).is_file():
        return True
    try:
        scripts = sorted((folder / "scripts").glob("*.py"))
    except OSError:
        return False
    return any(_OLD_SIGN.search(_beginning(script)) for script in scripts)


def _beginning(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(LOOK_BYTES)
    except OSError:
        return b""


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""
