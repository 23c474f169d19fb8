"""What an agent is told when it starts. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stablequeue_client.model_files import Kind

HashingMode = Literal["now", "later", "idle"]

NETWORK_RATE = 30_000_000
"""Bytes a second read from a network folder, unless told otherwise."""


@dataclass(frozen=True)
class ParentProcess:
    """The process whose end ends the agent; ``start_time`` (Unix seconds) tells it from a later one."""

    pid: int
    start_time: float


@dataclass(frozen=True)
class AgentSettings:
    """One server: its folders, its hub, how hard it may work.

    ``hub_url`` None: the hub that ``server.json`` names, or none (scan only). ``join_secret`` is a join
    key or code and is needed once. ``digests_dir`` holds the machine's digest store, by default beside
    the data of all servers. ``network_rate`` 0 is no limit. ``hashing`` holds until an order says otherwise.
    """

    data_dir: Path
    folders: tuple[tuple[Kind, str], ...]
    hub_url: str | None = None
    join_secret: str | None = None
    alias: str = ""
    ca_file: str | None = None
    hashing: HashingMode = "now"
    network_rate: int = NETWORK_RATE
    low_priority: bool = True
    parent: ParentProcess | None = None
    digests_dir: Path | None = None
