"""The one object the extension consists of in a WebUI process, and how it comes to be.

``register`` is called at each start and each "Reload UI": the callbacks of the host are gone then and are
given again; the runtime, its threads and the agent live on. What is slow runs in one background thread.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from stablequeue_client.webui.callbacks import guarded
from stablequeue_client.webui.compat import Host
from stablequeue_client.webui.places import Places

if TYPE_CHECKING:
    from stablequeue_client.hub_reader import HubReader
    from stablequeue_client.local_models import LocalModels
    from stablequeue_client.own_hub import OwnHub
    from stablequeue_client.webui.agent_keeper import AgentKeeper
    from stablequeue_client.webui.webui_settings import WebuiSettings

__all__ = ["Places", "Runtime", "guarded", "register", "runtime"]

T = TypeVar("T")


@dataclass
class Runtime:
    """What the parts of the extension share. One per process; it survives "Reload UI"."""

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
    _workers: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(max_workers=2, thread_name_prefix="stablequeue-worker"),
        repr=False,
    )

    async def in_worker(self, call: Callable[[], T]) -> T:
        """Run something that blocks, in one of our own two threads (the host's 40 are for its own work)."""
        return await asyncio.get_running_loop().run_in_executor(self._workers, call)


_made: dict[int, Runtime] = {}
"""By process id: a forked child has none of our threads and makes its own."""


def runtime() -> Runtime:
    """The runtime of this process. Raises RuntimeError before ``register``."""
    try:
        return _made[os.getpid()]
    except KeyError:
        raise RuntimeError("StableQueue is not registered in this process.") from None


def register() -> None:
    """Give the host our callbacks and start, once per process, what runs behind them. Idempotent.

    Costs the WebUI's main thread less than 50 ms. Raises what a broken installation raises.
    """
    raise NotImplementedError
