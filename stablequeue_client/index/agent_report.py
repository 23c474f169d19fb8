"""What the agent says of itself to the other processes of its server: one value in the index.

Progress tells how far the reading is; this tells why it rests, what it could not look at, what others
claim and is not believed, and how it stands with the hub. The tab and the command line show it.
"""

from __future__ import annotations

import sqlite3
from typing import Literal

import msgspec

from stablequeue_client.index.checked_tables import get_fact, set_facts

NOTES_MAX = 50
"""Of a list only so many are told; its count tells all."""
_NAME = "agent_report"

WaitsFor = Literal["", "order", "later", "idle", "generating"]
"""Why files are not read in full now: a pause somebody ordered, the mode "later", until the machine has been
idle for a minute, or a generation."""


class HubProblem(msgspec.Struct, frozen=True):
    """Why the hub was not reached, or does not take what it is told; ``since_ms``: Unix milliseconds."""

    code: str
    message: str
    remedy: str
    since_ms: int


class ReportedFile(msgspec.Struct, frozen=True):
    """Something about one file or folder: ``root`` is its id, ``path`` a wire path (empty: the folder)."""

    root: str
    path: str
    reason: str


class AgentReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """``started_ms`` and the others: Unix milliseconds. ``hub_url`` empty: no hub is known.

    ``rejected``: entries the hub keeps but offers to nobody. ``refused``: claims (of sidecars, headers, the
    WebUI's cache) that are not believed. ``skipped``: what the last walks could not look at. The lists hold
    the first ``NOTES_MAX``, the counts all. ``paused_until_ms``: of an ordered pause, else 0.
    """

    pid: int
    started_ms: int
    hub_url: str = ""
    joined: bool = False
    hub_problem: HubProblem | None = None
    last_sync_ms: int = 0
    rejected: int = 0
    rejected_files: list[ReportedFile] = []
    refused: int = 0
    refused_claims: list[ReportedFile] = []
    skipped: int = 0
    skipped_files: list[ReportedFile] = []
    hashing: Literal["now", "later", "idle"] = "now"
    waits_for: WaitsFor = ""
    paused_until_ms: int = 0
    watch_problems: list[str] = []


def put_report(connection: sqlite3.Connection, report: AgentReport) -> None:
    set_facts(connection, {_NAME: msgspec.json.encode(report).decode()})


def get_report(connection: sqlite3.Connection) -> AgentReport | None:
    """The last agent's words, which may have ended since; None when none ever said anything."""
    text = get_fact(connection, _NAME)
    try:
        return msgspec.json.decode(text, type=AgentReport) if text else None
    except msgspec.ValidationError:  # of another version; the next agent writes its own
        return None
