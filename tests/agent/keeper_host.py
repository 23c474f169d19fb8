"""A WebUI as the keeper of an agent sees it, without a WebUI; as a program, a process that keeps an agent.

The program is started with a JSON object: ``machine``, ``server`` (folders), ``folders``.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stablequeue_client.shared.model_files.model_file import Kind
from stablequeue_client.shared.wire.inventory import ServerCapabilities, WorksForOthers
from stablequeue_client.webui.agent_process.keeper import AgentKeeper
from stablequeue_client.webui.host.extension_folders import ExtensionFolders
from stablequeue_client.webui.settings.webui_settings import WebuiSettings

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass
class PlainHost:
    """What the keeper asks of ``compat.Host``. A test changes the fields."""

    folders: tuple[tuple[Kind, str], ...]
    generating: bool = False
    up: bool = True
    samplers: list[str] = field(default_factory=lambda: ["Euler"])
    family: str = "forge"

    def model_folders(self) -> tuple[tuple[Kind, str], ...]:
        return tuple((kind, path) for kind, path in self.folders if Path(path).is_dir())

    def hash_cache_dir(self) -> str | None:
        return None

    def is_generating(self) -> bool:
        return self.generating

    def web_addresses(self) -> list[str]:
        return ["http://127.0.0.1:7860"] if self.up else []

    def capabilities(self, works_for_others: WorksForOthers) -> ServerCapabilities:
        return ServerCapabilities(
            webui=self.family, samplers=self.samplers, works_for_others=works_for_others
        )


@dataclass
class PlainRuntime:
    """What the keeper uses of ``Runtime``."""

    host: PlainHost
    places: ExtensionFolders
    chosen: WebuiSettings = field(default_factory=lambda: WebuiSettings(hashing="now"))

    def settings(self) -> WebuiSettings:
        return self.chosen


def plain_runtime(machine: Path, server: Path, folders: Any) -> PlainRuntime:
    host = PlainHost(tuple((kind, path) for kind, path in folders))
    return PlainRuntime(host, ExtensionFolders(machine, server, REPOSITORY))


def keeper_of(rt: PlainRuntime) -> AgentKeeper:
    return AgentKeeper(rt)  # type: ignore[arg-type]


def main() -> None:
    told = json.loads(sys.argv[1])
    keeper = keeper_of(plain_runtime(Path(told["machine"]), Path(told["server"]), told["folders"]))
    keeper.start()
    while True:
        time.sleep(1)


if __name__ == "__main__":
    main()
