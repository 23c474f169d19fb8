"""What is said about this computer's own hub."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stablequeue_client.shared.errors import StableQueueError

Phase = Literal["none", "building", "starting", "running", "stopped", "failed"]


@dataclass(frozen=True)
class OwnHubStatus:
    """One look at the hub of a data folder.

    ``none``: never started here. ``stopped``: there is one, and it does not run. ``failed``: as stopped (or
    none), and the last thing asked of it went wrong: ``error``. While ``running``, ``error`` may say that
    an update of it failed. ``done`` of ``total`` is a share of the whole work, for a progress bar.
    """

    phase: Phase = "none"
    url: str = ""
    """Its address for programs of this computer, while it runs."""
    hub_id: str = ""
    step: str = ""
    """What is being done, as a sentence without a full stop, while building or starting."""
    done: int = 0
    total: int = 0
    error: StableQueueError | None = None
    wanted: bool = False
    """It is to be started with the WebUI."""
    service: bool = False
    """It starts with the system."""
    started_elsewhere: bool = False
    """It was started by ``stablequeue up`` or ``hub``, which is also what ends it."""
    has_data: bool = False
    """A database of a hub lies in the data folder."""
    log_tail: tuple[str, ...] = ()
