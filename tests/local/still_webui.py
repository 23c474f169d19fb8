"""A runtime as in a WebUI, with a host and an agent that stand still; everything else is real."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.hub_client.connection import Timeouts
from stablequeue_client.hub_client.identity import Identity
from stablequeue_client.hub_client.view_cache import HubViewCache
from stablequeue_client.index.snapshot import IndexReader
from stablequeue_client.own_hub import OwnHub
from stablequeue_client.shared.wire.inventory import ServerCapabilities
from stablequeue_client.webui.agent_process.keeper import AgentKeeper, AgentState
from stablequeue_client.webui.host.capture import GenerationCapture
from stablequeue_client.webui.host.compat import Host
from stablequeue_client.webui.host.extension_folders import ExtensionFolders
from stablequeue_client.webui.host.generation import GenerationHost
from stablequeue_client.webui.parts.runtime import Runtime
from stablequeue_client.webui.runner.runner import Runner, RunnerContext
from stablequeue_client.webui.settings.webui_settings import WebuiSettings
from stablequeue_client.webui.submit.outbox import SubmissionOutbox
from stablequeue_client.webui.submit.sender import Sender
from stablequeue_client.webui.submit.submission import SubmissionService


@dataclass(frozen=True)
class StillHost(Host):
    """Has options (of its config.json) and extensions; everything else is not asked here."""

    data: dict[str, Any] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    extensions: tuple[str, ...] = ()
    saved: list[dict[str, Any]] = field(default_factory=list)

    def option(self, name: str, default: Any = None) -> Any:
        return self.data.get(name, default)

    def option_default(self, name: str) -> Any:
        return self.defaults.get(name)

    def drop_options(self, names: Iterable[str]) -> None:
        for name in names:
            self.data.pop(name, None)
        self.saved.append(dict(self.data))

    def sampler_names(self) -> list[str]:
        return ["Euler", "Euler a"]

    def extension_dirs(self) -> list[str]:
        return list(self.extensions)


class StillAgent(AgentKeeper):
    """Never starts anything; says what a test wants."""

    shown = AgentState(True, 1_700_000_000.0, "")

    def state(self) -> AgentState:
        return self.shown


def connect(identity: Identity, timeouts: Timeouts) -> HubApi:
    return HubApi(identity.hub_url, identity.key, timeouts=timeouts)


def still_webui(
    folder: Path,
    settings: WebuiSettings = WebuiSettings(alias="attic"),  # noqa: B008 - frozen
    *,
    extensions: tuple[str, ...] = (),
) -> Runtime:
    """Its index and server.json lie in ``folder/server``."""
    places = ExtensionFolders(folder, folder / "server", folder / "extension")
    rt = Runtime(
        host=StillHost("forge", 4, extensions=extensions),
        places=places,
        settings=lambda: settings,
        models=IndexReader(places.server_dir, pause=lambda _: None),
        hub=HubViewCache(places.server_dir),
        own_hub=OwnHub(folder, folder / "extension", "python"),
    )
    rt.agent = StillAgent(rt)
    kept = SubmissionOutbox(places.server_dir)
    rt.queueing = SubmissionService(
        GenerationCapture(rt.host), kept, Sender(places.server_dir, kept, connect)
    )
    rt.runner = Runner(
        RunnerContext(
            host=GenerationHost(rt.host),
            server_dir=places.server_dir,
            models=rt.models,
            works_for_others=lambda: settings.works_for_others,
            capabilities=ServerCapabilities,
            is_generating=lambda: False,
            is_up=lambda: True,
            connect=connect,
        )
    )
    return rt


def now_ms() -> int:
    return int(time.time() * 1000)
