"""What an earlier extension of the old StableQueue left in a WebUI: its address and key among the options."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stablequeue_client.webui.compat import Host


@dataclass(frozen=True)
class OldConnection:
    """What the old extension was set to. ``key`` and ``secret`` may be empty."""

    url: str
    key: str = ""
    secret: str = ""


def take_over(host: Host, server_dir: Path) -> None:
    """Keep the old options in ``server_dir`` (mode 0600), then remove them from config.json."""
    raise NotImplementedError


def old_connection(server_dir: Path) -> OldConnection | None:
    """What ``take_over`` kept, to prefill the connection; None when there was nothing."""
    raise NotImplementedError


def other_copies(extension_dirs: Iterable[str], own: Path) -> list[Path]:
    """Folders of extensions that are an old StableQueue, or a second copy of this one."""
    raise NotImplementedError
