"""What an agent is told when it starts. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stablequeue_client.shared.model_files.model_file import Kind
from stablequeue_client.shared.parent_process import ParentProcess
from stablequeue_client.shared.wire.transfers import Receive

HashingMode = Literal["now", "later", "idle"]
SyncMode = Literal["auto", "manual"]

NETWORK_RATE = 30_000_000
"""Bytes a second read from a network folder, unless told otherwise."""
SYNC_EVERY_S = 3_600.0
CAPABILITIES_NAME = "capabilities.json"
"""What a WebUI can do, written into the data folder by the extension in it."""


@dataclass(frozen=True)
class AgentSettings:
    """One server: its folders, its hub, how hard it may work.

    ``hub_url`` None: the hub that ``server.json`` names, or none (scan only). ``join_secret`` is a join
    key or code and is needed once. ``digests_dir`` holds the machine's digest store, by default beside
    the data of all servers. ``network_rate`` 0 is no limit. ``hashing`` holds until an order says otherwise.

    ``sync`` manual: the hub is told by order only (heartbeats go on). ``sync_on_start`` False: folders known
    from before are not walked, nor the hub told, before something changed. ``sync_every_s``: between two
    walks of a local folder, 0 never by itself. ``watch``: file events count. ``private``: patterns
    (``private_files``). ``webui_cache``: folder of a WebUI's hash cache. The hub is told what
    ``capabilities_file`` says, if it is there. ``receive``, ``hand_out``: copies of models to and from here.
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
    sync: SyncMode = "auto"
    sync_on_start: bool = True
    sync_every_s: float = SYNC_EVERY_S
    watch: bool = True
    private: tuple[str, ...] = ()
    webui_cache: Path | None = None
    capabilities_file: Path | None = None
    receive: Receive = "ask"
    hand_out: bool = False

    @property
    def machine_dir(self) -> Path:
        """What all agents of this computer share: computed digests, who reads what, who generates."""
        return self.digests_dir or self.data_dir
