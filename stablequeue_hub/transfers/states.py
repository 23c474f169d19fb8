"""The states of a copy and what leads from one to another. Pure.

planned, asked, waiting -> each other    plan: a source came or went, a person accepted
waiting -> running                       claim: the target begins; the fence grows
running -> verifying -> done             report
running, verifying -> waiting, planned   the target or the source fell silent; the fence grows
each of these -> failed, cancelled       report, refuse; cancel
"""

from __future__ import annotations

from typing import get_args

from stablequeue_client.shared.wire.transfers import TransferState
from stablequeue_hub.errors import TransferStateError

UNDER_WAY: frozenset[TransferState] = frozenset({"planned", "asked", "waiting", "running", "verifying"})
CLAIMED: frozenset[TransferState] = frozenset({"running", "verifying"})
_TRANSITIONS: dict[TransferState, frozenset[TransferState]] = {
    "planned": frozenset({"asked", "waiting", "failed", "cancelled"}),
    "asked": frozenset({"planned", "waiting", "failed", "cancelled"}),
    "waiting": frozenset({"planned", "waiting", "running", "failed", "cancelled"}),
    "running": frozenset({"planned", "waiting", "running", "verifying", "done", "failed", "cancelled"}),
    "verifying": frozenset({"planned", "waiting", "running", "done", "failed", "cancelled"}),
    "done": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
}
assert set(_TRANSITIONS) == set(get_args(TransferState))


def check_step(before: TransferState, after: TransferState) -> None:
    """Raises TransferStateError unless a copy may go from one to the other: the first end stands."""
    if after not in _TRANSITIONS[before]:
        raise TransferStateError(f"The copy is {before}, so it cannot become {after}.")
