"""Why a job goes back unstarted."""

from __future__ import annotations

from dataclasses import dataclass

from stablequeue_client.shared.wire.runner import RefusalCode


@dataclass(frozen=True)
class Refusal:
    """``text`` names the thing and the cause, for people. ``root``: the folder to look at again."""

    code: RefusalCode
    text: str
    requirement: int | None = None
    root: str = ""
