"""The view of copies between servers: values, and the function that makes HTML of them."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from stablequeue_client.shared.views.labels import Mark
from stablequeue_client.shared.views.views import render
from stablequeue_client.shared.wire.transfers import TransferInfo, TransferState

STATES: dict[TransferState, Mark] = {
    "planned": Mark("waits", "ring", "warn", "No server that has it can hand it out just now."),
    "asked": Mark("waits for you", "query", "warn", "A job waits for it; accept it, and it is copied."),
    "waiting": Mark("in line", "half", "idle", "Its server begins when it next calls."),
    "running": Mark("being copied", "arrow", "busy", "It is on its way."),
    "verifying": Mark("being checked", "arrow", "busy", "All of it is there and is being checked."),
    "done": Mark("done", "disc", "good", "It is there, checked byte by byte."),
    "failed": Mark("failed", "cross", "bad", "It was not copied."),
    "cancelled": Mark("cancelled", "minus", "idle", "It was cancelled, and what came was removed."),
}
WAYS = {"relay": "through the hub"}


@dataclass(frozen=True)
class TransferLine:
    """A copy, and what who looks may do with it."""

    info: TransferInfo
    may_accept: bool = False
    may_cancel: bool = False


@dataclass(frozen=True)
class TransfersPage:
    """Copies under way, then those that ended."""

    lines: tuple[TransferLine, ...]


def transfers(page: TransfersPage) -> Markup:
    """Every copy: from where to where, how far, and why it waits."""
    return render("transfers.html", page=page, states=STATES, ways=WAYS)
