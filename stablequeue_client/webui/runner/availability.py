"""Whether the runner may ask for a job now, and for whose. Pure.

Jobs that were handed in at this WebUI always may run here. Nobody else's run without its owner's word.
"""

from __future__ import annotations

from dataclasses import dataclass

from stablequeue_client.shared.wire.inventory import WorksForOthers

IDLE_AFTER_S = 600.0
"""How long a WebUI must be unused where it works for others only when idle."""
NOT_NOW_S = 3600.0


@dataclass(frozen=True)
class Usage:
    """How it stands now. Seconds; ``unused_s`` since somebody last used this WebUI, ``not_now_s`` that are
    left of a "Not now"."""

    generating: bool
    unused_s: float
    works_for_others: WorksForOthers
    not_now_s: float = 0.0


@dataclass(frozen=True)
class Permission:
    """``poll``: for a job at all. ``others``: also for one that was handed in elsewhere."""

    poll: bool
    others: bool


def permission(now: Usage) -> Permission:
    """Return what is allowed at this moment."""
    return Permission(poll=not now.generating, others=not now.generating and may_help(now))


def may_help(now: Usage) -> bool:
    """Return whether it may work for others, were it free."""
    if now.not_now_s > 0 or now.works_for_others == "never":
        return False
    return now.works_for_others == "always" or now.unused_s >= IDLE_AFTER_S
