"""The one object the extension consists of in a WebUI process: what its parts share."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from stablequeue_client.hub_client.user_calls import HubCalls
from stablequeue_client.webui.host.compat import Host
from stablequeue_client.webui.host.guarded import guarded
from stablequeue_client.webui.host.places import Places

if TYPE_CHECKING:  # the parts import this file
    from stablequeue_client.hub_client.view_cache import HubReader
    from stablequeue_client.index.snapshot import LocalModels
    from stablequeue_client.own_hub import OwnHub
    from stablequeue_client.webui.agent_process.keeper import AgentKeeper
    from stablequeue_client.webui.runner.runner import Runner
    from stablequeue_client.webui.settings.webui_settings import WebuiSettings
    from stablequeue_client.webui.submit.submission import QueueDesk

__all__ = ["Places", "Runtime", "guarded", "keep", "runtime"]

T = TypeVar("T")


@dataclass
class Runtime:
    """One per process; it survives "Reload UI", with its threads and the agent."""

    host: Host
    places: Places
    settings: Callable[[], WebuiSettings]
    """Resolved anew at each call: environment, TOML, the WebUI's options."""
    models: LocalModels
    hub: HubReader
    own_hub: OwnHub
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    """What each request to our routes must carry; new in each process, never written anywhere."""
    agent: AgentKeeper = field(init=False)
    """Set right after the runtime is made, because the keeper is given the runtime."""
    runner: Runner = field(init=False)
    queueing: QueueDesk = field(init=False)
    calls: HubCalls = field(init=False)
    """What a person asks of the hub; for threads that may wait."""
    _workers: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(max_workers=2, thread_name_prefix="stablequeue-worker"),
        repr=False,
    )

    def __post_init__(self) -> None:
        self.calls = HubCalls(self.places.server_dir, ca_file=lambda: self.settings().ca_file)

    async def in_worker(self, call: Callable[[], T]) -> T:
        """Run something that blocks, in one of our own two threads (the host's 40 are for its own work)."""
        return await asyncio.get_running_loop().run_in_executor(self._workers, call)


_kept: dict[int, Runtime] = {}
"""By process id: a forked child has none of our threads and makes its own."""


def keep(rt: Runtime) -> None:
    """Make ``rt`` the runtime of this process. Only ``register`` does this."""
    _kept[os.getpid()] = rt


def runtime() -> Runtime:
    """The runtime of this process. Raises RuntimeError before ``register``."""
    try:
        return _kept[os.getpid()]
    except KeyError:
        raise RuntimeError("StableQueue is not registered in this process.") from None
