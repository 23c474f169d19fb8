"""What the parts say of themselves: values for the tab and the lines on the page. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stablequeue_client.shared.wire.inventory import WorksForOthers


@dataclass(frozen=True)
class AgentState:
    """``since``: Unix seconds of the start of the running agent, or of the end of the last one.

    ``last_output``: the last line it printed (what was wrong, when it is not running). ``problem``: what
    keeps it from working although it runs or is started again and again; empty when all is well.
    """

    running: bool
    since: float
    last_output: str
    problem: str = ""


@dataclass(frozen=True)
class CurrentJob:
    """The job that this WebUI works on. ``submitter``: whose it is, as people call them."""

    job_id: str
    name: str
    submitter: str
    own: bool
    since_ms: int
    progress: float | None = None


@dataclass(frozen=True)
class RunnerMessage:
    """One sentence of what the runner did."""

    at_ms: int
    text: str


@dataclass(frozen=True)
class RunnerStatus:
    """For the tab. ``not_now_until_ms`` None: it helps as its owner chose. ``results``: how many wait for the
    hub."""

    working: CurrentJob | None = None
    works_for_others: WorksForOthers = "never"
    not_now_until_ms: int | None = None
    results: int = 0
    told: tuple[RunnerMessage, ...] = ()


@dataclass(frozen=True)
class OutboxJob:
    """One job that the hub does not have. ``refused``: why the hub does not take it; "" while it waits."""

    key: str
    made_ms: int
    path: Path
    refused: str = ""
