"""What the hub says, for the views of a WebUI: never waited for long, never asked too often."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

HubKind = Literal["none", "connected", "away", "refused", "old"]


@dataclass(frozen=True)
class HubState:
    """How it stands with the hub. ``since_ms``: since when; ``message`` and ``remedy`` unless connected."""

    kind: HubKind
    since_ms: int | None = None
    message: str = ""
    remedy: str = ""
    url: str = ""
    alias: str = ""


class HubReader:
    """The hub of one WebUI. Any thread may call anything; nothing raises."""

    def __init__(self, server_dir: Path, *, ca_file: Callable[[], str | None] = lambda: None) -> None:
        raise NotImplementedError

    def state(self) -> HubState:
        """As far as it is known now; returns at once."""
        raise NotImplementedError

    def view(self, name: str, ident: str = "", query: Mapping[str, str] | None = None) -> Any | None:
        """A view's value (``ui.values.VIEW_TYPES``), or None: no hub, or nothing known yet."""
        raise NotImplementedError

    def who_has(self, texts: Sequence[str]) -> dict[str, list[str]]:
        """Hash or name -> aliases of the other servers that have it now; texts not known are left out."""
        raise NotImplementedError

    def forget(self) -> None:
        """The connection changed (joined, left): begin anew."""
        raise NotImplementedError
